//! `nasgen export`: a network for other programs.

use super::{
    failure::{Failure, Kind},
    output::Output,
    show::{input_shape, parse_input, plan},
};
use crate::{
    export::pytorch_module,
    files,
    numbers::{grouped, short},
    spec::{ModelSpec, SourceText},
};
use nasgen_modules::Blocks;
use serde_json::json;
use std::path::PathBuf;

/// Write a network for another program.
///
/// `--format pytorch` writes a Python file with a readable `torch.nn.Module`, whose weights have nasgen's names:
/// to train a drawn network with code of your own, no training by nasgen is needed.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The model spec.
    config: PathBuf,
    /// What to write.
    #[arg(long, value_name = "NAME")]
    format: Format,
    /// Where to write it; without it, to stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Shape of the images, such as 3x64x64 (default: the spec's input_size, else 32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Pytorch,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let source = SourceText::read(&arguments.config)?;
    let spec = ModelSpec::parse(&source, blocks)?;
    let network = plan(&source, &spec, input_shape(&spec, arguments.input))?;
    let costs = format!("{} parameters, {} MACs", grouped(network.params()), short(network.macs()));
    let title = format!("{}: {costs}.", arguments.config.display());
    let text = match arguments.format {
        Format::Pytorch => pytorch_module(&network, &title).map_err(Failure::usage)?,
    };
    // `-` is stdout, as everywhere.
    let Some(out) = arguments.out.as_ref().filter(|out| out.as_os_str() != "-") else {
        return output.result(|| text.clone(), || json!({ "written": null, "text": text }));
    };
    files::write_whole(out, text.as_bytes())
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", out.display())))?;
    let wrote = format!("wrote {}: class Network, {costs}", out.display());
    output.result(|| wrote, || json!({ "written": out, "params": network.params(), "macs": network.macs() }))
}
