//! The loop of a worker: it takes work from the study, has it scored, and writes down what came of it.

use super::{
    attributes::{self, CONFIG, FAULT, GIVEN, INTERRUPTED, LAST_LINES, REASON, REUSED, SAW, WORKER},
    checkpoints::{Keep, better, furthest, tidy, trial_folder},
    heart::{Heart, Held},
    proposals::Proposals,
    reuse::{Known, known},
    scorer::{Assignment, Audience, Ending, Fault, FaultKind, Order, Score, Scorer},
    space::Proposal,
    view::view,
};
use nasgen_search::{Attributes, History, NoCandidate, Objective, Pruner, Rejection, State, Trial, Verdict};
use nasgen_storage::{Error as StorageError, Lease, Storage, Work};
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::sleep,
    time::Duration,
};

/// How long a worker without work waits before it asks again.
const WAIT: Duration = Duration::from_millis(100);
/// So many failed trials in a row before any has a value are no accident.
const FAILURES: usize = 5;
/// A trial that so many workers died of without a step in between is not tried again.
const DEATHS: u64 = 5;

/// One study and how it is searched, for all workers of a process.
pub struct Driver<'a> {
    /// The study's id in the storage.
    pub study: i64,
    /// Its name.
    pub name: &'a str,
    /// What comes next.
    pub proposals: &'a dyn Proposals,
    /// What ends early.
    pub pruner: &'a dyn Pruner,
    /// Where trials keep their files.
    pub folder: &'a Path,
    /// No more trials than these are begun, those of before counted.
    pub at_most: Option<u64>,
    /// When nothing else is left and fewer trials are complete, the best of those that were set aside are trained to
    /// the end.
    pub complete_at_least: usize,
    /// Ends the search when a trial's value of the first objective is as good.
    pub until: Option<f64>,
    /// How long a worker may be silent before its trials are taken over.
    pub lease: Duration,
    /// Which weights stay.
    pub keep: Keep,
    /// Whether to set everything aside and end.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Is told what happens.
    pub watcher: &'a dyn Watcher,
    /// Keeps the leases.
    pub heart: &'a Heart,
    /// What the workers of this process share.
    pub shared: Shared,
}

/// What the workers of a process share.
#[derive(Default)]
pub struct Shared {
    /// One suggestion at a time: each sees the one before.
    turn: Mutex<()>,
    /// Whether enough is found, or nothing more can be.
    ended: AtomicBool,
    failures: AtomicUsize,
    /// Why there is nothing more to begin, and of how many trials, and ended ones, that was found out.
    nothing: Mutex<Option<([usize; 2], End)>>,
    end: Mutex<Option<End>>,
    /// Trials of other processes for which it was said that they are waited for.
    waiting: Mutex<Vec<u64>>,
}

/// Why a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// There are as many trials as were wanted.
    Trials,
    /// Everything in the space was tried.
    Exhausted,
    /// No draw of many may be trained that was not.
    Infeasible {
        /// Draws made.
        attempts: u64,
        /// Why the nearest to the budget may not.
        reason: String,
    },
    /// A trial is as good as was wanted.
    GoodEnough,
    /// It was stopped, by the user or for the time.
    Stopped,
}

/// Is told what happens, from any thread.
pub trait Watcher: Sync + Send {
    /// Something happened.
    fn see(&self, event: &Event<'_>);
}

/// What happens to a trial.
pub enum Event<'a> {
    /// Its training begins, or goes on.
    Began {
        /// Its number.
        number: u64,
        /// What is trained.
        proposal: &'a Proposal,
        /// The step after which it goes on.
        after: Option<u64>,
    },
    /// A step is measured.
    Reported {
        /// The trial.
        number: u64,
        /// From 1.
        step: u64,
        /// Of the first objective.
        value: f64,
    },
    /// It is set aside.
    Paused {
        /// The trial.
        number: u64,
        /// Whether it was stopped, not judged.
        interrupted: bool,
    },
    /// It has ended.
    Ended {
        /// The trial.
        number: u64,
        /// How.
        state: State,
        /// For each objective; empty if there are none.
        values: &'a [f64],
        /// The trial whose result this is.
        reused: Option<u64>,
        /// Why it failed.
        reason: Option<&'a str>,
    },
    /// There is nothing to begin but trials that other processes hold, which may have died.
    Waiting {
        /// Their numbers.
        trials: &'a [u64],
        /// After so long a silence they are taken over.
        lease: Duration,
    },
    /// Another worker took it over.
    Lost {
        /// The trial.
        number: u64,
    },
}

