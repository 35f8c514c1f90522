//! `nasgen train --resume`: a training goes on.

use super::{
    Arguments, Folds, Prepared, build, go,
    images::load,
    memory, planned,
    summary::{quoted, text_report, to_json},
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        output::Output,
    },
    data::{Dataset, Partition, SplitFile},
    numbers::grouped,
    spec::{ModelSpec, SourceText},
    train::{Checkpoint, RunConfig, RunFolder, Summary, with_epochs},
};
use nasgen_modules::Blocks;
use std::{collections::BTreeMap, path::Path};

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
    if let (Some(checkpoint), Some(_)) = (&checkpoint, raised) {
        refuse_stale(checkpoint, &config, path)?;
    }
    if let Some(data) = &arguments.data {
        config.data = data.clone().absolute();
    }

    let source = SourceText::read(&path.join("model.yaml"))?;
    let spec = ModelSpec::parse(&source, blocks)?;
    let network = planned(&source, &spec, &config.settings)?;
    let data = load(&config, &network, &arguments.loading, output)?;
    let raise = |config: &mut RunConfig| -> Result<(), Failure> {
        let Some(epochs) = raised else { return Ok(()) };
        output.note(&format!(
            "{epochs} epochs instead of {}: the learning rate goes on as in a training of {epochs}",
            config.settings.epochs,
        ));
        config.settings.epochs = epochs;
        Ok(folder.write("config.yaml", &with_epochs(&text.text, epochs))?)
    };
    if config.kfold.is_some() {
        raise(&mut config)?;
        let origins = BTreeMap::new();
        return Folds { config, origins, spec, network, model: source.text, folder }.run(data, output);
    }
    let parts = check_data(&path.join("split.csv"), data, output)?;
    memory::check(&config, &network, &parts)?;
    raise(&mut config)?;
    let prepared = Prepared { config, spec, network, parts, folder };
    let summary = go_on(&prepared, checkpoint.as_ref(), output)?;
    output.result(|| text_report(&summary, &prepared), || to_json(&summary, &prepared))
}

/// Trains from a checkpoint on, and says where that is.
pub(super) fn go_on(prepared: &Prepared, checkpoint: Option<&Checkpoint>, output: &Output) -> Result<Summary, Failure> {
    let (epochs, steps) =
        checkpoint.map_or((0, 0), |checkpoint| (checkpoint.progress.epochs, checkpoint.progress.steps));
    output.message(&format!("resume  after epoch {epochs} of {}, step {steps}", prepared.config.settings.epochs));
    go(prepared, checkpoint, output).map(|(summary, _)| summary)
}

/// A setting that would be ignored is an error.
fn refuse_other_settings(arguments: &Arguments) -> Result<(), Failure> {
    let others = [
        ("a model spec", arguments.config.is_some()),
        ("--config", arguments.settings_file.is_some()),
        ("--set", !arguments.sets.is_empty()),
        ("--fit", arguments.fit.is_some()),
        ("--input", arguments.input.is_some()),
        ("--classes", arguments.classes.is_some()),
        ("--device", arguments.device.is_some()),
        ("--executor", arguments.executor.is_some()),
        ("--run", arguments.run.is_some()),
        ("--split", arguments.split.is_some()),
        ("--subset", arguments.subset.is_some()),
        ("--init", arguments.init.is_some()),
        ("--kfold", arguments.kfold.is_some()),
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

/// A training that ended early would end again at once.
fn refuse_stale(checkpoint: &Checkpoint, config: &RunConfig, path: &Path) -> Result<(), Failure> {
    let (epochs, best) = (checkpoint.progress.epochs, checkpoint.progress.best);
    match (config.settings.patience, best) {
        (Some(patience), Some(best)) if epochs - best.epoch >= patience => Err(Failure::usage(format!(
            "the run ended early: none of its last {patience} epochs was better than epoch {} (patience), and more \
             epochs would not begin; train anew with more of it: nasgen train --config {} --patience {}",
            best.epoch,
            quoted(&path.join("config.yaml").display().to_string()),
            patience * 2
        ))),
        _ => Ok(()),
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

/// The parts as the run has them: going on with other images would be another training.
pub(super) fn check_data(path: &Path, data: Dataset, output: &Output) -> Result<Partition, Failure> {
    let parts = Partition::by(&SplitFile::read(path)?, data, true).map_err(|error| {
        let message = format!(
            "the images are not those that the run began with: {error} ({}); put them back, or train anew",
            path.display()
        );
        Failure::new(Kind::Data, message)
    })?;
    if parts.left_out > 0 {
        output.note(&format!("{} images are not in {} and left out", grouped(parts.left_out as u64), path.display()));
    }
    Ok(parts)
}
