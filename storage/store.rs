//! The contract on any database.

use crate::{
    Error, Lease, Result, Storage, Study, Work,
    dialect::insert,
    distribution::{stored_choice, stored_value, structured_texts, to_json},
    driver::{Access, Cell, Driver},
    number,
    reading::{self, FIXED_PARAMS, Known, Reader, name_of},
    schema,
    transaction::{Transaction, run},
};
use nasgen_modules::Distribution;
use nasgen_search::{Attributes, Direction, Objective, Param, State, Trial};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The system attribute of a study with the names of its objectives, as Optuna's `set_metric_names` writes it.
const METRIC_NAMES: &str = "study:metric_names";
/// The longest name that Optuna's tables take.
const LONGEST_NAME: usize = 512;

/// Studies in a database.
pub(crate) struct Store {
    driver: Box<dyn Driver>,
    /// Its address, for messages.
    place: String,
    known: BTreeMap<i64, Known>,
}

impl Store {
    /// The studies of a database; Optuna's tables are made only if `create`, what is missing beside them always.
    pub(crate) fn open(mut driver: Box<dyn Driver>, create: bool, place: String) -> Result<Self> {
        run(&mut *driver, Access::Write, |transaction| schema::prepare(transaction.driver, create))?;
        Ok(Self { driver, place, known: BTreeMap::new() })
    }

