//! Numbers as Optuna stores them: a column for the finite, and a word beside it.

use crate::{Error, Result, driver::Cell};

/// The cells for `value`: it and its type.
pub(crate) fn stored(value: f64) -> [Cell; 2] {
    let kind = match value {
        f64::INFINITY => "INF_POS",
        f64::NEG_INFINITY => "INF_NEG",
        _ if value.is_nan() => "NAN",
        _ => return [value.into(), "FINITE".into()],
    };
    [Cell::Null, kind.into()]
}

/// What [`stored`] was given.
pub(crate) fn original(value: Option<f64>, kind: &str) -> Result<f64> {
    match (value, kind) {
        (Some(value), "FINITE") => Ok(value),
        (_, "INF_POS") => Ok(f64::INFINITY),
        (_, "INF_NEG") => Ok(f64::NEG_INFINITY),
        (_, "NAN") => Ok(f64::NAN),
        _ => Err(Error::Unreadable {
            what: format!("the value {value:?} of type {kind}"),
            why: "wanted a number of type FINITE, or INF_POS, INF_NEG or NAN".to_owned(),
        }),
    }
}
