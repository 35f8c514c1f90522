//! Hyperband.

use crate::{
    History, Pruner, PrunerKind, SettingError, Trial, Verdict,
    pruner::FromSettings,
    rungs::{Ladder, problem},
    settings::Settings,
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: PrunerKind = PrunerKind::of::<Hyperband>(
    "hyperband",
    "several ladders of successive halving, from early to no stopping: safe where slow starters win; with tpe it is \
     BOHB",
);

/// Each trial belongs to a bracket, by its number and the study's name; bracket b is successive halving whose
/// first rung is b powers later, so that the last one stops nothing early (Li et al. 2018, JMLR 18; brackets and
/// their shares as in Optuna's `HyperbandPruner`).
///
/// In Optuna samplers see only trials of the same bracket. Here they see all: `tpe` orders trials that ended
/// early by how far they came, as BOHB prefers the largest budget (Falkner et al. 2018).
struct Hyperband {
    settings: HyperbandSettings,
}

#[derive(Deserialize, Serialize)]
struct HyperbandSettings {
    /// The first rung of the first bracket.
    min_resource: u64,
    /// The last step of a full training; `null` is one more than that of the longest complete trial, and nothing
    /// is judged before there is one.
    max_resource: Option<u64>,
    /// How many times farther each next rung is, and one in how many climbs.
    reduction_factor: u64,
    /// A rung lets nothing climb before it holds more trials than these.
    bootstrap_count: usize,
    /// Whether what is beaten is set aside instead of ended.
    promotion: bool,
}

impl Default for HyperbandSettings {
    fn default() -> Self {
        Self { min_resource: 1, max_resource: None, reduction_factor: 3, bootstrap_count: 0, promotion: true }
    }
}

impl Settings for HyperbandSettings {
    fn problem(&self) -> Option<String> {
        let most = self.max_resource.unwrap_or(self.min_resource);
        problem(Some(self.min_resource), self.reduction_factor)
            .or_else(|| (most < self.min_resource).then(|| format!("`max_resource` is {most}, below `min_resource`")))
    }
}

impl FromSettings for Hyperband {
    type Settings = HyperbandSettings;

    fn new(settings: HyperbandSettings) -> Result<Self, SettingError> {
        Ok(Self { settings })
    }
}

/// The shares of trials that brackets have, by bracket.
struct Brackets(Vec<u64>);

impl Brackets {
    fn new(min_resource: u64, max_resource: u64, reduction_factor: u64) -> Self {
        let ratio = max_resource as f64 / min_resource as f64;
        let count = (libm::log(ratio) / libm::log(reduction_factor as f64)).max(0.0) as u32 + 1;
        let share = |bracket: u32| {
            let climbs = count - 1 - bracket;
            (u64::from(count) * reduction_factor.pow(climbs)).div_ceil(u64::from(climbs) + 1)
        };
        Self((0..count).map(share).collect())
    }

    /// The bracket of a trial.
    fn of(&self, study: &str, number: u64) -> usize {
        let mut point = u64::from(crc32(format!("{study}_{number}").as_bytes())) % self.0.iter().sum::<u64>();
        for (bracket, share) in self.0.iter().enumerate() {
            if point < *share {
                return bracket;
            }
            point -= share;
        }
        0
    }
}

/// The checksum of ISO 3309, as Python's `binascii.crc32`.
fn crc32(bytes: &[u8]) -> u32 {
    let of_byte = |mut word: u32| {
        for _ in 0..8 {
            word = if word & 1 == 1 { (word >> 1) ^ 0xedb8_8320 } else { word >> 1 };
        }
        word
    };
    !bytes.iter().fold(!0, |word: u32, byte| (word >> 8) ^ of_byte((word ^ u32::from(*byte)) & 0xff))
}

impl Hyperband {
    fn brackets(&self, history: History<'_>) -> Option<Brackets> {
        let longest = || history.complete().filter_map(Trial::last_step).max().map(|last| last + 1);
        let max_resource = self.settings.max_resource.or_else(longest)?;
        Some(Brackets::new(self.settings.min_resource, max_resource, self.settings.reduction_factor))
    }

    fn ladder(&self, bracket: usize) -> Ladder {
        let HyperbandSettings { min_resource, reduction_factor, bootstrap_count, promotion, .. } = self.settings;
        let first = min_resource.saturating_mul(reduction_factor.saturating_pow(bracket as u32));
        Ladder { first, reduction_factor, bootstrap_count, promotion, last: None }
    }
}

impl Pruner for Hyperband {
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict {
        let Some(brackets) = self.brackets(history) else { return Verdict::Continue };
        let bracket = brackets.of(history.study, trial.number);
        self.ladder(bracket).judge(history, trial, |number| brackets.of(history.study, number) == bracket)
    }

    fn promote(&self, history: History<'_>) -> Option<u64> {
        let brackets = self.brackets(history)?;
        (0..brackets.0.len()).find_map(|bracket| {
            self.ladder(bracket).promote(history, |number| brackets.of(history.study, number) == bracket)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{indices, load};

    #[test]
    fn brackets_are_those_of_optuna() {
        for case in load("pruners")["brackets"].as_array().unwrap() {
            let field = |name: &str| case[name].as_u64().unwrap();
            let brackets = Brackets::new(field("min_resource"), field("max_resource"), field("reduction_factor"));
            let study = case["study"].as_str().unwrap();
            for (number, wanted) in indices(&case["brackets"]).into_iter().enumerate() {
                assert_eq!(brackets.of(study, number as u64), wanted, "trial {number} of {study}");
            }
        }
    }
}
