//! Nothing is stopped.

use crate::{History, Pruner, PrunerKind, SettingError, Trial, Verdict, pruner::FromSettings, settings::Settings};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: PrunerKind = PrunerKind::of::<NoPruner>("none", "every training runs to its end");

/// Lets everything run.
struct NoPruner;

/// None.
#[derive(Default, Deserialize, Serialize)]
struct NoSettings {}

impl Settings for NoSettings {}

impl FromSettings for NoPruner {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self, SettingError> {
        Ok(Self)
    }
}

impl Pruner for NoPruner {
    fn judge(&self, _history: History<'_>, _trial: &Trial) -> Verdict {
        Verdict::Continue
    }
}