/// Why a search ended without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The study cannot be written or read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nothing in the space may be trained.
    #[error(
        "none of {attempts} draws from the space may be trained, so fewer than one in {attempts} fits; the nearest \
         found: {reason}"
    )]
    NothingFits {
        /// Draws made.
        attempts: u64,
        /// Why the last one, or the nearest to the budget, may not.
        reason: String,
    },
    /// The space is wrong.
    #[error("{0}")]
    InvalidSpace(String),
    /// Every training would end the same.
    #[error(transparent)]
    Fault(Fault),
    /// One trial after the other fails.
    #[error("the first {count} trials failed, the last one: {reason}")]
    KeepsFailing {
        /// Trials.
        count: usize,
        /// Of the last one.
        reason: String,
    },
    /// The file system refuses.
    #[error("cannot write {path}: {problem}")]
    Write {
        /// What was to be written.
        path: String,
        /// Why not.
        problem: String,
    },
}

/// A proposal, with what the sampler saw.
type Suggested = (Proposal, String);

/// What a worker found to do.
enum Task<'a> {
    /// A trial with what is to be trained, and whether the pruner judges it.
    Train(Held<'a>, Box<Trial>, Box<Proposal>, bool),
    /// A trial that ends without training.
    Reject(Held<'a>, String),
    /// Nothing now; other workers still train.
    Wait,
    /// Nothing any more.
    End,
}

impl Driver<'_> {
    /// Works until there is nothing more to do. Any number of workers may.
    ///
    /// # Errors
    /// See [`SearchError`]; the other workers of the process end as well.
    pub fn work(&self, worker: &str, storage: &mut dyn Storage, scorer: &mut dyn Scorer) -> Result<(), SearchError> {
        let result = self.work_on(worker, storage, scorer);
        if result.is_err() {
            self.shared.ended.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Why the workers of this process ended.
    pub fn end(&self) -> End {
        let end = self.shared.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.clone().unwrap_or(End::Stopped)
    }

    fn ends(&self, end: End) -> Task<'_> {
        *self.shared.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        Task::End
    }

    fn work_on(&self, worker: &str, storage: &mut dyn Storage, scorer: &mut dyn Scorer) -> Result<(), SearchError> {
        while !self.is_ending() {
            match self.next(worker, storage)? {
                Task::End => break,
                Task::Wait => sleep(WAIT),
                Task::Reject(held, reason) => {
                    let fault = Fault::of_trial(FaultKind::Failed, reason);
                    self.fail(&held, storage, &fault)?;
                }
                Task::Train(held, trial, proposal, judged) => {
                    self.trial(&held, &trial, &proposal, judged, storage, scorer)?;
                }
            }
        }
        Ok(())
    }

    fn is_ending(&self) -> bool {
        self.shared.ended.load(Ordering::Relaxed) || (self.stop)()
    }

    fn objectives(&self) -> &[Objective] {
        self.proposals.objectives()
    }

    fn history<'t>(&'t self, trials: &'t [Trial]) -> History<'t> {
        History { study: self.name, objectives: self.objectives(), trials }
    }

    /// Those that could be begun now.
    fn allowed<'t>(&self, trials: &'t [Trial]) -> Cow<'t, [Trial]> {
        let allows = |trial: &&Trial| self.proposals.allows(trial);
        match trials.iter().all(|trial| allows(&trial)) {
            true => Cow::Borrowed(trials),
            false => Cow::Owned(trials.iter().filter(allows).cloned().collect()),
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done next: what was stopped goes on first, then the best of what was set aside, then what
    /// a dead worker left, what waits in the queue, and something new.
    fn next(&self, worker: &str, storage: &mut dyn Storage) -> Result<Task<'_>, SearchError> {
        let _turn = self.turn();
        if self.is_good_enough(storage.trials(self.study)?) {
            self.shared.ended.store(true, Ordering::Relaxed);
            return Ok(self.ends(End::GoodEnough));
        }
        if let Some(task) = self.paused(worker, storage)? {
            return Ok(task);
        }
        let (suggested, number) = self.suggestion_ahead(storage)?;
        let (suggested, at_most, end) = match suggested {
            Ok(suggested) => (Some(suggested), self.at_most, End::Trials),
            Err(End::Stopped) => return Ok(Task::End),
            Err(end) => (None, Some(number), end),
        };
        match storage.begin(self.study, worker, self.lease, at_most)? {
            None => self.to_the_end(worker, end, storage),
            Some(Work::Later) => {
                self.tell_of_waiting(storage)?;
                Ok(Task::Wait)
            }
            Some(Work::Queued(lease, trial)) => self.queued(lease, *trial, worker, storage),
            Some(Work::Abandoned(lease, trial)) if trial.identity().is_some() => {
                self.abandoned(self.heart.hold(lease), *trial, storage)
            }
            Some(Work::Abandoned(lease, trial)) if trial.system.contains_key("fixed_params") => {
                self.queued(lease, *trial, worker, storage)
            }
            Some(Work::Abandoned(lease, _)) => self.begun(lease, None, worker, storage),
            Some(Work::New(lease)) => {
                let suggested = suggested.filter(|_| lease.number == number);
                self.begun(lease, suggested, worker, storage)
            }
        }
    }

    /// Says for which trials of other processes it waits, whenever they are others.
    fn tell_of_waiting(&self, storage: &mut dyn Storage) -> Result<(), SearchError> {
        let elsewhere =
            |trial: &&Trial| trial.state == State::Running && !trial.paused && !self.heart.holds(trial.number);
        let trials: Vec<u64> = storage.trials(self.study)?.iter().filter(elsewhere).map(|trial| trial.number).collect();
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if *waiting != trials && !trials.is_empty() {
            self.watcher.see(&Event::Waiting { trials: &trials, lease: self.lease });
        }
        *waiting = trials;
        Ok(())
    }

    fn is_good_enough(&self, trials: &[Trial]) -> bool {
        let Some(until) = self.until else { return false };
        let direction = self.objectives()[0].direction;
        let reaches =
            |trial: &Trial| trial.values.first().is_some_and(|value| better(direction, *value, until).is_le());
        let counts = |trial: &&Trial| trial.state == State::Complete && self.proposals.allows(trial);
        trials.iter().filter(counts).any(reaches)
    }

    /// A trial that was set aside and is worth going on with.
    fn paused(&self, worker: &str, storage: &mut dyn Storage) -> Result<Option<Task<'_>>, SearchError> {
        let trials = storage.trials(self.study)?;
        let interrupted = trials.iter().find(|trial| trial.paused && attributes::is_interrupted(trial));
        let number = match interrupted {
            Some(trial) => Some(trial.number),
            None => self.pruner.promote(self.history(&self.allowed(trials))),
        };
        let Some(trial) = number.and_then(|number| trials.iter().find(|trial| trial.number == number)).cloned() else {
            return Ok(None);
        };
        // Another worker may be faster; the next look shows it.
        let Some(lease) = storage.take_up(self.study, trial.number, worker, self.lease)? else {
            return Ok(Some(Task::Wait));
        };
        let held = self.heart.hold(lease);
        storage.report(&held.lease, &[], &Attributes::from([(INTERRUPTED.to_owned(), json!(false))]))?;
        self.again(held, trial).map(Some)
    }

    /// What was set aside and came farthest, and of those the best, while too few trials are complete.
    fn to_the_end(&self, worker: &str, end: End, storage: &mut dyn Storage) -> Result<Task<'_>, SearchError> {
        let trials = &*self.allowed(storage.trials(self.study)?);
        let complete = self.history(trials).complete().count();
        if complete >= self.complete_at_least {
            return Ok(self.ends(end));
        }
        let paused = |number: &u64| trials.iter().find(|trial| trial.number == *number && trial.paused);
        let Some(trial) = furthest(trials, self.objectives()).iter().find_map(paused).cloned() else {
            return match end {
                End::Infeasible { attempts, reason } if complete == 0 => {
                    Err(SearchError::NothingFits { attempts, reason })
                }
                end => Ok(self.ends(end)),
            };
        };
        let number = trial.number;
        match storage.take_up(self.study, number, worker, self.lease)? {
            None => Ok(Task::Wait),
            Some(lease) => match self.again(self.heart.hold(lease), trial)? {
                Task::Train(held, trial, proposal, _) => Ok(Task::Train(held, trial, proposal, false)),
                other => Ok(other),
            },
        }
    }

    /// A trial whose worker died. One that kills its workers, by the memory that it needs, is given up.
    fn abandoned<'t>(
        &'t self,
        held: Held<'t>,
        trial: Trial,
        storage: &mut dyn Storage,
    ) -> Result<Task<'t>, SearchError> {
        let deaths = attributes::deaths_since(&trial, trial.last_step()) + 1;
        if deaths >= DEATHS {
            let reason =
                format!("{deaths} workers died one after the other while they trained it; it may need too much memory");
            return Ok(Task::Reject(held, reason));
        }
        let noted = json!({ "step": trial.last_step(), "count": deaths });
        storage.report(&held.lease, &[], &Attributes::from([(attributes::DEATHS.to_owned(), noted)]))?;
        self.again(held, trial)
    }

    /// A trial that had begun before.
    fn again<'t>(&'t self, held: Held<'t>, trial: Trial) -> Result<Task<'t>, SearchError> {
        let proposal = match attributes::config(&trial).filter(|_| trial.user.contains_key(GIVEN)) {
            Some(text) => self.proposals.given(text),
            None => self.proposals.again(&draws(&trial), trial.number),
        };
        self.task(held, trial, proposal)
    }

    /// A trial from the queue: drawn values, or a whole spec.
    fn queued(
        &self,
        lease: Lease,
        trial: Trial,
        worker: &str,
        storage: &mut dyn Storage,
    ) -> Result<Task<'_>, SearchError> {
        let held = self.heart.hold(lease);
        let given = attributes::config(&trial).filter(|_| trial.user.contains_key(GIVEN));
        let proposal = match given {
            Some(text) => self.proposals.given(text),
            None => {
                let fixed = trial.system.get("fixed_params").and_then(Value::as_object).cloned();
                self.proposals.again(&fixed.unwrap_or_else(|| draws(&trial)), trial.number)
            }
        };
        if let Ok(proposal) = &proposal {
            self.describe(&held, proposal, &view(&[]), worker, given.is_some(), storage)?;
        }
        self.task(held, trial, proposal)
    }

    fn task<'t>(
        &'t self,
        held: Held<'t>,
        trial: Trial,
        proposal: Result<Proposal, Rejection>,
    ) -> Result<Task<'t>, SearchError> {
        Ok(match proposal {
            Ok(proposal) => Task::Train(held, Box::new(trial), Box::new(proposal), true),
            Err(Rejection::Impossible(reason) | Rejection::Invalid(reason)) => Task::Reject(held, reason),
            // Only what samplers look for is stopped; a trial that was begun waits for the next worker.
            Err(Rejection::Stopped) => Task::End,
            Err(Rejection::OverBudget { reason, .. }) => Task::Reject(held, format!("over the budget: {reason}")),
        })
    }

    /// What the next new trial would be, and its number; suggested before the trial exists, so that a space
    /// that is used up leaves no trial behind.
    fn suggestion_ahead(&self, storage: &mut dyn Storage) -> Result<(Result<Suggested, End>, u64), SearchError> {
        let trials = storage.trials(self.study)?;
        let number = trials.last().map_or(0, |trial| trial.number + 1);
        if self.at_most.is_some_and(|most| number >= most) {
            return Ok((Err(End::Trials), number));
        }
        Ok((self.suggest(trials, number)?, number))
    }

    /// What the sampler wants trained as trial `number`, or why there is nothing more. That is asked again only when
    /// a trial has come or ended since: whoever waits for the last trainings asks ten times a second.
    fn suggest(&self, trials: &[Trial], number: u64) -> Result<Result<Suggested, End>, SearchError> {
        let known = [trials.len(), trials.iter().filter(|trial| trial.state.is_finished()).count()];
        let mut nothing = self.shared.nothing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, end)) = nothing.as_ref().filter(|(before, _)| *before == known) {
            return Ok(Err(end.clone()));
        }
        let end = match self.proposals.next(self.history(trials), number) {
            Ok(proposal) => return Ok(Ok((proposal, view(trials)))),
            Err(NoCandidate::Invalid(message)) => return Err(SearchError::InvalidSpace(message)),
            Err(NoCandidate::Stopped) => return Ok(Err(End::Stopped)),
            Err(NoCandidate::Exhausted) => End::Exhausted,
            Err(NoCandidate::Infeasible { attempts, reason }) => End::Infeasible { attempts, reason },
        };
        *nothing = Some((known, end.clone()));
        Ok(Err(end))
    }

    fn begun(
        &self,
        lease: Lease,
        suggested: Option<Suggested>,
        worker: &str,
        storage: &mut dyn Storage,
    ) -> Result<Task<'_>, SearchError> {
        let held = self.heart.hold(lease);
        let number = held.lease.number;
        let suggested = match suggested {
            Some(suggested) => Ok(suggested),
            None => {
                let others: Vec<Trial> =
                    storage.trials(self.study)?.iter().filter(|trial| trial.number != number).cloned().collect();
                self.suggest(&others, number)?
            }
        };
        let Ok((proposal, saw)) = suggested else {
            return Ok(Task::Reject(held, "nothing more in the space".into()));
        };
        self.describe(&held, &proposal, &saw, worker, false, storage)?;
        let trials = storage.trials(self.study)?;
        match trials.iter().find(|trial| trial.number == number).cloned() {
            Some(trial) => Ok(Task::Train(held, Box::new(trial), Box::new(proposal), true)),
            None => Ok(Task::Wait),
        }
    }

    fn describe(
        &self,
        held: &Held<'_>,
        proposal: &Proposal,
        saw: &str,
        worker: &str,
        given: bool,
        storage: &mut dyn Storage,
    ) -> Result<(), SearchError> {
        let costs = proposal.candidate.costs.iter().map(|(name, cost)| (name.clone(), json!(cost)));
        let mut user: Attributes = costs.collect();
        user.insert(CONFIG.into(), json!(proposal.config));
        if given {
            user.insert(GIVEN.into(), json!(true));
        }
        let mut system = proposal.candidate.attributes();
        system.extend([(SAW, json!(saw)), (WORKER, json!(worker))].map(|(name, value)| (name.to_owned(), value)));
        Ok(storage.describe(&held.lease, &proposal.candidate.params, &user, &system)?)
    }

    /// One trial from its beginning, or its last checkpoint, to its end or a pause.
    fn trial(
        &self,
        held: &Held<'_>,
        trial: &Trial,
        proposal: &Proposal,
        judged: bool,
        storage: &mut dyn Storage,
        scorer: &mut dyn Scorer,
    ) -> Result<(), SearchError> {
        match self.reuse(held, proposal, storage) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            other => return self.unless_lost(held, other.map(drop)),
        }
        let folder = trial_folder(self.folder, trial.number);
        self.watcher.see(&Event::Began { number: trial.number, proposal, after: trial.last_step() });
        let listener = Listener {
            driver: self,
            held,
            judged,
            storage: Mutex::new(storage),
            said: Mutex::new(Said { last_step: trial.last_step(), ..Said::default() }),
        };
        let assignment = Assignment { number: trial.number, proposal, folder: &folder };
        let result = std::fs::create_dir_all(&folder)
            .map_err(|error| Fault::of_all(format!("cannot write {}: {error}", folder.display())))
            .and_then(|()| scorer.score(&assignment, &listener));
        let Listener { storage, said, .. } = listener;
        let storage = storage.into_inner().unwrap_or_else(PoisonError::into_inner);
        let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = said.error {
            return Err(error);
        }
        let goes_on = scorer.can_go_on();
        let written = if held.is_lost() {
            Ok(())
        } else {
            match result {
                Ok(Ending::Scored(score)) => self.complete(held, proposal, &score, storage),
                Ok(Ending::Halted) => self.halted(held, said.verdict, goes_on, storage),
                // The lease runs out, and another worker, or this one when it comes again, goes on.
                Err(fault) if fault.everywhere => return Err(SearchError::Fault(fault)),
                Err(fault) => self.fail(held, storage, &fault),
            }
        };
        self.unless_lost(held, written)?;
        if held.is_lost() {
            self.watcher.see(&Event::Lost { number: trial.number });
        } else if goes_on {
            self.tidy(storage)?;
        }
        Ok(())
    }

    /// A trial that another worker has is no longer this one's business.
    fn unless_lost(&self, held: &Held<'_>, result: Result<(), SearchError>) -> Result<(), SearchError> {
        match result {
            Err(SearchError::Storage(StorageError::LeaseLost { .. } | StorageError::Finished { .. })) => {
                held.lose();
                Ok(())
            }
            other => other,
        }
    }

    /// Whether the training was made before: then the trial has ended.
    fn reuse(&self, held: &Held<'_>, proposal: &Proposal, storage: &mut dyn Storage) -> Result<bool, SearchError> {
        let identity = &proposal.candidate.identity;
        loop {
            let trials = storage.trials(self.study)?;
            let (before, state) = match known(trials, identity, held.lease.number) {
                Known::Nothing => return Ok(false),
                Known::Soon if self.is_ending() => return Ok(false),
                Known::Soon => {
                    sleep(WAIT);
                    if held.is_lost() {
                        return Ok(true);
                    }
                    continue;
                }
                Known::Result(trial) => (trial.clone(), trial.state),
                Known::Beginning(trial) => (trial.clone(), State::Pruned),
            };
            let mut user = Attributes::from([(REUSED.to_owned(), json!(before.number))]);
            let copied = [FAULT, REASON].iter().filter_map(|key| before.user.get_key_value(*key));
            let copied = copied.chain(attributes::measures(&before.user));
            user.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
            storage.report(&held.lease, &before.reports, &Attributes::new())?;
            let values =
                if state == State::Pruned { self.pruned_values(&before.reports) } else { before.values.clone() };
            storage.finish(&held.lease, state, &values, &user)?;
            self.watcher.see(&Event::Ended {
                number: held.lease.number,
                state,
                values: &values,
                reused: Some(before.number),
                reason: attributes::reason(&before),
            });
            return Ok(true);
        }
    }

    fn complete(
        &self,
        held: &Held<'_>,
        proposal: &Proposal,
        score: &Score,
        storage: &mut dyn Storage,
    ) -> Result<(), SearchError> {
        let pairs = self.objectives().iter().zip(&proposal.candidate.known);
        let values: Result<Vec<f64>, &str> = pairs
            .map(|(objective, known)| {
                known.or_else(|| score.values.get(&objective.name).copied()).ok_or(objective.name.as_str())
            })
            .collect();
        let values = match values {
            Ok(values) if values.iter().all(|value| !value.is_nan()) => values,
            Ok(_) => {
                let fault = Fault::of_trial(FaultKind::Diverged, "its value is NaN");
                return self.fail(held, storage, &fault);
            }
            Err(missing) => {
                let measured: Vec<&str> = score.values.keys().map(String::as_str).collect();
                let message = format!("wanted a value for the objective `{missing}`, got {}", measured.join(", "));
                return self.fail(held, storage, &Fault::of_trial(FaultKind::Rubbish, message));
            }
        };
        let user = self.measured(score);
        storage.finish(&held.lease, State::Complete, &values, &user)?;
        self.shared.failures.store(0, Ordering::Relaxed);
        let number = held.lease.number;
        self.watcher.see(&Event::Ended { number, state: State::Complete, values: &values, reused: None, reason: None });
        Ok(())
    }

    /// What is known of a trial beside its values: all that was measured and is no objective, and remarks.
    fn measured(&self, score: &Score) -> Attributes {
        let is_objective = |name: &str| self.objectives().iter().any(|objective| objective.name == name);
        let others = score.values.iter().filter(|(name, _)| !is_objective(name) && !attributes::is_own(name));
        let mut user: Attributes = others.map(|(name, value)| (name.clone(), json!(value))).collect();
        user.extend(score.remarks.clone());
        user
    }

    fn halted(
        &self,
        held: &Held<'_>,
        verdict: Option<Verdict>,
        goes_on: bool,
        storage: &mut dyn Storage,
    ) -> Result<(), SearchError> {
        let number = held.lease.number;
        match verdict {
            None | Some(Verdict::Continue) => {
                let interrupted = Attributes::from([(INTERRUPTED.to_owned(), json!(true))]);
                storage.report(&held.lease, &[], &interrupted)?;
                storage.pause(&held.lease)?;
                self.watcher.see(&Event::Paused { number, interrupted: true });
            }
            Some(Verdict::Pause) if goes_on => {
                storage.pause(&held.lease)?;
                self.watcher.see(&Event::Paused { number, interrupted: false });
            }
            Some(Verdict::Pause | Verdict::Stop) => {
                let trials = storage.trials(self.study)?;
                let reports = trials.iter().find(|trial| trial.number == number).map(|trial| trial.reports.clone());
                let values = self.pruned_values(&reports.unwrap_or_default());
                storage.finish(&held.lease, State::Pruned, &values, &Attributes::new())?;
                let (state, reused, reason) = (State::Pruned, None, None);
                self.watcher.see(&Event::Ended { number, state, values: &values, reused, reason });
            }
        }
        Ok(())
    }

    /// What a trial that is stopped early has as its value: with one objective the last that is finite.
    fn pruned_values(&self, reports: &[(u64, f64)]) -> Vec<f64> {
        match self.objectives() {
            [_] => reports.iter().rev().map(|(_, value)| *value).find(|value| value.is_finite()).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn fail(&self, held: &Held<'_>, storage: &mut dyn Storage, fault: &Fault) -> Result<(), SearchError> {
        let mut user = Attributes::from([
            (FAULT.to_owned(), json!(fault.kind.to_string())),
            (REASON.to_owned(), json!(fault.message)),
        ]);
        if !fault.lines.is_empty() {
            user.insert(LAST_LINES.to_owned(), json!(fault.lines));
        }
        storage.finish(&held.lease, State::Fail, &[], &user)?;
        let (number, reason) = (held.lease.number, Some(fault.message.as_str()));
        self.watcher.see(&Event::Ended { number, state: State::Fail, values: &[], reused: None, reason });
        let count = self.shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let has_value = self.history(storage.trials(self.study)?).complete().next().is_some();
        if count >= FAILURES && !has_value {
            return Err(SearchError::KeepsFailing { count, reason: fault.message.clone() });
        }
        Ok(())
    }

    fn tidy(&self, storage: &mut dyn Storage) -> Result<(), SearchError> {
        let _turn = self.turn();
        let trials = storage.trials(self.study)?;
        tidy(self.folder, trials, |trial| self.proposals.allows(trial), self.objectives(), self.keep)
            .map_err(|error| SearchError::Write { path: self.folder.display().to_string(), problem: error.to_string() })
    }
}

/// A trial's draws by name.
fn draws(trial: &Trial) -> Map<String, Value> {
    trial.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect()
}

/// Passes a trial's reports on to the study and the pruner.
struct Listener<'a> {
    driver: &'a Driver<'a>,
    held: &'a Held<'a>,
    /// Whether the pruner is asked.
    judged: bool,
    storage: Mutex<&'a mut dyn Storage>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    last_step: Option<u64>,
    verdict: Option<Verdict>,
    error: Option<SearchError>,
}

