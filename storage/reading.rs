//! Trials as they stand in the database.

use crate::{
    Error, Result,
    distribution::{StructuredTexts, from_json, original_choice, original_value, parse},
    driver::{Access, Driver, Row},
    number,
    transaction::{Transaction, run},
};
use nasgen_modules::Distribution;
use nasgen_search::{Param, State, Trial};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Trials whose parts are read at once.
const CHUNK: usize = 1000;

/// What is known of a study's trials. Those that are finished are not read again.
#[derive(Default)]
pub(crate) struct Known {
    trials: Vec<Trial>,
    /// The ids of `trials`, rising as their numbers do.
    ids: Vec<i64>,
    reader: Reader,
}

/// Reads the parts of trials.
#[derive(Default)]
pub(crate) struct Reader {
    structured: StructuredTexts,
    /// What every text of a param's distribution says: it is the same for most trials of a study.
    distributions: HashMap<(String, String), Distribution>,
}

impl Known {
    /// All trials of `study` as they are now.
    pub(crate) fn refresh(&mut self, driver: &mut dyn Driver, study: i64) -> Result<&[Trial]> {
        let fresh = run(driver, Access::Read, |transaction| {
            self.forget_what_was_deleted(transaction, study)?;
            self.reader.structured = structured_texts(transaction, study)?;
            let last = self.ids.last().copied().unwrap_or(0);
            let open: Vec<i64> = self.open().collect();
            let mut fresh = Vec::new();
            for ids in open.chunks(CHUNK) {
                fresh.extend(self.reader.read(transaction, &format!("t.trial_id IN ({})", list(ids)))?);
            }
            let newer = format!("t.study_id = {study} AND t.trial_id > {last}");
            fresh.extend(self.reader.read(transaction, &newer)?);
            Ok(fresh)
        })?;
        for (id, trial) in fresh {
            match self.ids.binary_search(&id) {
                Ok(place) => self.trials[place] = trial,
                Err(place) => {
                    self.ids.insert(place, id);
                    self.trials.insert(place, trial);
                }
            }
        }
        Ok(&self.trials)
    }

    fn open(&self) -> impl Iterator<Item = i64> {
        self.trials.iter().zip(&self.ids).filter(|(trial, _)| !trial.state.is_finished()).map(|(_, id)| *id)
    }

    /// SQLite gives ids away again: a study that was deleted and made anew may bear this one.
    fn forget_what_was_deleted(&mut self, transaction: &mut Transaction<'_>, study: i64) -> Result<()> {
        if transaction.first("SELECT study_id FROM studies WHERE study_id = ?", &[study.into()])?.is_none() {
            return Err(Error::NoStudy { study });
        }
        let last = self.ids.last().copied().unwrap_or(0);
        let statement = "SELECT COUNT(*) FROM trials WHERE study_id = ? AND trial_id <= ?";
        if transaction.count(statement, &[study.into(), last.into()])? != self.ids.len() as i64 {
            *self = Self::default();
        }
        Ok(())
    }
}

/// Which texts among the choices of a study's params stand for lists and maps.
pub(crate) fn structured_texts(transaction: &mut Transaction<'_>, study: i64) -> Result<StructuredTexts> {
    let rows = transaction.query("SELECT param_name, texts FROM nasgen_choices WHERE study_id = ?", &[study.into()])?;
    rows.iter()
        .map(|row| {
            let texts = parse(row.text(1)?)?;
            let texts = texts.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            Ok((row.text(0)?.to_owned(), texts.collect()))
        })
        .collect()
}

impl Reader {
    /// Reads trials of one study as they are within `transaction`.
    pub(crate) fn of_study(transaction: &mut Transaction<'_>, study: i64) -> Result<Self> {
        Ok(Self { structured: structured_texts(transaction, study)?, ..Self::default() })
    }

    /// The trials, called `t`, of which `condition` is true, by id.
    pub(crate) fn read(&mut self, transaction: &mut Transaction<'_>, condition: &str) -> Result<Vec<(i64, Trial)>> {
        let started = transaction.dialect.microseconds("t.datetime_start");
        let finished = transaction.dialect.microseconds("t.datetime_complete");
        let heads = transaction.driver.query(
            &format!(
                "SELECT t.trial_id, t.number, t.state, {started}, {finished}, p.trial_id FROM trials t \
                 LEFT JOIN nasgen_paused p ON p.trial_id = t.trial_id WHERE {condition} ORDER BY t.trial_id"
            ),
            &[],
            true,
        )?;
        let ids: Vec<i64> = heads.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
        let mut trials: Vec<Trial> = heads.iter().map(head).collect::<Result<_>>()?;
        for (ids, trials) in ids.chunks(CHUNK).zip(trials.chunks_mut(CHUNK)) {
            self.read_parts(transaction, ids, trials)?;
        }
        Ok(ids.into_iter().zip(trials).collect())
    }

