//! How a training goes, on stderr: a moving line on a terminal, one line an epoch elsewhere.

use crate::train::{EpochReport, Observer, StepReport};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};

/// Shows a training's progress.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    epochs: usize,
    heading_shown: bool,
    /// Rows that did not learn in the epoch before.
    frozen: usize,
}

const HEADING: &str = "  epoch   train loss   train acc   val loss   val acc   macro-F1        lr   img/s   time";

impl Progress {
    pub(super) fn new(epochs: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::no_length);
        Self { bar, epochs, heading_shown: false, frozen: 0 }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, line: &str) {
        let heading = (!self.heading_shown).then_some(HEADING);
        self.heading_shown = true;
        for line in heading.into_iter().chain([line]) {
            match &self.bar {
                Some(bar) => bar.println(line),
                // Nobody reading along is no reason to stop.
                None => drop(writeln!(std::io::stderr(), "{line}")),
            }
        }
    }
}

impl Observer for Progress {
    fn step(&mut self, report: &StepReport) {
        let Some(bar) = &self.bar else { return };
        if report.step == 1 && report.epoch == 1 {
            let template = "{msg} [{bar:24}] {pos}/{len}  left {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("##."));
            }
            bar.set_length((self.epochs * report.steps) as u64);
        }
        bar.set_position(((report.epoch - 1) * report.steps + report.step) as u64);
        bar.set_message(format!(
            "epoch {}/{}  loss {:.3}  acc {:.1} %  lr {:.1e}  {:.0} img/s",
            report.epoch,
            self.epochs,
            report.loss,
            report.accuracy * 100.0,
            report.learning_rate,
            report.images_per_second
        ));
    }

    fn epoch(&mut self, report: &EpochReport) {
        let mark = if report.is_best { "  * best" } else { "" };
        let line = format!(
            "{:>3}/{:<3}   {:>10.4}   {:>7.1} %   {:>8.4}   {:>5.1} %   {:>8.4}   {:>7.1e}   {:>5.0}   {:>3.0} s{mark}",
            report.epoch,
            report.epochs,
            report.train_loss,
            report.train_accuracy * 100.0,
            report.validation.loss,
            report.validation.accuracy * 100.0,
            report.validation.macro_f1,
            report.learning_rate,
            report.images_per_second,
            report.seconds,
        );
        if report.frozen_rows < self.frozen {
            self.line(&format!("          since epoch {} rows {} and later learn", report.epoch, report.frozen_rows));
        }
        self.frozen = report.frozen_rows;
        self.line(&line);
    }
}
