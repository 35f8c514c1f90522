//! `nasgen eval`: how good trained networks are.

use super::{
    classifier::{Classifier, ClassifierFlags},
    failure::{Failure, Kind},
    images::LoadingFlags,
    output::Output,
};
use crate::{
    data::{Images, Partition, Source, SplitFile},
    evaluation::{Answers, Evaluation},
    files,
    numbers::grouped,
    report::{answers_csv, evaluation_text},
    spec::SourceText,
    train::RunConfig,
};
use nasgen_modules::Blocks;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Measure how good a trained network is, or several as one.
///
/// The images are the run's test images, where its data has some, else its validation images.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folders of trainings, or weights files; several are one classifier (an ensemble).
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Other images than the run's: their test images, else their validation images, else all.
    #[arg(long, value_name = "SOURCE")]
    data: Option<Source>,
    #[command(flatten)]
    loading: LoadingFlags,
    /// Which images: train, val or test [default: test where there are some, else val].
    #[arg(long, value_name = "NAME")]
    split: Option<SplitName>,
    /// Write what is said of each image, with all probabilities.
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    classifier: ClassifierFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SplitName {
    Train,
    Val,
    Test,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let mut opened: Vec<(Chosen, Vec<f64>)> = Vec::new();
    let mut classes: Option<Vec<String>> = None;
    for path in &arguments.runs {
        let mut classifier = Classifier::open(path, &arguments.classifier, blocks)?;
        let own = &classifier.description.classes;
        same_classes(classes.get_or_insert_with(|| own.clone()), own, path)?;
        let chosen = choose(arguments, path, &classifier, output)?;
        note_learnt(path, &chosen, output);
        if let Some((first, _)) = opened.first() {
            same_images(first, &chosen, path)?;
        }
        let probabilities = classifier.probabilities(&chosen.images)?;
        opened.push((chosen, probabilities));
    }
    let classes = classes.unwrap_or_default();
    let (mut chosen, networks): (Vec<Chosen>, Vec<Vec<f64>>) = opened.into_iter().unzip();
    let Chosen { images, split, name } = chosen.swap_remove(0);
    let answers = Answers::of(&networks, classes.len(), arguments.classifier.vote.into());
    let evaluation = Evaluation::of(&answers, &images.labels, &classes);
    if let Some(path) = &arguments.predictions {
        let text = answers_csv(&answers, &images.names, Some(&images.labels), &classes);
        files::write_whole(path, text.as_bytes())
            .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display())))?;
    }
    output.result(
        || {
            let heading = format!("{name}: {} {split} images, {} classes", grouped(images.len() as u64), classes.len());
            format!("{heading}\n{}", evaluation_text(&evaluation))
        },
        || {
            let mut object = json!({"split": split, "data": name, "runs": arguments.runs});
            if let (Some(object), Ok(serde_json::Value::Object(measures))) =
                (object.as_object_mut(), serde_json::to_value(&evaluation))
            {
                object.extend(measures);
            }
            object
        },
    )
}

/// The images to measure on.
struct Chosen {
    name: String,
    split: &'static str,
    /// With labels that are positions in the network's classes.
    images: Images,
}

fn choose(arguments: &Arguments, run: &Path, classifier: &Classifier, output: &Output) -> Result<Chosen, Failure> {
    let (source, file) = match &arguments.data {
        Some(source) => (source.clone(), None),
        None => of_run(run)?,
    };
    let data = arguments.loading.load(&source, &classifier.format, output)?;
    let mut parts = match file {
        Some(file) => Partition::by(&file, data, false)?,
        // Images that were never split are all measured on.
        None => Partition {
            name: data.name,
            classes: data.classes,
            train: data.train,
            validation: data.validation.unwrap_or_default(),
            test: data.test,
            left_out: 0,
        },
    };
    let to_network = mapping(&parts.classes, &classifier.description.classes, &parts.name)?;
    let test = parts.test.take().unwrap_or_default();
    let (split, mut images) = match arguments.split {
        Some(SplitName::Train) => ("train", parts.train),
        Some(SplitName::Val) => ("val", parts.validation),
        Some(SplitName::Test) => ("test", test),
        None if !test.is_empty() => ("test", test),
        None if !parts.validation.is_empty() => ("val", parts.validation),
        None => ("train", parts.train),
    };
    if images.is_empty() {
        return Err(Failure::new(Kind::Data, format!("{} has no {split} images", parts.name)));
    }
    images.labels.iter_mut().for_each(|label| *label = to_network[*label as usize]);
    Ok(Chosen { name: parts.name, split, images })
}

/// What a network has learnt from says little about it; the images' names tell, where they are the run's.
fn note_learnt(run: &Path, chosen: &Chosen, output: &Output) {
    let Ok(file) = SplitFile::read(&run.join("split.csv")) else { return };
    let learnt = file.learnt(&chosen.images);
    if learnt > 0 {
        output.note(&format!(
            "{} learnt from {} of these {} images: measures over them say too much of it",
            run.display(),
            grouped(learnt as u64),
            grouped(chosen.images.len() as u64),
        ));
    }
}

/// The images of a run and what it used them for.
fn of_run(run: &Path) -> Result<(Source, Option<SplitFile>), Failure> {
    let config = run.join("config.yaml");
    if !config.is_file() {
        let message = format!("{} does not say on which images; name them with --data", run.display());
        return Err(Failure::usage(message));
    }
    let config = RunConfig::parse(&SourceText::read(&config)?)?;
    let file = SplitFile::read(&run.join("split.csv"))?;
    Ok((config.data, Some(file)))
}

/// The network's number of each class of the data.
fn mapping(of_data: &[String], of_network: &[String], name: &str) -> Result<Vec<u32>, Failure> {
    let number = |class: &String| of_network.iter().position(|known| known == class).map(|number| number as u32);
    of_data.iter().map(number).collect::<Option<Vec<u32>>>().ok_or_else(|| {
        let message = format!(
            "{name} has classes that the network does not know: it has {}; the network knows {}",
            of_data.join(", "),
            of_network.join(", ")
        );
        Failure::new(Kind::Data, message)
    })
}

/// An ensemble answers one question.
pub(super) fn same_classes(first: &[String], own: &[String], run: &Path) -> Result<(), Failure> {
    if first == own {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} has other classes than the run before it: {}; before: {}",
        run.display(),
        own.join(", "),
        first.join(", ")
    )))
}

fn same_images(first: &Chosen, chosen: &Chosen, run: &Path) -> Result<(), Failure> {
    if first.split == chosen.split && first.images.names == chosen.images.names {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is measured on other images than the run before it ({} {} images, before: {} {}): \
         name the same for all with --data or --split test",
        run.display(),
        chosen.images.len(),
        chosen.split,
        first.images.len(),
        first.split,
    )))
}
