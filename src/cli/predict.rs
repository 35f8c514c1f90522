//! `nasgen predict`: what trained networks say of images.

use super::{
    classifier::{Classifier, ClassifierFlags, is_run},
    eval::same_classes,
    failure::{Failure, Kind},
    output::Output,
};
use crate::{
    data::{ImageFormat, Images, image_files, read_image},
    evaluation::Answers,
    report::answers_csv,
};
use nasgen_modules::Blocks;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Say what is on images, prepared exactly as in training.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Runs (several are one classifier), then images or folders of images.
    #[arg(required = true, num_args = 1.., value_name = "RUN… IMAGE|FOLDER")]
    paths: Vec<PathBuf>,
    /// How many classes to name for each image.
    #[arg(long, default_value_t = 3, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print a table with the probabilities of all classes.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    classifier: ClassifierFlags,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let runs = arguments.paths.iter().take_while(|path| is_run(path)).count();
    let (runs, wanted) = arguments.paths.split_at(runs);
    if runs.is_empty() || wanted.is_empty() {
        let got = if runs.is_empty() { "no run first" } else { "no image" };
        return Err(Failure::usage(format!(
            "wanted the folder of a training, then images or folders of images; got {got}"
        )));
    }
    let files = wanted.iter().map(|path| image_files(path)).collect::<Result<Vec<_>, _>>();
    let files: Vec<PathBuf> =
        files.map_err(|error| Failure::new(Kind::Data, error.to_string()))?.into_iter().flatten().collect();

    let (mut networks, mut readable, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    let mut classes: Option<Vec<String>> = None;
    for run in runs {
        let mut classifier = Classifier::open(run, &arguments.classifier, blocks)?;
        let own = &classifier.description.classes;
        same_classes(classes.get_or_insert_with(|| own.clone()), own, run)?;
        let (images, broken) = read(&files, &classifier.format);
        if images.is_empty() {
            let first = broken.first().map_or_else(|| "there is none".into(), Clone::clone);
            return Err(Failure::new(Kind::Data, format!("no image that can be read: {first}")));
        }
        networks.push(classifier.probabilities(&images)?);
        (readable, skipped) = (images.names, broken);
    }
    skipped.iter().for_each(|problem| output.note(&format!("skipped: {problem}")));
    let classes = classes.unwrap_or_default();
    let answers = Answers::of(&networks, classes.len(), arguments.classifier.vote.into());
    let answers = Named { answers, images: &readable, classes: &classes, top: arguments.top as usize };
    output.result(
        || if arguments.csv { answers_csv(&answers.answers, &readable, None, &classes) } else { answers.text() },
        || json!({"images": answers.json(), "skipped": skipped}),
    )
}

/// The images that can be read, named by their paths, and what is wrong with the others.
fn read(files: &[PathBuf], format: &ImageFormat) -> (Images, Vec<String>) {
    let ImageFormat { channels, height, width, .. } = *format;
    let (mut pixels, mut names, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for path in files {
        match read_image(path, format) {
            Ok(more) => {
                pixels.extend(more);
                names.push(path.display().to_string());
            }
            Err(error) => broken.push(error.to_string()),
        }
    }
    (Images::in_memory([channels, height, width], pixels, vec![0; names.len()], names), broken)
}

struct Named<'a> {
    answers: Answers,
    images: &'a [String],
    classes: &'a [String],
    top: usize,
}

impl Named<'_> {
    /// The most probable classes of each image, the answer first.
    fn ranked(&self) -> impl Iterator<Item = (&String, Vec<(&str, f64)>)> {
        let rows = self.answers.probabilities.chunks_exact(self.classes.len()).zip(&self.answers.classes);
        self.images.iter().zip(rows).map(|(image, (row, answer))| {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|one, other| row[*other].total_cmp(&row[*one]));
            // A majority may name another class than the mean does.
            order.sort_by_key(|class| class != answer);
            (image, order.into_iter().take(self.top).map(|class| (self.classes[class].as_str(), row[class])).collect())
        })
    }

    fn text(&self) -> String {
        let longest = self.images.iter().map(|image| image.chars().count()).max().unwrap_or(0);
        let line = |(image, ranked): (&String, Vec<(&str, f64)>)| {
            let classes: Vec<String> =
                ranked.into_iter().map(|(class, share)| format!("{class} {:.1} %", share * 100.0)).collect();
            format!("{image:longest$}  {}", classes.join("   "))
        };
        self.ranked().map(line).collect::<Vec<_>>().join("\n")
    }

    fn json(&self) -> Vec<Value> {
        let object = |(image, ranked): (&String, Vec<(&str, f64)>)| {
            let top: Vec<Value> =
                ranked.iter().map(|(class, share)| json!({"class": class, "probability": share})).collect();
            json!({"image": image, "class": ranked[0].0, "probability": ranked[0].1, "top": top})
        };
        self.ranked().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_answer_comes_first_even_where_the_mean_says_otherwise() {
        let answers = Answers { probabilities: vec![0.6, 0.3, 0.1], classes: vec![1] };
        let classes = ["a", "b", "c"].map(String::from);
        let named = Named { answers, images: &["x.png".into()], classes: &classes, top: 2 };
        assert_eq!(named.text(), "x.png  b 30.0 %   a 60.0 %");
        assert_eq!(named.json()[0]["top"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_path_that_is_no_run_is_an_image() {
        assert!(is_run(Path::new("weights.safetensors")) && !is_run(Path::new("photo.jpg")));
    }
}
