//! `report.html` of a cross-validation: how its folds went, and what they say of all images together.

use super::{
    html::{
        chart::{self, Axis, Series},
        page::{Section, facts, page},
        percent,
        table::{Cell, table},
    },
    measured::{Measured, weakest_class},
    run::{EpochRow, duration},
};
use crate::{
    evaluation::Metrics,
    network::Network,
    numbers::{grouped, short},
};
use maud::{Markup, html};

/// All that the report of a cross-validation shows.
pub struct FoldsReport<'a> {
    /// Its folder.
    pub run: String,
    /// Where the images come from.
    pub data: String,
    /// The network.
    pub network: &'a Network,
    /// Names of the classes.
    pub classes: &'a [String],
    /// In their order.
    pub folds: Vec<FoldRow>,
    /// Mean accuracy over the folds, and the deviation between them.
    pub accuracy: (f64, f64),
    /// What is said of each image by the network that did not learn from it.
    pub measured: Measured,
}

/// One fold.
pub struct FoldRow {
    /// Its folder below the cross-validation's.
    pub folder: String,
    /// That it is measured on.
    pub images: usize,
    /// Whose weights are the best.
    pub best_epoch: usize,
    /// Of those weights, on its images.
    pub measures: Metrics,
    /// Its training.
    pub epochs: Vec<EpochRow>,
}

impl FoldsReport<'_> {
    /// The whole file.
    pub fn to_html(&self) -> String {
        let mut sections = vec![Section { id: "folds", title: "Folds".into(), body: self.folds() }];
        sections.extend(self.measured.sections(self.classes));
        sections.push(Section { id: "use", title: "Use it".into(), body: self.usage() });
        page(&format!("Cross-validation in {} folds", self.folds.len()), &self.summary(), &sections)
    }

    fn summary(&self) -> Markup {
        let (mean, deviation) = self.accuracy;
        let evaluation = &self.measured.evaluation;
        let seconds = self.folds.iter().filter_map(|fold| fold.epochs.last()).map(|row| row.seconds).sum();
        html! {
            p class="lead" {
                (percent(mean)) " of the images of a fold are right, ± " (percent(deviation)) " between the folds. Each \
                    of the " (grouped(evaluation.images as u64)) " images was measured by the network that did not \
                    learn from it."
                (weakest_class(evaluation))
            }
            (facts(&[
                ("Parameters", grouped(self.network.params())),
                ("Multiply-adds for an image", short(self.network.macs())),
                ("Right out of fold", percent(evaluation.accuracy)),
                ("95 % interval",
                    format!("{} to {}", percent(evaluation.interval.low), percent(evaluation.interval.high))),
                ("Time of all folds", duration(seconds)),
            ]))
        }
    }

    fn folds(&self) -> Markup {
        let row = |fold: &FoldRow| {
            vec![
                Cell::Link { href: format!("{}/report.html", fold.folder), text: fold.folder.clone() },
                Cell::number(grouped(fold.images as u64)),
                Cell::number(fold.best_epoch),
                Cell::Share(fold.measures.accuracy),
                Cell::Share(fold.measures.macro_f1),
                Cell::number(format!("{:.3}", fold.measures.loss)),
            ]
        };
        let rows: Vec<Vec<Cell>> = self.folds.iter().map(row).collect();
        let curve = |value: fn(&EpochRow) -> f64| {
            let series = |fold: &FoldRow| Series {
                name: fold.folder.clone(),
                points: fold.epochs.iter().map(|row| [row.epoch, value(row)]).collect(),
            };
            self.folds.iter().map(series).collect::<Vec<_>>()
        };
        let across = Axis::new("epoch").with(&[1.0]).whole();
        html! {
            p { "Images from " code { (self.data) } ", divided into parts with the same classes; each fold is measured \
                on another part, and learns from the others. A fold's own report is behind its name." }
            (table(&["fold", "images", "best epoch", "accuracy", "macro-F1", "loss"], &rows))
            div class="grid" style="margin-top: 20px" {
                (chart::lines("Accuracy of each fold", &across, &Axis::new("right answers, %"),
                    &curve(|row| row.val_accuracy * 100.0), &[]))
                (chart::lines("Loss of each fold", &across, &Axis::new("loss"), &curve(|row| row.val_loss), &[]))
            }
        }
    }

    fn usage(&self) -> Markup {
        html! {
            pre {
                "nasgen train --config " (self.run) "/config.yaml   # the same folds again\n"
                "nasgen predict " (self.run) "/fold-* photo.jpg   # all networks of the folds together\n"
                "nasgen train --resume " (self.run) " --epochs N   # longer"
            }
            p class="soft" { "out_of_fold.csv has what is said of each image; folds.csv this table." }
        }
    }
}
