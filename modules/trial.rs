//! Drawing a block's arguments.

use crate::{
    error::{Error, Place, Result},
    site::Site,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

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

/// Gives values to names: at random, from a record, by mutation, one after the other.
pub trait Draw {
    /// A value of `distribution` for `name`. The same name is asked with the same distribution
    /// for as long as the space is the same.
    fn draw(&mut self, name: &str, distribution: &Distribution) -> Result<Value>;
}

/// Distributions that a space puts in place of a block's own, by block and argument.
pub type Narrowing = BTreeMap<String, BTreeMap<String, Distribution>>;

/// Draws the arguments of one block.
pub struct Trial<'a> {
    draw: &'a mut dyn Draw,
    scope: String,
    narrowing: Option<&'a BTreeMap<String, Distribution>>,
}

impl<'a> Trial<'a> {
    /// Draws for `block` under names that begin with `scope`.
    pub fn new(draw: &'a mut dyn Draw, scope: &str, block: &str, narrowing: &'a Narrowing) -> Self {
        Self { draw, scope: format!("{scope}.{block}"), narrowing: narrowing.get(block) }
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

    /// Yes or no.
    pub fn flag(&mut self, name: &str) -> Result<bool> {
        self.choice(name, [false, true])
    }

    fn value<T: DeserializeOwned>(&mut self, name: &str, own: Distribution) -> Result<T> {
        let distribution = self.narrowing.and_then(|narrowing| narrowing.get(name)).unwrap_or(&own);
        let value = self.draw.draw(&format!("{}.{name}", self.scope), distribution)?;
        serde_json::from_value(value.clone()).map_err(|_| {
            let problem = format!("the space gives it {value}, which it cannot take");
            Error::new(Place::Argument(name.to_owned()), format!("argument `{name}`: {problem}"))
        })
    }
}
