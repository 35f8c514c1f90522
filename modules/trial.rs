//! Drawing a block's arguments.

use crate::{
    error::{Error, Place, Result},
    site::Site,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Keys that make a map of a space a set of values; no argument may bear one of these names.
pub const SET_KEYS: [&str; 7] = ["choice", "int", "float", "step", "log", "name", "ref"];

/// What a value is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// One of these, each as likely.
    Choice(Vec<Value>),
    /// A whole number.
    Int {
        /// Inclusive.
        low: i64,
        /// Inclusive, and a whole number of steps above `low`.
        high: i64,
        /// At least 1.
        step: i64,
        /// Uniform in the logarithm; `step` is then 1.
        log: bool,
    },
    /// A real number.
    Float {
        /// Inclusive.
        low: f64,
        /// Inclusive.
        high: f64,
        /// Only multiples of this above `low`.
        step: Option<f64>,
        /// Uniform in the logarithm.
        log: bool,
    },
}

impl Distribution {
    /// How many values there are; `None` for a continuum.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Choice(values) => Some(values.len() as u64),
            Self::Int { low, high, step, .. } => Some(((high - low) / step) as u64 + 1),
            Self::Float { low, high, step: Some(step), .. } => Some(((high - low) / step + 1e-9).floor() as u64 + 1),
            Self::Float { low, high, step: None, .. } => (low == high).then_some(1),
        }
    }

    /// The value at `index`, from 0; of a continuum its lower end.
    ///
    /// # Panics
    /// When a choice has no value at `index`.
    pub fn value(&self, index: u64) -> Value {
        match *self {
            Self::Choice(ref values) => values[index as usize].clone(),
            Self::Int { low, step, .. } => Value::from(low + index as i64 * step),
            Self::Float { low, high, step, .. } => {
                real((six_digits(low + index as f64 * step.unwrap_or(0.0))).clamp(low, high))
            }
        }
    }

    /// The first and the last value.
    pub fn ends(&self) -> [Value; 2] {
        match *self {
            Self::Float { low, high, step: None, .. } => [real(low), real(high)],
            _ => [self.value(0), self.value(self.count().unwrap_or(1) - 1)],
        }
    }

    /// The values, where they are at most `most`.
    pub fn values(&self, most: u64) -> Option<Vec<Value>> {
        let count = self.count().filter(|count| *count <= most)?;
        Some((0..count).map(|index| self.value(index)).collect())
    }

    /// Where `value` stands among the values; of a continuum 0, if it lies within.
    pub fn index_of(&self, value: &Value) -> Option<u64> {
        match *self {
            Self::Choice(ref values) => values.iter().position(|known| known == value).map(|index| index as u64),
            Self::Int { low, high, step, .. } => {
                let number = value.as_i64().filter(|number| (low..=high).contains(number))?;
                ((number - low) % step == 0).then_some(((number - low) / step) as u64)
            }
            Self::Float { low, high, step: None, .. } => {
                value.as_f64().filter(|number| (low..=high).contains(number)).map(|_| 0)
            }
            Self::Float { low, step: Some(step), .. } => {
                let number = value.as_f64()?;
                let index = ((number - low) / step).round().max(0.0) as u64;
                let exists = index < self.count().unwrap_or(0);
                (exists && self.value(index).as_f64() == Some(number)).then_some(index)
            }
        }
    }

    /// The probability of the value at `index` when nothing else decides.
    pub fn probability(&self, index: u64) -> f64 {
        match *self {
            Self::Int { low, high, log: true, .. } => {
                // Each whole number owns the half before and after it.
                let edge = |number: f64| libm::log(number);
                let value = (low + index as i64) as f64;
                (edge(value + 0.5) - edge(value - 0.5)) / (edge(high as f64 + 0.5) - edge(low as f64 - 0.5))
            }
            _ => self.count().map_or(1.0, |count| 1.0 / count as f64),
        }
    }
}