    fn write<T>(&mut self, work: impl FnMut(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        run(&mut *self.driver, Access::Write, work).map_err(|error| error.at(&self.place))
    }

    fn read<T>(&mut self, work: impl FnMut(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        run(&mut *self.driver, Access::Read, work).map_err(|error| error.at(&self.place))
    }
}

impl Storage for Store {
    fn open(&mut self, study: &Study) -> Result<(i64, bool)> {
        must_fit(&study.name, "the name of a study")?;
        if study.objectives.is_empty() {
            return Err(Error::Unstorable {
                what: format!("study {:?} without objectives", study.name),
                why: "wanted one or more".to_owned(),
            });
        }
        self.write(|transaction| match transaction.study_called(&study.name)? {
            Some(id) => Ok((id, false)),
            None => Ok((transaction.create_study(study)?, true)),
        })
    }

    fn studies(&mut self) -> Result<Vec<String>> {
        self.read(|transaction| {
            let rows = transaction.query("SELECT study_name FROM studies ORDER BY study_id", &[])?;
            rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
        })
    }

    fn study(&mut self, name: &str) -> Result<Option<(i64, Study)>> {
        self.read(|transaction| {
            let Some(id) = transaction.study_called(name)? else { return Ok(None) };
            Ok(Some((id, transaction.read_study(id, name)?)))
        })
    }

    fn delete(&mut self, study: i64) -> Result<()> {
        self.known.remove(&study);
        self.write(|transaction| {
            transaction.lock_study(study)?;
            for table in schema::PARTS_OF_TRIALS {
                let of_study = "trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)";
                transaction.execute(&format!("DELETE FROM {table} WHERE {of_study}"), &[study.into()])?;
            }
            for table in schema::PARTS_OF_STUDIES {
                transaction.execute(&format!("DELETE FROM {table} WHERE study_id = ?"), &[study.into()])?;
            }
            Ok(())
        })
    }

    fn set_study_attribute(&mut self, study: i64, system: bool, key: &str, value: &Value) -> Result<()> {
        must_fit(key, "the name of an attribute")?;
        let table = if system { "study_system_attributes" } else { "study_user_attributes" };
        self.write(|transaction| {
            transaction.lock_study(study)?;
            let row = vec![study.into(), key.into(), value.to_string().into()];
            transaction.upsert(table, &["study_id", "\"key\""], &["value_json"], &[row])
        })
    }

    fn trials(&mut self, study: i64) -> Result<&[Trial]> {
        let known = self.known.entry(study).or_default();
        known.refresh(&mut *self.driver, study).map_err(|error| error.at(&self.place))
    }

    fn begin(&mut self, study: i64, worker: &str, lease: Duration, at_most: Option<u64>) -> Result<Option<Work>> {
        self.write(|transaction| {
            transaction.lock_study(study)?;
            let claim = Claim { study, worker, lease };
            if let Some((trial, number, attempts)) = transaction.abandoned(study)? {
                let lease = transaction.grant(&claim, trial, number, attempts + 1)?;
                let trial = transaction.read_trial(&lease)?;
                return Ok(Some(Work::Abandoned(lease, Box::new(trial))));
            }
            if let Some((trial, number)) = transaction.take_from_queue(study)? {
                let lease = transaction.grant(&claim, trial, number, 1)?;
                let trial = transaction.read_trial(&lease)?;
                return Ok(Some(Work::Queued(lease, Box::new(trial))));
            }
            let number = transaction.next_number(study)?;
            if at_most.is_none_or(|most| number < most) {
                let trial = transaction.create_trial(study, number, State::Running)?;
                return Ok(Some(Work::New(transaction.grant(&claim, trial, number, 1)?)));
            }
            let others = transaction.unfinished(study)?.iter().any(|(_, hands)| *hands != Hands::Paused);
            Ok(others.then_some(Work::Later))
        })
    }

    fn enqueue(&mut self, study: i64, fixed: &Attributes, user: &Attributes) -> Result<u64> {
        self.write(|transaction| {
            transaction.lock_study(study)?;
            let number = transaction.next_number(study)?;
            let trial = transaction.create_trial(study, number, State::Waiting)?;
            let choices = fixed.iter().map(|(name, value)| (name.as_str(), std::slice::from_ref(value)));
            transaction.note_structured(study, choices)?;
            let fixed: BTreeMap<_, _> = fixed.iter().map(|(name, value)| (name, stored_choice(value))).collect();
            let system = Attributes::from([(FIXED_PARAMS.to_owned(), json!(fixed))]);
            transaction.set_attributes(trial, "trial_system_attributes", &system)?;
            transaction.set_attributes(trial, "trial_user_attributes", user)?;
            Ok(number)
        })
    }

    fn describe(&mut self, lease: &Lease, params: &[Param], user: &Attributes, system: &Attributes) -> Result<()> {
        let mut names = BTreeSet::new();
        let mut rows = Vec::with_capacity(params.len());
        for param in params {
            must_fit(&param.name, "the name of a param")?;
            if !names.insert(&param.name) {
                return Err(Error::Unstorable {
                    what: format!("two params called {:?} in one trial", param.name),
                    why: "wanted each name once".to_owned(),
                });
            }
            let distribution = to_json(&param.distribution).to_string();
            rows.push(vec![
                lease.trial.into(),
                param.name.as_str().into(),
                stored_value(param)?.into(),
                distribution.into(),
            ]);
        }
        let choices = params.iter().filter_map(|param| match &param.distribution {
            Distribution::Choice(choices) => Some((param.name.as_str(), choices.as_slice())),
            _ => None,
        });
        self.write(|transaction| {
            transaction.hold(lease)?;
            transaction.note_structured(lease.study, choices.clone())?;
            // The order of the rows is the order of the params.
            transaction.execute("DELETE FROM trial_params WHERE trial_id = ?", &[lease.trial.into()])?;
            let columns = ["param_value", "distribution_json"];
            transaction.upsert("trial_params", &["trial_id", "param_name"], &columns, &rows)?;
            transaction.set_attributes(lease.trial, "trial_user_attributes", user)?;
            transaction.set_attributes(lease.trial, "trial_system_attributes", system)?;
            transaction.sign_of_life(lease)
        })
    }

    fn heartbeat(&mut self, lease: &Lease) -> Result<()> {
        self.write(|transaction| {
            transaction.hold(lease)?;
            transaction.sign_of_life(lease)
        })
    }

    fn report(&mut self, lease: &Lease, reports: &[(u64, f64)], system: &Attributes) -> Result<()> {
        // Of a step that comes twice the last value counts: one statement cannot write a row twice.
        let reports: BTreeMap<u64, f64> = reports.iter().copied().collect();
        let rows: Vec<Vec<Cell>> = reports
            .iter()
            .map(|(step, value)| {
                let [value, kind] = number::stored(*value);
                vec![lease.trial.into(), (*step).into(), value, kind]
            })
            .collect();
        let columns = ["intermediate_value", "intermediate_value_type"];
        self.write(|transaction| {
            transaction.hold(lease)?;
            transaction.upsert("trial_intermediate_values", &["trial_id", "step"], &columns, &rows)?;
            transaction.set_attributes(lease.trial, "trial_system_attributes", system)?;
            transaction.sign_of_life(lease)
        })
    }

    fn finish(&mut self, lease: &Lease, state: State, values: &[f64], user: &Attributes) -> Result<()> {
        self.write(|transaction| {
            match transaction.hold(lease) {
                // This very call ended it, and the answer was lost.
                Err(Error::Finished { .. }) if transaction.perhaps_done => return Ok(()),
                held => held?,
            }
            let objectives = transaction.objectives(lease.study)?;
            let wrong = Error::WrongValues { number: lease.number, wanted: objectives, came: values.len() };
            // As Optuna has it: what is not a number is no value.
            let (state, values) = match state {
                State::Running | State::Waiting => return Err(wrong),
                State::Complete if values.len() != objectives => return Err(wrong),
                _ if !values.is_empty() && values.len() != objectives => return Err(wrong),
                State::Complete if values.iter().any(|value| value.is_nan()) => (State::Fail, &[][..]),
                _ if values.iter().any(|value| value.is_nan()) => (state, &[][..]),
                _ => (state, values),
            };
            transaction.set_attributes(lease.trial, "trial_user_attributes", user)?;
            transaction.end(lease.trial, state, values, objectives)?;
            transaction.execute("UPDATE nasgen_leases SET expires = NULL WHERE trial_id = ?", &[lease.trial.into()])?;
            Ok(())
        })
    }

    fn pause(&mut self, lease: &Lease) -> Result<()> {
        self.write(|transaction| {
            match transaction.hold(lease) {
                // This very call set it aside, and the answer was lost.
                Err(Error::LeaseLost { .. }) if transaction.perhaps_done && transaction.is_paused(lease.trial)? => {
                    return Ok(());
                }
                held => held?,
            }
            let trial = [lease.trial.into()];
            let release = "UPDATE nasgen_leases SET token = token + 1, expires = NULL WHERE trial_id = ?";
            transaction.execute(release, &trial)?;
            transaction.execute("DELETE FROM trial_heartbeats WHERE trial_id = ?", &trial)?;
            transaction.execute(&insert("nasgen_paused", &["trial_id"], 1), &trial)?;
            Ok(())
        })
    }

    fn take_up(&mut self, study: i64, number: u64, worker: &str, lease: Duration) -> Result<Option<Lease>> {
        self.write(|transaction| {
            transaction.lock_study(study)?;
            let statement = "SELECT t.trial_id, l.attempt FROM trials t JOIN nasgen_paused p ON p.trial_id = t.trial_id \
                             JOIN nasgen_leases l ON l.trial_id = t.trial_id \
                             WHERE t.study_id = ? AND t.number = ? AND t.state = 'RUNNING'";
            let Some(row) = transaction.first(statement, &[study.into(), number.into()])? else { return Ok(None) };
            let trial = row.int(0)?;
            transaction.execute("DELETE FROM nasgen_paused WHERE trial_id = ?", &[trial.into()])?;
            transaction.grant(&Claim { study, worker, lease }, trial, number, row.int(1)?).map(Some)
        })
    }

    fn close(&mut self, study: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.lock_study(study)?;
            let unfinished = transaction.unfinished(study)?;
            if unfinished.iter().any(|(_, hands)| *hands == Hands::Alive) {
                // Another worker may want to take a paused trial up, or a dead one's.
                return Ok(());
            }
            let objectives = transaction.objectives(study)?;
            for (trial, hands) in unfinished {
                let state = if hands == Hands::Paused { State::Pruned } else { State::Fail };
                transaction.end(trial, state, &[], objectives)?;
                transaction.execute("DELETE FROM nasgen_paused WHERE trial_id = ?", &[trial.into()])?;
                transaction.execute("UPDATE nasgen_leases SET expires = NULL WHERE trial_id = ?", &[trial.into()])?;
            }
            Ok(())
        })?;
        self.driver.settle()
    }
}

