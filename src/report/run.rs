//! `report.html` of a run: what was trained, how it went, what it is good at and where it errs.

use super::{
    html::{
        chart::{self, Axis, Series},
        diagram::network_diagram,
        number,
        page::{Section, facts, page, picture},
        percent,
        table::{Cell, table},
    },
    measured::{Measured, weakest_class},
};
use crate::{
    network::Network,
    numbers::{grouped, short},
    spec::emit_inline,
};
use maud::{Markup, html};
use serde_json::Value;

/// By how much training accuracy may exceed that on validation images before it is remarked on.
const OVERFITTED: f64 = 0.1;
/// By how much accuracy may rise in the last quarter of the epochs before it is remarked on.
const STILL_LEARNING: f64 = 0.005;
/// An accuracy below so many times that of guessing is remarked on.
pub const GUESSING: f64 = 1.5;
/// How many times as many images the largest class may have as the smallest before it is remarked on.
const IMBALANCED: f64 = 3.0;
/// Width of the accuracy's interval above which it is remarked on.
const UNCERTAIN: f64 = 0.1;

/// All that the report of a run shows.
pub struct RunReport<'a> {
    /// The run's folder.
    pub run: String,
    /// The network.
    pub network: &'a Network,
    /// Names of the classes.
    pub classes: &'a [String],
    /// Where the images come from.
    pub data: String,
    /// Images of each class, for each split that has some.
    pub splits: Vec<(&'static str, Vec<usize>)>,
    /// Its epochs so far.
    pub epochs: Vec<EpochRow>,
    /// Losses of single steps: epochs done, loss.
    pub steps: Vec<[f64; 2]>,
    /// The epoch whose weights are the best.
    pub best_epoch: Option<usize>,
    /// What the best weights say of the validation images; none where the images are not there.
    pub measured: Option<Measured>,
    /// `aug_preview.png`.
    pub preview: Option<Vec<u8>>,
    /// The effective settings.
    pub settings: Vec<Setting>,
    /// Version of the program.
    pub nasgen: String,
}

/// A line of `results.csv`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpochRow {
    /// From 1.
    pub epoch: f64,
    /// Since the training began.
    pub seconds: f64,
    /// Mean over the epoch's steps.
    pub train_loss: f64,
    /// Share of right answers in training.
    pub train_accuracy: f64,
    /// On the validation images.
    pub val_loss: f64,
    /// On the validation images.
    pub val_accuracy: f64,
    /// On the validation images.
    pub val_macro_f1: f64,
    /// At the last step.
    pub learning_rate: f64,
    /// In training.
    pub images_per_second: f64,
}

impl EpochRow {
    /// The lines of a `results.csv`; what is not a number is NaN.
    pub fn read(text: &str) -> Vec<Self> {
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            let cell = |name: &str| {
                let column = header.iter().position(|column| *column == name);
                column.and_then(|column| cells.get(column)?.parse().ok()).unwrap_or(f64::NAN)
            };
            Self {
                epoch: cell("epoch"),
                seconds: cell("seconds"),
                train_loss: cell("train/loss"),
                train_accuracy: cell("train/accuracy"),
                val_loss: cell("val/loss"),
                val_accuracy: cell("val/accuracy"),
                val_macro_f1: cell("val/macro_f1"),
                learning_rate: cell("lr"),
                images_per_second: cell("images_per_second"),
            }
        };
        lines.map(row).collect()
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value, as in `config.yaml`.
    pub value: String,
    /// Where that came from.
    pub origin: String,
}

impl Setting {
    /// The lines of a `config.yaml`, each `name: value  # origin`.
    pub fn read(text: &str) -> Vec<Self> {
        let setting = |line: &str| {
            let (rest, origin) = line.rsplit_once("  # ").unwrap_or((line, ""));
            let (name, value) = rest.split_once(':')?;
            let known = !line.starts_with('#') && !value.trim().is_empty();
            let part = |text: &str| text.trim().to_owned();
            known.then(|| Self { name: part(name), value: part(value), origin: part(origin) })
        };
        text.lines().filter_map(setting).collect()
    }
}

