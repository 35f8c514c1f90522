//! How a search goes, on stderr: a leaderboard on a terminal, one line a trial elsewhere.

use crate::{
    numbers::{grouped, short},
    search::{Event, Watcher},
};
use indicatif::{ProgressBar, ProgressStyle};
use nasgen_search::{Objective, State};
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Rows of the leaderboard.
const ROWS: usize = 8;

/// What a trial is called in what is said.
pub(super) type Naming<'a> = &'a (dyn Fn(u64) -> String + Sync);

/// Trials by their number, as everywhere.
pub(super) fn by_number(number: u64) -> String {
    format!("trial {number:>5}")
}

/// Shows what the workers of this process do.
pub(super) struct Board<'a> {
    naming: Naming<'a>,
    bar: Option<ProgressBar>,
    objectives: Vec<Objective>,
    began: Instant,
    /// Steps of a trial, where they are not its epochs.
    folds: Option<usize>,
    state: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// The best trials, the best first.
    best: Vec<Row>,
    running: BTreeMap<u64, Running>,
    counts: BTreeMap<&'static str, usize>,
    /// By number of the trial.
    paces: BTreeMap<u64, Pace>,
    /// When the search will stop for the time.
    deadline: Option<Instant>,
    step: String,
}

struct Row {
    number: u64,
    values: Vec<f64>,
    costs: String,
}

/// How fast a training goes.
struct Pace {
    /// The part of it that is done.
    share: f64,
    /// Its last value of the first objective, so that less is better.
    loss: f64,
    /// What all of it takes, at the pace of its last steps.
    seconds: f64,
}

struct Running {
    began: Instant,
    /// The step after which it went on here.
    after: u64,
    steps: Option<(u64, f64)>,
    of: Option<usize>,
    costs: String,
}

impl Running {
    fn pace(&self, step: u64, loss: f64) -> Option<Pace> {
        let of = self.of? as f64;
        let here = step.checked_sub(self.after).filter(|steps| *steps > 0)?;
        Some(Pace { share: step as f64 / of, loss, seconds: self.began.elapsed().as_secs_f64() / here as f64 * of })
    }
}

impl<'a> Board<'a> {
    pub(super) fn new(objectives: &[Objective], step: &str, folds: Option<usize>, naming: Naming<'a>) -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::no_length);
        if let (Some(bar), Ok(style)) = (&bar, ProgressStyle::with_template("{msg}")) {
            bar.set_style(style);
        }
        let state = Mutex::new(Standing { step: step.to_owned(), ..Standing::default() });
        Self { naming, bar, objectives: objectives.to_vec(), began: Instant::now(), folds, state }
    }