/// In whose hands a running trial is. Those of Optuna's own workers are in none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hands {
    Alive,
    Dead,
    Paused,
}

/// Who wants a trial.
struct Claim<'a> {
    study: i64,
    worker: &'a str,
    lease: Duration,
}

/// Studies.
impl Transaction<'_> {
    fn study_called(&mut self, name: &str) -> Result<Option<i64>> {
        let row = self.first("SELECT study_id FROM studies WHERE study_name = ?", &[name.into()])?;
        row.map(|row| row.int(0)).transpose()
    }

    /// Keeps other workers from giving numbers and trials of `study` away.
    fn lock_study(&mut self, study: i64) -> Result<()> {
        let statement = format!("SELECT study_id FROM studies WHERE study_id = ?{}", self.dialect.for_update());
        self.first(&statement, &[study.into()])?.map(|_| ()).ok_or(Error::NoStudy { study })
    }

    fn create_study(&mut self, study: &Study) -> Result<i64> {
        let statement = insert("studies", &["study_name"], 1);
        let id = self.driver.insert(&statement, "study_id", &[study.name.as_str().into()])?;
        for (index, objective) in (0_i64..).zip(&study.objectives) {
            let direction = match objective.direction {
                Direction::Minimize => "MINIMIZE",
                Direction::Maximize => "MAXIMIZE",
            };
            let columns = ["study_id", "objective", "direction"];
            let cells = [id.into(), index.into(), direction.into()];
            self.execute(&insert("study_directions", &columns, 1), &cells)?;
            let columns = ["study_id", "objective", "known"];
            let cells = [id.into(), index.into(), i64::from(objective.known).into()];
            self.execute(&insert("nasgen_objectives", &columns, 1), &cells)?;
        }
        let names: Vec<&str> = study.objectives.iter().map(|objective| objective.name.as_str()).collect();
        let mut system = study.system.clone();
        system.insert(METRIC_NAMES.to_owned(), json!(names));
        self.set_study_attributes(id, "study_system_attributes", &system)?;
        self.set_study_attributes(id, "study_user_attributes", &study.user)?;
        Ok(id)
    }

    fn set_study_attributes(&mut self, study: i64, table: &str, attributes: &Attributes) -> Result<()> {
        let rows = attribute_rows(study, attributes)?;
        self.upsert(table, &["study_id", "\"key\""], &["value_json"], &rows)
    }

    fn read_study(&mut self, study: i64, name: &str) -> Result<Study> {
        let mut attributes = |table: &str| {
            let statement = format!("SELECT \"key\", value_json FROM {table} WHERE study_id = ?");
            let rows = self.query(&statement, &[study.into()])?;
            let attribute =
                |row: &crate::driver::Row| Ok((row.text(0)?.to_owned(), crate::distribution::parse(row.text(1)?)?));
            rows.iter().map(attribute).collect::<Result<Attributes>>()
        };
        let user = attributes("study_user_attributes")?;
        let mut system = attributes("study_system_attributes")?;
        let names = system.remove(METRIC_NAMES);
        let statement = "SELECT d.direction, o.known FROM study_directions d LEFT JOIN nasgen_objectives o \
                         ON o.study_id = d.study_id AND o.objective = d.objective \
                         WHERE d.study_id = ? ORDER BY d.objective";
        let rows = self.query(statement, &[study.into()])?;
        let objectives = rows.iter().enumerate().map(|(index, row)| {
            Ok(Objective {
                name: objective_name(names.as_ref(), index, rows.len()),
                // Optuna minimises unless it is told otherwise.
                direction: match row.text(0)? {
                    "MAXIMIZE" => Direction::Maximize,
                    _ => Direction::Minimize,
                },
                known: row.optional_int(1)? == Some(1),
            })
        });
        Ok(Study { name: name.to_owned(), objectives: objectives.collect::<Result<_>>()?, user, system })
    }

    fn objectives(&mut self, study: i64) -> Result<usize> {
        let statement = "SELECT COUNT(*) FROM study_directions WHERE study_id = ?";
        Ok(self.count(statement, &[study.into()])? as usize)
    }
}

