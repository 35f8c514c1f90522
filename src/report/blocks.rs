//! The blocks that a spec can name.

use super::network::plain_table;
use crate::spec::emit_inline;
use nasgen_modules::{
    BlockEntry, Blocks,
    composition::{Layer, LayerDefault},
};

/// One line for each block.
pub fn block_list(blocks: &Blocks) -> String {
    let mut table = plain_table(&["module", "what it is"], &[]);
    for block in blocks.iter() {
        table.add_row([block.name(), first_sentence(&block.signature.meaning)]);
    }
    format!("{}\n\n`nasgen modules NAME` explains one.", table.trim_fmt())
}

fn argument_names(block: &BlockEntry) -> String {
    let name = |argument: &nasgen_modules::arguments::Argument| match argument.default {
        None => argument.name.clone(),
        Some(_) => format!("{}?", argument.name),
    };
    let names: Vec<String> = block.signature.arguments.iter().map(name).collect();
    format!("[{}]", names.join(", "))
}

/// Up to the first full stop that a capital follows (`et al. 2020` goes on).
fn first_sentence(text: &str) -> &str {
    let mut ends = text.match_indices(". ").map(|(at, _)| at);
    let end = ends.find(|at| text[at + 2..].starts_with(|next: char| next.is_uppercase() || next == '`'));
    text[..end.unwrap_or(text.len())].trim_end_matches('.')
}

/// All about one block.
pub fn block_details(block: &BlockEntry) -> String {
    let mut table = plain_table(&["argument", "default", "takes", "meaning"], &[]);
    for argument in &block.signature.arguments {
        let default = argument.default.as_ref().map_or_else(|| "(must be given)".into(), emit_inline);
        table.add_row([argument.name.clone(), default, argument.wanted(), argument.meaning.clone()]);
    }
    let title = format!("{}: {}", block.name(), block.signature.meaning);
    if block.signature.arguments.is_empty() {
        return format!("{title}\n\nIt takes no arguments: [1, {}, []]", block.name());
    }
    format!("{title}\n\n{}\n\nIn a row: [repeat, {}, {}]", table.trim_fmt(), block.name(), argument_names(block))
}

/// All about a layer that blocks in YAML can name.
pub fn layer_details(name: &str, layer: Layer) -> String {
    let argument = |(name, default): &(&str, LayerDefault)| match default.written() {
        None => (*name).to_owned(),
        Some(default) => format!("{name} = {default}"),
    };
    let arguments: Vec<String> = layer.arguments().iter().map(argument).collect();
    let takes = if arguments.is_empty() { "It takes no arguments".to_owned() } else { arguments.join(", ") };
    format!("{name}, a layer of blocks in YAML: {}\n\n{takes}", layer.meaning())
}