/// A number as a space's file would have it.
pub fn real(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// `value` to six significant digits, by way of its decimal text, which is exact.
pub fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// Gives values to names: at random, from a record, by mutation, one after the other.
pub trait Draw {
    /// A value of `distribution` for `name`. The same name is asked with the same distribution
    /// for as long as the space is the same.
    fn draw(&mut self, name: &str, distribution: &Distribution) -> Result<Value> {
        self.draw_among(name, distribution, None)
    }

    /// The same where not every value can stand: `factors`, one for each value in order, multiply
    /// its probability; 0 rules it out, and not all are 0. `distribution` is the full one all the
    /// same: what holds a sampler's model of `name` does not depend on what else was drawn.
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value>;
}

/// Distributions that a space puts in place of a block's own, by block and argument.
pub type Narrowing = BTreeMap<String, BTreeMap<String, Distribution>>;

/// Draws the arguments of one block.
pub struct Trial<'a> {
    draw: &'a mut dyn Draw,
    scope: String,
    narrowing: Option<&'a BTreeMap<String, Distribution>>,
    given: Option<&'a BTreeMap<String, Value>>,
}

impl<'a> Trial<'a> {
    /// Draws for `block` under names that begin with `scope`.
    pub fn new(draw: &'a mut dyn Draw, scope: &str, block: &str, narrowing: &'a Narrowing) -> Self {
        Self { draw, scope: format!("{scope}.{block}"), narrowing: narrowing.get(block), given: None }
    }

    /// With values for arguments that are not drawn.
    #[must_use]
    pub fn given(self, given: &'a BTreeMap<String, Value>) -> Self {
        Self { given: Some(given), ..self }
    }

    /// A value of `own`, or of what the space puts in its place.
    pub fn any(&mut self, name: &str, own: Distribution) -> Result<Value> {
        self.value(name, own)
    }

    /// One of `choices`.
    pub fn choice<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        choices: impl IntoIterator<Item = T>,
    ) -> Result<T> {
        let values =
            choices.into_iter().map(|choice| serde_json::to_value(choice).map_err(|e| Error::row(e.to_string())));
        self.value(name, Distribution::Choice(values.collect::<Result<_>>()?))
    }

    /// A whole number in `low..=high`, `step` apart.
    pub fn int(&mut self, name: &str, low: usize, high: usize, step: usize) -> Result<usize> {
        self.value(name, Distribution::Int { low: low as i64, high: high as i64, step: step as i64, log: false })
    }

    /// A number in `low..=high`, `step` apart.
    pub fn float(&mut self, name: &str, low: f64, high: f64, step: f64) -> Result<f64> {
        self.value(name, Distribution::Float { low, high, step: Some(step), log: false })
    }

    /// The stride: given for a cell, drawn as 1 or 2 for a row.
    pub fn stride(&mut self, site: &Site) -> Result<usize> {
        site.cell_stride().map_or_else(|| self.choice("stride", [1, 2]), Ok)
    }

    /// Yes or no; a space may write 1 and 0.
    pub fn flag(&mut self, name: &str) -> Result<bool> {
        let value: Value = self.choice(name, [false, true].map(Value::Bool))?;
        match value {
            Value::Bool(flag) => Ok(flag),
            value if value == 0 || value == 1 => Ok(value == 1),
            value => Err(Error::argument(name, format!("wanted true or false, the space gives it {value}"))),
        }
    }

    fn value<T: DeserializeOwned>(&mut self, name: &str, own: Distribution) -> Result<T> {
        let distribution = self.narrowing.and_then(|narrowing| narrowing.get(name)).unwrap_or(&own);
        let value = match self.given.and_then(|given| given.get(name)) {
            Some(value) => value.clone(),
            None => self.draw.draw(&format!("{}.{name}", self.scope), distribution)?,
        };
        serde_json::from_value(value.clone()).map_err(|_| {
            let problem = format!("the space gives it {value}, which it cannot take");
            Error::new(Place::Argument(name.to_owned()), format!("argument `{name}`: {problem}"))
        })
    }
}
