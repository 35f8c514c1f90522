//! What a network says of images whose classes are known, as parts of a page.

use super::html::{
    chart::{self, Axis, Series, heat_map},
    page::{Section, picture},
    percent,
    table::{Cell, table},
};
use crate::{
    evaluation::{ClassMeasures, Evaluation, Mistake, ReliabilityBin},
    numbers::grouped,
};
use maud::{Markup, html};

/// Above this many classes a matrix of all pairs says nothing to the eye.
const MATRIX_CLASSES: usize = 120;
/// Pairs of confused classes that are named.
const CONFUSED: usize = 10;

/// What the network says of the validation images.
pub struct Measured {
    /// All measures.
    pub evaluation: Evaluation,
    /// The worst mistakes: what it is, the image's name, the image as a PNG file.
    pub mistakes: Vec<(Mistake, String, Vec<u8>)>,
    /// Confidence and what became of it.
    pub reliability: Vec<ReliabilityBin>,
}

impl Measured {
    /// Classes, mistakes and calibration.
    pub(super) fn sections(&self, classes: &[String]) -> [Section; 3] {
        let section = |id, title: &str, body| Section { id, title: title.into(), body };
        [
            section("classes", "Classes", self.class_measures(classes)),
            section("mistakes", "Worst mistakes", self.mistakes(classes)),
            section("sureness", "How sure it is", self.calibration()),
        ]
    }

    fn class_measures(&self, classes: &[String]) -> Markup {
        let evaluation = &self.evaluation;
        let row = |class: &ClassMeasures| {
            vec![
                Cell::text(&class.class),
                Cell::number(grouped(class.images)),
                Cell::Share(class.precision),
                Cell::Share(class.recall),
                Cell::Share(class.f1),
                Cell::number(class.roc_auc.map_or_else(|| "-".into(), |area| format!("{area:.3}"))),
            ]
        };
        let rows: Vec<Vec<Cell>> = weakest_first(evaluation).into_iter().map(row).collect();
        let counts: Vec<Vec<f64>> =
            evaluation.confusion.iter().map(|row| row.iter().map(|count| *count as f64).collect()).collect();
        let confused = evaluation.confused(CONFUSED);
        html! {
            p {
                "Of all images of a class, recall is the share that was recognised; of all that was taken for it, \
                    precision is the share that is it; "
                "F1 is their harmonic mean. The weakest class comes first."
            }
            div class="grid" {
                div {
                    (table(&["class", "images", "precision", "recall", "F1", "ROC-AUC"], &rows))
                    h3 style="margin-top: 20px" { "Taken for another class" }
                    @if confused.is_empty() { p { "Not one image." } } @else {
                        ul { @for pair in &confused {
                            li { (pair.class) " taken for " (pair.answer) ": " (pair.images) (if pair.images == 1 {
                                " image" } else { " images" }) }
                        } }
                    }
                }
                @if classes.len() <= MATRIX_CLASSES {
                    div {
                        (heat_map("Confusion matrix", classes, classes, &counts, ["is", "was taken for"],
                            true))
                        p class="soft" { "A row holds the images of one class; the darker a cell, the larger its \
                            share of the row. On the diagonal they are right." }
                    }
                }
            }
        }
    }

    fn mistakes(&self, classes: &[String]) -> Markup {
        let name = |class: usize| classes.get(class).map_or("?", String::as_str);
        html! {
            @if self.mistakes.is_empty() { p { "There is none: all validation images are right." } } @else {
                p { "The validation images whose own class seemed least probable, worst first. A label may be wrong, \
                    too." }
                div class="pictures" { @for (mistake, file, png) in &self.mistakes {
                    (picture(png, &format!("{file}, a {}", name(mistake.class)), &html! {
                        "is " b class="right" { (name(mistake.class)) } ", said " b class="wrong" {
                            (name(mistake.answer)) } " (" (percent(mistake.sureness)) ")"
                        br; span class="soft" { (file) }
                    }))
                } }
            }
        }
    }

    fn calibration(&self) -> Markup {
        let Self { evaluation, reliability, .. } = self;
        let points = reliability.iter().map(|bin| [bin.confidence * 100.0, bin.accuracy * 100.0]).collect();
        let series = [
            Series { name: "this network".into(), points },
            Series { name: "perfectly honest".into(), points: vec![[0.0, 0.0], [100.0, 100.0]] },
        ];
        let both = |label| Axis::new(label).with(&[0.0, 100.0]);
        html! {
            p {
                "Where it says 80 %, 80 of 100 answers should be right. On average it is off by "
                (percent(evaluation.calibration_error)) " (expected calibration error, 15 bins). Below the line it is too \
                    sure of itself."
            }
            div class="grid" { (chart::lines("Sureness and truth", &both("how sure it is, %"), &both("right answers, %"),
                &series, &[])) }
        }
    }
}

/// A sentence about the class that is recognised worst; nothing where none is missed.
pub(super) fn weakest_class(evaluation: &Evaluation) -> Markup {
    let weakest = weakest_first(evaluation).into_iter().next();
    html! {
        @if let Some(class) = weakest.filter(|class| class.f1 < 1.0) {
            " Weakest class: " (class.class) ", with an F1 of " (format!("{:.3}", class.f1)) "."
        }
    }
}

fn weakest_first(evaluation: &Evaluation) -> Vec<&ClassMeasures> {
    let mut classes: Vec<_> = evaluation.per_class.iter().filter(|class| class.images > 0).collect();
    classes.sort_by(|one, other| one.f1.total_cmp(&other.f1));
    classes
}
