//! The table of a network.

use crate::{
    network::{Network, PlannedRow},
    numbers::{grouped, short},
    spec::emit_inline,
};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use nasgen_modules::Shape;
use serde_json::Value;

const HEADER: [&str; 10] = ["idx", "from", "n", "module", "arguments", "in", "out", "params", "MACs", "share"];
const NUMERIC: [usize; 5] = [0, 2, 7, 8, 9];
/// f32.
const BYTES_PER_VALUE: u64 = 4;

/// One line for each row, then totals and notes.
pub fn network_table(network: &Network) -> String {
    let total = network.macs();
    let mut table = plain_table(&HEADER, &NUMERIC);
    for (index, row) in network.rows.iter().enumerate() {
        table.add_row(cells(index, row, total));
    }
    format!("{}\n\n{}", table.trim_fmt(), summary(network))
}

/// A table without lines, right-aligned where the columns are numbers.
pub(super) fn plain_table(header: &[&str], numeric: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for column in numeric {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cells(index: usize, row: &PlannedRow, total: u64) -> [String; 10] {
    let share = if total == 0 { 0.0 } else { row.macs as f64 / total as f64 * 100.0 };
    let inputs: Vec<String> = row.inputs.iter().map(Shape::to_string).collect();
    let from: Vec<String> = row.from.iter().map(i64::to_string).collect();
    [
        index.to_string(),
        from.join(","),
        row.repeat.to_string(),
        row.module.clone(),
        emit_inline(&Value::Array(row.arguments.clone())),
        inputs.join(" "),
        row.output.to_string(),
        grouped(row.params),
        short(row.macs),
        format!("{share:.1} %"),
    ]
}

fn summary(network: &Network) -> String {
    let layers = &network.layers;
    let (params, macs) = (network.params(), network.macs());
    let bytes = |values: u64| format!("{}B", short(values.saturating_mul(BYTES_PER_VALUE)));
    let mut lines = vec![
        format!("input        {}", network.input),
        format!("output       {}", layers.output()),
        format!("layers       {} in {} rows", layers.nodes().len(), network.rows.len()),
        format!("parameters   {} ({} as f32)", grouped(params), bytes(params)),
        format!("MACs         {} for one image (convolutions and linear layers)", grouped(macs)),
        format!(
            "activations  {} at most at one time for one image; {} for each image in training",
            bytes(layers.peak_elements()),
            bytes(layers.activation_elements()),
        ),
    ];
    lines.extend(network.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}