    fn read_parts(&mut self, transaction: &mut Transaction<'_>, ids: &[i64], trials: &mut [Trial]) -> Result<()> {
        let mut each =
            |columns: &str, table: &str, order: &str, put: &mut dyn FnMut(&mut Trial, &Row) -> Result<()>| {
                let ids_listed = list(ids);
                let statement = format!(
                    "SELECT trial_id, {columns} FROM {table} WHERE trial_id IN ({ids_listed}) ORDER BY {order}"
                );
                for row in transaction.driver.query(&statement, &[], true)? {
                    if let Ok(place) = ids.binary_search(&row.int(0)?) {
                        put(&mut trials[place], &row)?;
                    }
                }
                Ok(())
            };
        each("param_name, param_value, distribution_json", "trial_params", "param_id", &mut |trial, row| {
            trial.params.push(self.param(row)?);
            Ok(())
        })?;
        each("value, value_type", "trial_values", "objective", &mut |trial, row| {
            trial.values.push(number::original(row.optional_real(1)?, row.text(2)?)?);
            Ok(())
        })?;
        let reports = [
            ("step, intermediate_value, intermediate_value_type", "trial_intermediate_values"),
            ("step, value, value_type", "nasgen_curves"),
        ];
        for (columns, table) in reports {
            each(columns, table, "step", &mut |trial, row| {
                let value = number::original(row.optional_real(2)?, row.text(3)?)?;
                // Optuna's users may report any step, also one below zero: samplers know none of these.
                trial.reports.extend(u64::try_from(row.int(1)?).ok().map(|step| (step, value)));
                Ok(())
            })?;
        }
        each("\"key\", value_json", "trial_user_attributes", "trial_id", &mut |trial, row| {
            trial.user.insert(row.text(1)?.to_owned(), parse(row.text(2)?)?);
            Ok(())
        })?;
        each("\"key\", value_json", "trial_system_attributes", "trial_id", &mut |trial, row| {
            let value = self.system_value(row.text(1)?, parse(row.text(2)?)?);
            trial.system.insert(row.text(1)?.to_owned(), value);
            Ok(())
        })
    }

    fn param(&mut self, row: &Row) -> Result<Param> {
        let name = row.text(1)?.to_owned();
        let key = (name.clone(), row.text(3)?.to_owned());
        let distribution = match self.distributions.get(&key) {
            Some(distribution) => distribution.clone(),
            None => {
                let distribution = from_json(&key.1, &name, &self.structured)?;
                self.distributions.insert(key, distribution.clone());
                distribution
            }
        };
        let value = original_value(row.real(2)?, &distribution, &name)?;
        Ok(Param { name, distribution, value })
    }

    /// The values that a trial in the queue must have are choices as well.
    fn system_value(&self, key: &str, value: Value) -> Value {
        match value {
            Value::Object(fixed) if key == FIXED_PARAMS => Value::Object(
                fixed
                    .into_iter()
                    .map(|(name, value)| {
                        let value = original_choice(value, self.structured.get(&name));
                        (name, value)
                    })
                    .collect(),
            ),
            value => value,
        }
    }
}

/// The system attribute of a trial in the queue: values by param, as Optuna's `enqueue_trial` writes it.
pub(crate) const FIXED_PARAMS: &str = "fixed_params";

fn head(row: &Row) -> Result<Trial> {
    Ok(Trial {
        number: row.int(1)? as u64,
        state: state_named(row.text(2)?)?,
        paused: row.optional_int(5)?.is_some(),
        params: Vec::new(),
        values: Vec::new(),
        reports: Vec::new(),
        user: BTreeMap::new(),
        system: BTreeMap::new(),
        started: row.optional_int(3)?,
        finished: row.optional_int(4)?,
    })
}

const STATES: [(State, &str); 5] = [
    (State::Running, "RUNNING"),
    (State::Complete, "COMPLETE"),
    (State::Pruned, "PRUNED"),
    (State::Fail, "FAIL"),
    (State::Waiting, "WAITING"),
];

/// The state that Optuna calls `name`.
pub(crate) fn state_named(name: &str) -> Result<State> {
    STATES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state).ok_or_else(|| Error::Unreadable {
        what: format!("the state {name:?} of a trial"),
        why: format!("wanted one of {}", STATES.map(|(_, name)| name).join(", ")),
    })
}

/// What Optuna calls `state`.
pub(crate) fn name_of(state: State) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("FAIL", |(_, name)| name)
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}
