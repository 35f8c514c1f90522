//! `nasgen show`: a network's table.

use super::{failure::Failure, output::Output};
use crate::{
    network::{Network, PlannedRow},
    report,
    spec::{ModelSpec, SourceText},
};
use nasgen_modules::{Blocks, Shape};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show a network: its layers, shapes, parameters and multiply-adds.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The model spec.
    config: PathBuf,
    /// Shape of the images, such as 3x64x64 (default: the spec's input_size, else 32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let source = SourceText::read(&arguments.config)?;
    let spec = ModelSpec::parse(&source, blocks)?;
    let mut network = plan(&source, &spec, input_shape(&spec, arguments.input))?;
    if let Some([channels, ..]) = arguments.input.filter(|[channels, ..]| *channels != spec.input_channel) {
        let own = spec.input_channel;
        network.notes.push(format!(
            "--input has {channels} channels in the place of the spec's input_channel {own}: shapes and costs are \
             those of a network that begins with {channels}"
        ));
    }
    output.result(|| report::network_table(&network), || to_json(&network))
}

/// Plans a spec; what does not fit points into the spec's file.
pub(super) fn plan(source: &SourceText, spec: &ModelSpec, input: Shape) -> Result<Network, Failure> {
    Ok(Network::plan(spec, input).map_err(|diagnostic| source.error(vec![diagnostic]))?)
}

/// The image shape that a flag, else the spec, else the default gives.
pub(super) fn input_shape(spec: &ModelSpec, flag: Option<[usize; 3]>) -> Shape {
    match flag {
        Some([channels, height, width]) => Shape::image(channels, height, width),
        None => {
            let [height, width] = spec.input_size.unwrap_or([32, 32]);
            Shape::image(spec.input_channel, height, width)
        }
    }
}

fn to_json(network: &Network) -> Value {
    let layer = |(index, row): (usize, &PlannedRow)| {
        json!({
            "index": index, "from": row.from, "repeat": row.repeat, "module": row.module, "arguments": row.arguments,
            "params": row.params, "macs": row.macs, "output": row.output.dims(),
        })
    };
    json!({
        "input": network.input.dims(),
        "params": network.params(),
        "macs": network.macs(),
        "layers": network.rows.iter().enumerate().map(layer).collect::<Vec<_>>(),
        "activation_elements": network.layers.activation_elements(),
        "peak_elements": network.layers.peak_elements(),
        "notes": network.notes,
    })
}

/// Reads `CxHxW`.
pub(super) fn parse_input(text: &str) -> Result<[usize; 3], String> {
    let sides: Vec<usize> = text.split(['x', 'X', '×']).map_while(|side| side.parse().ok()).collect();
    match sides[..] {
        [channels @ 1..=4096, height @ 1..=8192, width @ 1..=8192] if text.split(['x', 'X', '×']).count() == 3 => {
            Ok([channels, height, width])
        }
        _ => Err("wanted channels x height x width, such as 3x64x64".into()),
    }
}
