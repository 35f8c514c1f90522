//! `nasgen modules`: the blocks that a spec can name.

use super::{failure::Failure, output::Output};
use crate::{
    report,
    spec::{SourceText, with_blocks_of},
};
use nasgen_modules::{
    BlockEntry, Blocks,
    composition::{Layer, LayerDefault},
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// List the modules that a spec can name, or explain one.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The module to explain, or a layer that blocks in YAML can name, such as gate.
    name: Option<String>,
    /// Include the blocks that this spec or space defines.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let blocks = &match &arguments.from {
        None => blocks.clone(),
        Some(path) => with_blocks_of(&SourceText::read(path)?, blocks)?,
    };
    match &arguments.name {
        None => {
            let all = || json!({ "modules": blocks.iter().map(to_json).collect::<Vec<_>>() });
            output.result(|| report::block_list(blocks), all)
        }
        Some(name) if let Some((_, layer)) = Layer::ALL.iter().find(|(known, _)| known == name) => {
            output.result(|| report::layer_details(name, *layer), || layer_to_json(name, *layer))
        }
        Some(name) => {
            let block = blocks.get(name).map_err(|error| {
                let help = error.help.map_or_else(String::new, |help| format!("; {help}"));
                Failure::usage(format!("{}{help}", error.message))
            })?;
            output.result(|| report::block_details(block), || to_json(block))
        }
    }
}

fn layer_to_json(name: &str, layer: Layer) -> Value {
    let argument = |(name, default): &(&str, LayerDefault)| json!({ "name": name, "required": *default == LayerDefault::Required, "default": default.written() });
    let arguments: Vec<Value> = layer.arguments().iter().map(argument).collect();
    json!({ "name": name, "layer": true, "meaning": layer.meaning(), "arguments": arguments })
}

fn to_json(block: &BlockEntry) -> Value {
    let argument = |argument: &nasgen_modules::arguments::Argument| {
        json!({
            "name": argument.name, "required": argument.default.is_none(), "default": argument.default,
            "takes": argument.wanted(), "meaning": argument.meaning,
        })
    };
    let arguments: Vec<Value> = block.signature.arguments.iter().map(argument).collect();
    json!({ "name": block.name(), "meaning": block.signature.meaning, "arguments": arguments })
}