    /// Trials that ended before: they are on the board from the beginning.
    pub(super) fn seed(&self, trials: &[nasgen_search::Trial]) {
        let mut state = self.state();
        for trial in trials.iter().filter(|trial| trial.state.is_finished()) {
            let reused = crate::search::attributes::reused(trial).is_some();
            *state.counts.entry(word(trial.state, reused, false)).or_default() += 1;
            if trial.state == State::Complete && !reused {
                let cost = |name: &str| trial.costs().find(|(cost, _)| *cost == name).map(|(_, cost)| cost);
                let row = Row {
                    number: trial.number,
                    values: trial.values.clone(),
                    costs: costs(cost("params"), cost("macs")),
                };
                if let Some(seconds) = trial.user.get("seconds").and_then(serde_json::Value::as_f64) {
                    let loss = self.objectives[0].direction.to_minimize(trial.values[0]);
                    state.paces.insert(trial.number, Pace { share: 1.0, loss, seconds });
                }
                self.rank(&mut state, row);
            }
        }
    }

    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.state().deadline = deadline;
    }

    /// The mean time, in seconds, that whole trainings take of the `count` trials that came farthest so far, the
    /// best of them first. `None` before the first report.
    pub(super) fn training_seconds(&self, count: usize) -> Option<f64> {
        let state = self.state();
        let mut paces: Vec<&Pace> = state.paces.values().collect();
        paces.sort_by(|one, other| other.share.total_cmp(&one.share).then(one.loss.total_cmp(&other.loss)));
        paces.truncate(count.max(1));
        let sum: f64 = paces.iter().map(|pace| pace.seconds).sum();
        (!paces.is_empty()).then(|| sum / paces.len() as f64)
    }

    /// Draws the board anew.
    pub(super) fn draw(&self) {
        if let Some(bar) = &self.bar {
            let text = self.text(&self.state());
            bar.set_message(text);
            bar.tick();
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the row is the best of all.
    fn rank(&self, state: &mut Standing, row: Row) -> bool {
        let Some(value) = row.values.first().copied() else { return false };
        let direction = self.objectives[0].direction;
        let worse = |other: &Row| direction.to_minimize(other.values[0]) > direction.to_minimize(value);
        let place = state.best.iter().position(worse).unwrap_or(state.best.len());
        state.best.insert(place, row);
        state.best.truncate(ROWS);
        place == 0
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nobody reading along is no reason to stop.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn value(&self, values: &[f64]) -> String {
        let pairs = self.objectives.iter().zip(values).filter(|(objective, _)| !objective.known);
        pairs.map(|(objective, value)| format!("{} {value:.4}", objective.name)).collect::<Vec<_>>().join("  ")
    }

    fn text(&self, state: &Standing) -> String {
        let seconds = self.began.elapsed().as_secs();
        let counts: Vec<String> = state.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let left = state.deadline.map_or_else(String::new, |deadline| {
            format!("  left {}", clock(deadline.saturating_duration_since(Instant::now()).as_secs()))
        });
        let mut text = format!("{}  {}  {}{left}\n", state.step, clock(seconds), counts.join(", "));
        for (rank, row) in state.best.iter().enumerate() {
            let name = (self.naming)(row.number);
            text += &format!("{:>3}  {name}  {}  {}\n", rank + 1, self.value(&row.values), row.costs);
        }
        for (number, running) in &state.running {
            let step = running.steps.map_or_else(String::new, |(step, value)| {
                let of = running.of.map_or_else(String::new, |of| format!("/{of}"));
                format!("  {step}{of}  {} {value:.4}", self.objectives[0].name)
            });
            text += &format!("  …  {}{step}  {}\n", (self.naming)(*number), running.costs);
        }
        text
    }
}

impl Watcher for Board<'_> {
    fn see(&self, event: &Event<'_>) {
        let mut state = self.state();
        match *event {
            Event::Began { number, proposal, after } => {
                let cost =
                    |name: &str| proposal.candidate.costs.iter().find(|(cost, _)| cost == name).map(|(_, cost)| *cost);
                let of = self.folds.or_else(|| proposal.model.as_ref().map(|model| model.settings.epochs));
                let (costs, after) = (costs(cost("params"), cost("macs")), after.unwrap_or(0));
                state.running.insert(number, Running { began: Instant::now(), after, steps: None, of, costs });
            }
            Event::Reported { number, step, value } => {
                let loss = self.objectives[0].direction.to_minimize(value);
                let pace = state.running.get_mut(&number).and_then(|running| {
                    running.steps = Some((step, value));
                    running.pace(step, loss)
                });
                state.paces.extend(pace.map(|pace| (number, pace)));
            }
            Event::Paused { number, interrupted } => {
                let running = state.running.remove(&number);
                let at = running.and_then(|running| running.steps);
                let at = at.map_or_else(String::new, |(step, value)| format!(" at {step} ({value:.4})"));
                let why = if interrupted { "stopped" } else { "set aside" };
                self.line(&format!("{}  {why}{at}", (self.naming)(number)));
            }
            Event::Waiting { trials, lease } => {
                let numbers: Vec<String> = trials.iter().map(u64::to_string).collect();
                self.line(&format!(
                    "waiting for what other workers hold: trial {}; where a worker has died, that is seen {} s after its \
                     last sign of life (--lease)",
                    numbers.join(", "),
                    lease.as_secs_f64()
                ));
            }
            Event::Lost { number } => {
                state.running.remove(&number);
                let name = (self.naming)(number);
                self.line(&format!("{name}  another worker took it over: this one was silent for too long"));
            }
            Event::Ended { number, state: ended, values, reused, reason } => {
                let running = state.running.remove(&number);
                *state.counts.entry(word(ended, reused.is_some(), false)).or_default() += 1;
                let line = self.ended(&mut state, number, ended, values, reused, reason, running);
                self.line(&line);
            }
        }
        drop(state);
        self.draw();
    }
}

impl Board<'_> {
    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn ended(
        &self,
        state: &mut Standing,
        number: u64,
        ended: State,
        values: &[f64],
        reused: Option<u64>,
        reason: Option<&str>,
        running: Option<Running>,
    ) -> String {
        let name = (self.naming)(number);
        if let Some(before) = reused {
            return format!("{name}  the same training as trial {before}: reused, {}", self.value(values));
        }
        let costs = running.as_ref().map_or_else(String::new, |running| running.costs.clone());
        let seconds = running.as_ref().map_or(0.0, |running| running.began.elapsed().as_secs_f64());
        match ended {
            State::Complete => {
                let row = Row { number, values: values.to_vec(), costs: costs.clone() };
                let mark = if self.rank(state, row) { "  * best" } else { "" };
                format!("{name}  {}  {costs}  {seconds:.1} s{mark}", self.value(values))
            }
            State::Pruned => format!("{name}  stopped early, {}  {costs}", self.value(values)),
            _ => format!("{name}  failed: {}", reason.unwrap_or("it does not say why")),
        }
    }
}