impl Listener<'_> {
    fn report(&self, step: u64, value: f64) -> Result<Verdict, SearchError> {
        let driver = self.driver;
        let mut storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        storage.report(&self.held.lease, &[(step, value)], &Attributes::new())?;
        let number = self.held.lease.number;
        driver.watcher.see(&Event::Reported { number, step, value });
        if !self.judged {
            return Ok(Verdict::Continue);
        }
        let trials = &*driver.allowed(storage.trials(driver.study)?);
        let trial = trials.iter().find(|trial| trial.number == number);
        Ok(trial.map_or(Verdict::Continue, |trial| driver.pruner.judge(driver.history(trials), trial)))
    }
}

impl Audience for Listener<'_> {
    fn told(&self, step: u64, value: f64) -> Order {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last_step.is_some_and(|last| step <= last) {
            return Order::Continue;
        }
        said.last_step = Some(step);
        match self.report(step, value) {
            Ok(Verdict::Continue) if self.halt() => Order::Halt,
            Ok(Verdict::Continue) => Order::Continue,
            Ok(verdict) => {
                said.verdict = Some(verdict);
                Order::Halt
            }
            Err(SearchError::Storage(StorageError::LeaseLost { .. } | StorageError::Finished { .. })) => {
                self.held.lose();
                Order::Halt
            }
            Err(error) => {
                said.error = Some(error);
                Order::Halt
            }
        }
    }

    fn halt(&self) -> bool {
        self.held.is_lost() || self.driver.is_ending()
    }
}