impl RunReport<'_> {
    /// The whole file.
    pub fn to_html(&self) -> String {
        let mut sections = vec![Section { id: "curves", title: "How it went".into(), body: self.curves() }];
        if let Some(measured) = &self.measured {
            sections.extend(measured.sections(self.classes));
        }
        sections.push(Section { id: "network", title: "Network".into(), body: self.network() });
        sections.push(Section { id: "data", title: "Data".into(), body: self.data() });
        sections.push(Section { id: "settings", title: "Settings".into(), body: self.settings() });
        sections.push(Section { id: "repeat", title: "Repeat and use it".into(), body: self.repeat() });
        page(&format!("Training {}", self.short_name()), &self.summary(), &sections)
    }

    fn short_name(&self) -> &str {
        self.run.trim_end_matches('/').rsplit('/').next().unwrap_or(&self.run)
    }

    fn summary(&self) -> Markup {
        let hints = self.hints();
        let best = self.best();
        let speed = self.epochs.iter().map(|row| row.images_per_second).filter(|rate| *rate > 0.0);
        let speed: Vec<f64> = speed.collect();
        let mean_speed = speed.iter().sum::<f64>() / speed.len().max(1) as f64;
        let seconds = self.epochs.last().map_or(0.0, |row| row.seconds);
        html! {
            p class="lead" { (self.headline()) }
            (facts(&[
                ("Parameters", grouped(self.network.params())),
                ("Multiply-adds for an image", short(self.network.macs())),
                ("Best epoch", best.map_or("none yet".into(), |row| format!("{} of {}", row.epoch, self.epochs.len()))),
                ("Macro-F1 there", best.map_or("-".into(), |row| format!("{:.3}", row.val_macro_f1))),
                ("Time", duration(seconds)),
                ("Training speed", format!("{mean_speed:.0} images/s")),
            ]))
            @if !hints.is_empty() {
                ul { @for hint in &hints { li { (hint) } } }
            }
        }
    }

    fn headline(&self) -> Markup {
        match (&self.measured, self.best()) {
            (Some(Measured { evaluation, .. }), _) => {
                html! {
                    (percent(evaluation.accuracy)) " of " (grouped(evaluation.images as u64))
                        " validation images are right (95 % interval "
                    (percent(evaluation.interval.low)) " to " (percent(evaluation.interval.high)) ")."
                    (weakest_class(evaluation))
                }
            }
            (None, Some(best)) => html! {
                (percent(best.val_accuracy)) " of the validation images were right after epoch " (best.epoch)
                ". The images were not at hand when this page was written: classes and mistakes are left out."
            },
            (None, None) => html! { "No epoch is finished yet." },
        }
    }

    fn best(&self) -> Option<&EpochRow> {
        let best = self.best_epoch? as f64;
        self.epochs.iter().find(|row| row.epoch == best)
    }

    /// What to try next, each with its evidence.
    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        let Some(best) = self.best() else { return hints };
        if best.val_accuracy < GUESSING / self.classes.len().max(1) as f64 {
            hints.push(
                "It is hardly better than guessing. A learning rate that is too high does that, above all to a network \
                 without norms: --lr-find suggests one. So do too few epochs."
                    .into(),
            );
        }
        let gap = best.train_accuracy - best.val_accuracy;
        let doubt = self
            .measured
            .as_ref()
            .map_or(0.0, |measured| (measured.evaluation.interval.high - measured.evaluation.interval.low) / 2.0);
        if gap > OVERFITTED.max(doubt) {
            hints.push(format!(
                "In the best epoch {} of the training images were right, but {} of the validation images: it learns \
                    its \
                 images by heart. Stronger augmentation (--augment trivial), more images or a smaller network help.",
                percent(best.train_accuracy),
                percent(best.val_accuracy)
            ));
        }
        let count = self.epochs.len();
        let earlier = self.epochs.iter().rev().nth(count / 4).filter(|_| count >= 4 && best.epoch as usize == count);
        let rise = earlier.map_or(0.0, |earlier| best.val_accuracy - earlier.val_accuracy);
        if rise > STILL_LEARNING {
            hints.push(format!(
                "The last epoch was the best, and accuracy rose by {} points in the last quarter: it was still \
                 learning. Try nasgen train --resume {} --epochs {}.",
                number((rise * 1000.0).round() / 10.0),
                self.run,
                count * 2
            ));
        }
        if let Some((_, counts)) = self.splits.first() {
            let (most, least) = (counts.iter().max().copied().unwrap_or(0), counts.iter().min().copied().unwrap_or(0));
            if most as f64 > IMBALANCED * least.max(1) as f64 {
                hints.push(format!(
                    "The largest class has {most} training images, the smallest {least}. --balance sampler or \
                        --balance \
                     loss gives rare classes more weight."
                ));
            }
        }
        if let Some(Measured { evaluation, .. }) = &self.measured {
            let width = evaluation.interval.high - evaluation.interval.low;
            if width > UNCERTAIN {
                hints.push(format!(
                    "With {} validation images the accuracy is known to {} points only: do not choose between networks \
                     that are closer than that. --kfold 5 measures on all images.",
                    evaluation.images,
                    number((width * 500.0).round() / 10.0)
                ));
            }
        }
        hints.truncate(3);
        hints
    }

    fn curves(&self) -> Markup {
        let series = |name: &str, value: fn(&EpochRow) -> f64| Series {
            name: name.into(),
            points: self.epochs.iter().map(|row| [row.epoch, value(row)]).collect(),
        };
        let best = self.best().map(|row| (row.epoch, format!("best: epoch {}", row.epoch)));
        let marks: Vec<(f64, String)> = best.into_iter().collect();
        let across = Axis::new("epoch").with(&[1.0]).whole();
        let loss = [series("training", |row| row.train_loss), series("validation", |row| row.val_loss)];
        let accuracy = [
            series("training", |row| row.train_accuracy * 100.0),
            series("validation", |row| row.val_accuracy * 100.0),
        ];
        let rate = [series("learning rate", |row| row.learning_rate)];
        let steps = [Series { name: "loss".into(), points: self.steps.clone() }];
        html! {
            div class="grid" {
                (chart::lines("Loss", &across, &Axis::new("loss"), &loss, &marks))
                (chart::lines("Accuracy", &across, &Axis::new("right answers, %"), &accuracy, &marks))
                (chart::lines("Learning rate", &across, &Axis::new("learning rate").with(&[0.0]), &rate, &[]))
                @if !self.steps.is_empty() {
                    (chart::lines("Loss of single steps", &Axis::new("epochs done").with(&[0.0]), &Axis::new("loss"),
                        &steps, &[]))
                }
            }
            p class="soft" {
                "Training loss and accuracy are those of augmented images, while the network changed; validation \
                    comes after each epoch. "
                "Validation loss is cross-entropy; training loss is the `loss` of the settings with its smoothing, so \
                    that only their slopes compare."
            }
        }
    }

    fn network(&self) -> Markup {
        let total = self.network.macs().max(1) as f64;
        let rows: Vec<Vec<Cell>> = self
            .network
            .rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let from: Vec<String> = row.from.iter().map(i64::to_string).collect();
                vec![
                    Cell::number(index),
                    Cell::number(from.join(" ")),
                    Cell::number(row.repeat),
                    Cell::text(&row.module),
                    Cell::text(emit_inline(&Value::Array(row.arguments.clone()))),
                    Cell::number(row.output),
                    Cell::number(grouped(row.params)),
                    Cell::number(short(row.macs)),
                    Cell::number(percent(row.macs as f64 / total)),
                ]
            })
            .collect();
        let header = ["row", "from", "copies", "module", "arguments", "output", "parameters", "MACs", "share"];
        html! {
            p {
                "Each box is a row of the spec: its module and copies, what leaves it (channels × height × width), \
                    its parameters and multiply-adds. "
                "The taller the bar in a box, the more of the multiply-adds are its own."
            }
            div class="grid" { div { (network_diagram(self.network)) } div { (table(&header, &rows)) } }
        }
    }

    fn data(&self) -> Markup {
        let row = |(class, name): (usize, &String)| {
            let counts = self.splits.iter().map(|(_, counts)| Cell::number(grouped(counts[class] as u64)));
            [Cell::text(name)].into_iter().chain(counts).collect()
        };
        let mut rows: Vec<Vec<Cell>> = self.classes.iter().enumerate().map(row).collect();
        let totals = self.splits.iter().map(|(_, counts)| Cell::number(grouped(counts.iter().sum::<usize>() as u64)));
        rows.push([Cell::text("all")].into_iter().chain(totals).collect());
        let header: Vec<&str> = ["class"].into_iter().chain(self.splits.iter().map(|(split, _)| *split)).collect();
        html! {
            p { "Images from " code { (self.data) } ", brought to " (self.network.input)
                ". split.csv of the run says which image was for what." }
            (table(&header, &rows))
            @if let Some(png) = &self.preview {
                h3 style="margin-top: 20px" { "What training sees" }
                div class="picture wide" {
                    (picture(png, "Training images and their augmented versions", &html! {
                        "In each row an image as it is, then as it is augmented in the first epochs." }))
                }
            }
        }
    }

    fn settings(&self) -> Markup {
        let row = |setting: &Setting| {
            let origin = if setting.origin.is_empty() { "-" } else { &setting.origin };
            vec![Cell::text(&setting.name), Cell::text(&setting.value), Cell::text(origin)]
        };
        let (chosen, default): (Vec<&Setting>, Vec<&Setting>) =
            self.settings.iter().partition(|setting| setting.origin != "default");
        let rows = |settings: Vec<&Setting>| settings.into_iter().map(row).collect::<Vec<_>>();
        html! {
            (table(&["setting", "value", "where it came from"], &rows(chosen)))
            details { summary { "The others are the default: " (default.len()) }
                (table(&["setting", "value", "where it came from"], &rows(default)))
            }
        }
    }

    fn repeat(&self) -> Markup {
        let run = if self.run.contains(|c: char| !(c.is_alphanumeric() || "/._-".contains(c))) {
            format!("'{}'", self.run.replace('\'', r"'\''"))
        } else {
            self.run.clone()
        };
        html! {
            pre {
                "nasgen train --config " (run) "/config.yaml   # the same training again\n"
                "nasgen eval " (run) "                         # measure it, on test images where there are some\n"
                "nasgen predict " (run) " photo.jpg            # what is on an image\n"
                "nasgen report " (run) "                       # write this page again"
            }
            p class="soft" {
                "The same seed, build and kind of processor give the same weights to the bit. Written by nasgen "
                    (self.nasgen) "."
            }
        }
    }
}

pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_results_are_read_back() {
        let config = "# nasgen 0.1.0: settings\nconfig: \"a: b.yml\"\ndata: synthetic  # default\ntrain:\n  lr: 0.02  \
            # flag --lr\n  augment: '#x'  # the spec\n";
        let settings = Setting::read(config);
        let lines: Vec<String> = settings.iter().map(|s| format!("{}|{}|{}", s.name, s.value, s.origin)).collect();
        assert_eq!(
            lines,
            ["config|\"a: b.yml\"|", "data|synthetic|default", "lr|0.02|flag --lr", "augment|'#x'|the spec"]
        );
        let rows = EpochRow::read("epoch,seconds,val/accuracy,lr\n1,2.5,0.25,0.1\n2,x,0.5\n");
        assert_eq!((rows[0].epoch, rows[0].val_accuracy, rows[0].learning_rate), (1.0, 0.25, 0.1));
        assert!(rows[1].seconds.is_nan() && rows[1].learning_rate.is_nan() && rows[0].train_loss.is_nan());
        assert_eq!([0.2, 75.0, 7384.0].map(duration), ["0.2 s", "1 min 15 s", "2 h 3 min"]);
    }
}