/// How results are counted for people.
pub(super) fn word(state: State, reused: bool, paused: bool) -> &'static str {
    match state {
        _ if reused => "reused",
        State::Running if paused => "paused",
        State::Complete => "complete",
        State::Pruned => "pruned",
        State::Fail => "failed",
        State::Running => "running",
        State::Waiting => "waiting",
    }
}

fn costs(params: Option<f64>, macs: Option<f64>) -> String {
    let params = params.map(|params| format!("{} params", grouped(params as u64)));
    let macs = macs.map(|macs| format!("{} MACs", short(macs as u64)));
    params.into_iter().chain(macs).collect::<Vec<_>>().join("  ")
}

/// `1:02:03` or `2:03`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Proposal;
    use nasgen_search::{Candidate, Direction};
    use std::{thread::sleep, time::Duration};

    /// Sleeping may take longer, never less: so much at least must be forecast.
    #[test]
    fn a_training_is_forecast_from_its_last_steps() {
        let objective = Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false };
        let board = Board::new(&[objective], "search", Some(10), &by_number);
        let candidate = Candidate { params: vec![], known: vec![None], identity: String::new(), costs: vec![] };
        let proposal = Proposal { candidate, config: String::new(), model: None };
        assert_eq!(board.training_seconds(3), None);
        // Two steps of ten take 40 ms; the other trial goes on after its eighth, and its ninth takes 60 ms.
        for (number, after, step, milliseconds) in [(0, None, 2, 40), (1, Some(8), 9, 60)] {
            board.see(&Event::Began { number, proposal: &proposal, after });
            sleep(Duration::from_millis(milliseconds));
            board.see(&Event::Reported { number, step, value: 0.5 });
        }
        let farthest = board.training_seconds(1).unwrap();
        assert!(farthest >= 0.6, "{farthest}: ten steps of 60 ms");
        let both = board.training_seconds(3).unwrap();
        assert!(both >= 0.4 && both < farthest, "{both}: the mean of 0.2 s and that");
    }

    #[test]
    fn the_board_ranks_what_ended_above_what_runs() {
        let objective = |name: &str, direction, known| Objective { name: name.into(), direction, known };
        let objectives =
            [objective("accuracy", Direction::Maximize, false), objective("params", Direction::Minimize, true)];
        let board = Board::new(&objectives, "search", Some(10), &by_number);
        let costs = vec![("params".to_owned(), 1200.0), ("macs".to_owned(), 3_000_000.0)];
        let candidate = Candidate { params: vec![], known: vec![None, Some(1200.0)], identity: String::new(), costs };
        let proposal = Proposal { candidate, config: String::new(), model: None };
        let began = |number| board.see(&Event::Began { number, proposal: &proposal, after: None });
        let ended = |number, state, value: Option<f64>, reused| {
            let values: Vec<f64> = value.into_iter().flat_map(|value| [value, 1200.0]).collect();
            board.see(&Event::Ended { number, state, values: &values, reused, reason: Some("why") });
        };
        (0..6).for_each(began);
        ended(0, State::Complete, Some(0.625), None);
        ended(1, State::Complete, Some(0.875), None);
        ended(2, State::Fail, None, None);
        ended(3, State::Complete, Some(0.875), Some(1));
        board.see(&Event::Reported { number: 4, step: 3, value: 0.5 });
        board.see(&Event::Reported { number: 5, step: 2, value: 0.25 });
        board.see(&Event::Paused { number: 5, interrupted: false });
        let text = board.text(&board.state());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("search  0:0") && lines[0].ends_with("2 complete, 1 failed, 1 reused"), "{text}");
        assert_eq!(
            lines[1..],
            [
                "  1  trial     1  accuracy 0.8750  1,200 params  3.00 M MACs",
                "  2  trial     0  accuracy 0.6250  1,200 params  3.00 M MACs",
                "  …  trial     4  3/10  accuracy 0.5000  1,200 params  3.00 M MACs",
            ]
        );
    }
}
