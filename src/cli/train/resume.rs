//! `nasgen train --resume`: a training goes on.

use super::{Arguments, Prepared, absolute, build, go, load, memory};
use crate::{
    cli::{
        failure::{Failure, Kind},
        output::Output,
        show::{input_shape, plan},
    },
    data::SplitFile,
    spec::{ModelSpec, SourceText},
    train::{Checkpoint, RunConfig, RunFolder, with_epochs},
};
use nasgen_modules::Blocks;
use std::path::Path;

pub(super) fn run(arguments: &Arguments, path: &Path, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    refuse_other_settings(arguments)?;
    let folder = RunFolder::open(path)?;
    let text = SourceText::read(&path.join("config.yaml"))?;
    let mut config = RunConfig::parse(&text)?;
    let checkpoint = folder.last().map_err(|error| Failure::new(Kind::Failed, error.to_string()))?;
    if let Some(checkpoint) = &checkpoint {
        check_build(checkpoint, arguments, output)?;
    }
    let done = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.progress.epochs);
    let raised = raised(arguments, done, config.settings.epochs)?;
    if let Some(data) = &arguments.data {
        config.data = absolute(data.clone());
    }

    let source = SourceText::read(&path.join("model.yaml"))?;
    let spec = ModelSpec::parse(&source, blocks)?;
    let network = plan(&source, &spec, input_shape(&spec, None))?;
    let parts = load(&config, &network, output)?;
    check_data(&path.join("split.csv"), &parts.split_file())?;
    memory::check(&config, &network, &parts)?;
    if let Some(epochs) = raised {
        output.note(&format!(
            "{epochs} epochs instead of {}: the learning rate goes on as in a training of {epochs}",
            config.settings.epochs,
        ));
        config.settings.epochs = epochs;
        folder.write("config.yaml", &with_epochs(&text.text, epochs))?;
    }
    let steps = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.progress.steps);
    output.message(&format!("resume  after epoch {done} of {}, step {steps}", config.settings.epochs));
    go(&Prepared { config, spec, network, parts, folder }, checkpoint.as_ref(), output)
}

/// A setting that would be ignored is an error.
fn refuse_other_settings(arguments: &Arguments) -> Result<(), Failure> {
    let others = [
        ("a model spec", arguments.config.is_some()),
        ("--fit", arguments.fit.is_some()),
        ("--input", arguments.input.is_some()),
        ("--classes", arguments.classes.is_some()),
        ("--device", arguments.device.is_some()),
        ("--executor", arguments.executor.is_some()),
        ("--run", arguments.run.is_some()),
    ];
    let others = others.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned());
    let settings = arguments.settings.given().filter(|(name, _)| *name != "epochs");
    let settings = settings.map(|(name, _)| format!("--{}", name.replace('_', "-")));
    match others.chain(settings).collect::<Vec<_>>().join(", ") {
        given if given.is_empty() => Ok(()),
        given => Err(Failure::usage(format!(
            "--resume takes all settings from the run, and with it {given} cannot be given; \
             --epochs may be raised, and --data may name where the same images are now"
        ))),
    }
}

/// The number of epochs that is asked for, if it is another.
fn raised(arguments: &Arguments, done: usize, before: usize) -> Result<Option<usize>, Failure> {
    let given = arguments.settings.given().find(|(name, _)| *name == "epochs");
    let Some((_, text)) = given else { return Ok(None) };
    match text.parse::<usize>() {
        Ok(epochs) if epochs == before => Ok(None),
        Ok(epochs) if epochs > before && epochs <= 100_000 => Ok(Some(epochs)),
        _ => Err(Failure::usage(format!(
            "--epochs: wanted more than the {before} of the run, of which {done} are done, got {text}"
        ))),
    }
}

fn check_build(checkpoint: &Checkpoint, arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let now = build::identity();
    if checkpoint.build == now {
        return Ok(());
    }
    let difference = format!("the run was trained by {}, and this is {now}", checkpoint.build);
    if !arguments.allow_different_build {
        return Err(Failure::usage(format!(
            "{difference}: it would not end with the same weights to the bit; --allow-different-build goes on all the same"
        )));
    }
    output.note(&format!("{difference}: the result need not be the same to the bit"));
    Ok(())
}

/// Going on with other images would be another training.
fn check_data(path: &Path, now: &SplitFile) -> Result<(), Failure> {
    let before = SplitFile::read(path).map_err(|error| Failure::new(Kind::Data, error.to_string()))?;
    match before.changes(now) {
        changes if changes.is_empty() => Ok(()),
        changes => Err(Failure::new(
            Kind::Data,
            format!(
                "the images are not those that the run began with ({}): {}; put them back, or train anew",
                path.display(),
                changes.join("; "),
            ),
        )),
    }
}