/// An objective that has no name is called as Optuna's tables of trials call it.
fn objective_name(names: Option<&Value>, index: usize, objectives: usize) -> String {
    match names.and_then(|names| names.get(index)).and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None if objectives == 1 => "value".to_owned(),
        None => format!("values_{index}"),
    }
}

/// Trials and who has them.
impl Transaction<'_> {
    /// Optuna counts as well: the number of a trial is how many there are before it.
    fn next_number(&mut self, study: i64) -> Result<u64> {
        Ok(self.count("SELECT COUNT(*) FROM trials WHERE study_id = ?", &[study.into()])? as u64)
    }

    fn create_trial(&mut self, study: i64, number: u64, state: State) -> Result<i64> {
        let started = if state == State::Waiting { "NULL" } else { self.dialect.utc_now() };
        let statement = format!(
            "INSERT INTO trials (number, study_id, state, datetime_start) VALUES (?, ?, '{}', {started})",
            name_of(state)
        );
        self.driver.insert(&statement, "trial_id", &[number.into(), study.into()])
    }

    /// The first trial whose worker was silent for too long: its id, its number and how often it was begun.
    fn abandoned(&mut self, study: i64) -> Result<Option<(i64, u64, i64)>> {
        let statement = format!(
            "SELECT t.trial_id, t.number, l.attempt FROM nasgen_leases l JOIN trials t ON t.trial_id = l.trial_id \
             WHERE l.expires < {} AND t.study_id = ? AND t.state = 'RUNNING' ORDER BY t.number LIMIT 1",
            self.dialect.seconds_now()
        );
        let row = self.first(&statement, &[study.into()])?;
        row.map(|row| Ok((row.int(0)?, row.int(1)? as u64, row.int(2)?))).transpose()
    }

    /// The trials of `study` that nasgen's workers have, had when they died, or set aside.
    fn unfinished(&mut self, study: i64) -> Result<Vec<(i64, Hands)>> {
        let statement = format!(
            "SELECT t.trial_id, CASE WHEN p.trial_id IS NOT NULL THEN 2 WHEN l.expires < {} THEN 1 ELSE 0 END \
             FROM trials t JOIN nasgen_leases l ON l.trial_id = t.trial_id \
             LEFT JOIN nasgen_paused p ON p.trial_id = t.trial_id WHERE t.study_id = ? AND t.state = 'RUNNING'",
            self.dialect.seconds_now()
        );
        let rows = self.query(&statement, &[study.into()])?;
        let hands = [Hands::Alive, Hands::Dead, Hands::Paused];
        rows.iter().map(|row| Ok((row.int(0)?, hands[row.int(1)? as usize]))).collect()
    }

    /// The first trial of the queue, running now. Optuna's workers take from it without asking for the study.
    fn take_from_queue(&mut self, study: i64) -> Result<Option<(i64, u64)>> {
        let waiting = "SELECT trial_id, number FROM trials WHERE study_id = ? AND state = 'WAITING' \
                       ORDER BY trial_id LIMIT 1";
        while let Some(row) = self.first(waiting, &[study.into()])? {
            let statement = format!(
                "UPDATE trials SET state = 'RUNNING', datetime_start = {} WHERE trial_id = ? AND state = 'WAITING'",
                self.dialect.utc_now()
            );
            if self.execute(&statement, &[row.int(0)?.into()])? == 1 {
                return Ok(Some((row.int(0)?, row.int(1)? as u64)));
            }
        }
        Ok(None)
    }

    /// Gives a trial to the claimant, whoever had it before.
    fn grant(&mut self, claim: &Claim<'_>, trial: i64, number: u64, attempt: i64) -> Result<Lease> {
        must_fit(claim.worker, "the name of a worker")?;
        let now = self.first(&format!("SELECT {}", self.dialect.seconds_now()), &[])?;
        let now = now.map_or(Ok(0.0), |row| row.real(0))?;
        let before = self.count("SELECT token FROM nasgen_leases WHERE trial_id = ?", &[trial.into()])?;
        // The clock makes it another one even where a study was deleted and its ids given away again.
        let token = (before + 1).max((now * 1e6) as i64);
        let seconds = claim.lease.as_secs_f64();
        let row = vec![
            trial.into(),
            token.into(),
            attempt.into(),
            claim.worker.into(),
            seconds.into(),
            (now + seconds).into(),
        ];
        let columns = ["token", "attempt", "worker", "seconds", "expires"];
        self.upsert("nasgen_leases", &["trial_id"], &columns, &[row])?;
        self.execute("DELETE FROM trial_heartbeats WHERE trial_id = ?", &[trial.into()])?;
        let heartbeat =
            format!("INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (?, {})", self.dialect.session_now());
        self.execute(&heartbeat, &[trial.into()])?;
        Ok(Lease { study: claim.study, trial, number, token, attempt: attempt as u64 })
    }

    fn read_trial(&mut self, lease: &Lease) -> Result<Trial> {
        let mut reader = Reader::of_study(self, lease.study)?;
        let trials = reader.read(self, &format!("t.trial_id = {}", lease.trial))?;
        trials.into_iter().next().map(|(_, trial)| trial).ok_or(Error::NoTrial { number: lease.number })
    }

    /// Makes sure that `lease` still holds, until the transaction ends.
    fn hold(&mut self, lease: &Lease) -> Result<()> {
        let statement = format!(
            "SELECT t.state, l.token FROM trials t JOIN nasgen_leases l ON l.trial_id = t.trial_id \
             WHERE t.trial_id = ? AND t.study_id = ?{}",
            self.dialect.for_update()
        );
        let number = lease.number;
        let row = self.first(&statement, &[lease.trial.into(), lease.study.into()])?;
        let row = row.ok_or(Error::NoTrial { number })?;
        if row.int(1)? != lease.token {
            return Err(Error::LeaseLost { number });
        }
        match reading::state_named(row.text(0)?)? {
            State::Running => Ok(()),
            // Optuna, or a person, put it back into the queue.
            State::Waiting => Err(Error::LeaseLost { number }),
            State::Complete | State::Pruned | State::Fail => Err(Error::Finished { number }),
        }
    }

    fn is_paused(&mut self, trial: i64) -> Result<bool> {
        Ok(self.first("SELECT trial_id FROM nasgen_paused WHERE trial_id = ?", &[trial.into()])?.is_some())
    }

    fn sign_of_life(&mut self, lease: &Lease) -> Result<()> {
        let renewed =
            format!("UPDATE nasgen_leases SET expires = {} + seconds WHERE trial_id = ?", self.dialect.seconds_now());
        self.execute(&renewed, &[lease.trial.into()])?;
        let seen = format!("UPDATE trial_heartbeats SET heartbeat = {} WHERE trial_id = ?", self.dialect.session_now());
        self.execute(&seen, &[lease.trial.into()])?;
        Ok(())
    }

    fn set_attributes(&mut self, trial: i64, table: &str, attributes: &Attributes) -> Result<()> {
        let rows = attribute_rows(trial, attributes)?;
        self.upsert(table, &["trial_id", "\"key\""], &["value_json"], &rows)
    }

    /// Keeps in mind which choices are texts only because Optuna has no lists and maps.
    fn note_structured<'a>(&mut self, study: i64, choices: impl Iterator<Item = (&'a str, &'a [Value])>) -> Result<()> {
        let new: Vec<_> = choices
            .map(|(name, choices)| (name, structured_texts(choices)))
            .filter(|(_, texts)| !texts.is_empty())
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut noted = reading::structured_texts(self, study)?;
        for (name, texts) in new {
            let known = noted.entry(name.to_owned()).or_default();
            let before = known.len();
            known.extend(texts);
            if known.len() > before {
                let row = vec![study.into(), name.into(), json!(known).to_string().into()];
                self.upsert("nasgen_choices", &["study_id", "param_name"], &["texts"], &[row])?;
            }
        }
        Ok(())
    }

    /// Ends a trial, whoever has it.
    fn end(&mut self, trial: i64, state: State, values: &[f64], objectives: usize) -> Result<()> {
        let mut values = values.to_vec();
        if state == State::Pruned && values.is_empty() && objectives == 1 {
            values.extend(self.last_report(trial)?.filter(|value| !value.is_nan()));
        }
        let rows: Vec<Vec<Cell>> = (0_i64..)
            .zip(values)
            .map(|(index, value)| {
                let [value, kind] = number::stored(value);
                vec![trial.into(), index.into(), value, kind]
            })
            .collect();
        self.upsert("trial_values", &["trial_id", "objective"], &["value", "value_type"], &rows)?;
        if state == State::Pruned && objectives > 1 {
            self.execute(
                "INSERT INTO nasgen_curves (trial_id, step, value, value_type) SELECT trial_id, step, \
                 intermediate_value, intermediate_value_type FROM trial_intermediate_values WHERE trial_id = ?",
                &[trial.into()],
            )?;
            self.execute("DELETE FROM trial_intermediate_values WHERE trial_id = ?", &[trial.into()])?;
        }
        let statement = format!(
            "UPDATE trials SET state = '{}', datetime_complete = {} WHERE trial_id = ?",
            name_of(state),
            self.dialect.utc_now()
        );
        self.execute(&statement, &[trial.into()])?;
        Ok(())
    }

    fn last_report(&mut self, trial: i64) -> Result<Option<f64>> {
        let statement = "SELECT intermediate_value, intermediate_value_type FROM trial_intermediate_values \
                         WHERE trial_id = ? ORDER BY step DESC LIMIT 1";
        let row = self.first(statement, &[trial.into()])?;
        row.map(|row| number::original(row.optional_real(0)?, row.text(1)?)).transpose()
    }
}

fn attribute_rows(owner: i64, attributes: &Attributes) -> Result<Vec<Vec<Cell>>> {
    attributes
        .iter()
        .map(|(key, value)| {
            must_fit(key, "the name of an attribute")?;
            Ok(vec![owner.into(), key.as_str().into(), value.to_string().into()])
        })
        .collect()
}

fn must_fit(name: &str, what: &str) -> Result<()> {
    if name.chars().count() <= LONGEST_NAME {
        return Ok(());
    }
    Err(Error::Unstorable {
        what: format!("{what} {name:?}"),
        why: format!("wanted at most {LONGEST_NAME} characters"),
    })
}
