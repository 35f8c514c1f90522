//! The tree-structured Parzen estimator, as Optuna 5 has it.

use crate::{
    Candidate, History, NoCandidate, Sampler, SamplerKind, SearchSpace, Trial,
    draws::{any_value, can_stand},
    encoding::{Encoded, is_single, outer},
    pareto,
    parzen::Parzen,
    sampler::{Attempts, FromSettings, chance_of},
    settings::{Settings, at_least},
    standing::{Evidence, informative, progress},
};
use nasgen_modules::{Distribution, Draw, Result as DrawResult, chance::Chance};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

pub(crate) const KIND: SamplerKind = SamplerKind::of::<Tpe>(
    "tpe",
    "Optuna 5's tree-structured Parzen estimator: good with numbers such as learning rates; with hyperband it is BOHB",
);

/// Rounds of drawing and comparing before a random network is taken.
const ROUNDS: u64 = 20;

/// Two densities are fitted, one to the good tenth of the trials and one to the rest, and of points drawn from the
/// good one that is taken where the ratio of the two is largest (Bergstra et al. 2011; the details of Optuna
/// 5.0's `TPESampler`: splits by rank and hypervolume with several objectives, trials stopped early ordered by how
/// far they came, running ones counted as bad, weights that fade with age).
///
/// It differs from Optuna where a space says more than a list of parameters: a value that is ruled out is replaced
/// by the best of those that are not, and what may not be trained or was trained before gives way to the next best
/// point.
struct Tpe {
    seed: u64,
    settings: TpeSettings,
}

#[derive(Deserialize, Serialize)]
struct TpeSettings {
    /// Random networks before that many ended.
    n_startup_trials: usize,
    /// Points drawn and compared.
    n_ei_candidates: usize,
    /// Whether draws are modelled jointly. Optuna 5 does for one objective, and not for several.
    multivariate: bool,
    /// Whether draws that come up together are modelled jointly although they do not come up always. Without it
    /// only those that every trial has are; needs `multivariate`. Optuna's default is off.
    group: bool,
    /// Whether running trials count as bad, so that workers do not crowd.
    constant_liar: bool,
}

impl Default for TpeSettings {
    fn default() -> Self {
        Self { n_startup_trials: 10, n_ei_candidates: 24, multivariate: true, group: true, constant_liar: true }
    }
}

impl Settings for TpeSettings {
    fn problem(&self) -> Option<String> {
        at_least("n_startup_trials", self.n_startup_trials as f64, 1.0)
            .or_else(|| at_least("n_ei_candidates", self.n_ei_candidates as f64, 1.0))
    }
}

impl FromSettings for Tpe {
    type Settings = TpeSettings;

    fn new(seed: u64, settings: TpeSettings) -> Self {
        Self { seed, settings }
    }
}

impl Sampler for Tpe {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        let mut chance = chance_of(self.seed, number);
        let mut attempts = Attempts::new(history, number, space);
        let mut trials = informative(history, number);
        if !self.settings.constant_liar {
            trials.retain(|trial| Evidence::of(trial) != Some(Evidence::Running));
        }
        let ended = trials.iter().filter(|trial| Evidence::of(trial) != Some(Evidence::Running)).count();
        if ended < self.settings.n_startup_trials {
            return attempts.random(chance);
        }
        let model = Model::new(history, &trials);
        let mut singles = HashMap::new();
        let groups: Vec<Densities> = model.groups(&self.settings).iter().map(|group| model.densities(group)).collect();
        for _ in 0..ROUNDS {
            let ranked: Vec<Vec<Vec<f64>>> =
                groups.iter().map(|group| group.ranked(self.settings.n_ei_candidates, &mut chance)).collect();
            for place in 0..self.settings.n_ei_candidates {
                let mut plan = HashMap::new();
                for (group, points) in groups.iter().zip(&ranked) {
                    let values = group.names.iter().zip(&points[place]);
                    plan.extend(values.map(|(name, value)| (model.draws.names[*name], *value)));
                }
                let mut draw = TpeDraw {
                    model: &model,
                    singles: &mut singles,
                    plan,
                    points: self.settings.n_ei_candidates,
                    chance: &mut chance,
                };
                if let Some(candidate) = attempts.new_candidate(&mut draw)? {
                    return Ok(candidate);
                }
            }
        }
        attempts.random(chance)
    }
}

/// Which trials are good, by place among those given; both sides in order.
#[derive(Debug, PartialEq)]
struct Split {
    good: Vec<usize>,
    bad: Vec<usize>,
}

/// How many of `ended` trials are good.
fn good_count(ended: usize, objectives: usize) -> usize {
    let tenth = ended.div_ceil(10);
    if objectives == 1 { tenth.min(25) } else { tenth }
}

/// The good ones are the best complete trials; if these are too few, the best of those stopped early, then of
/// those that break constraints.
fn split(history: History<'_>, trials: &[&Trial], good_count: usize) -> Split {
    let of = |wanted: Evidence| (0..trials.len()).filter(move |place| Evidence::of(trials[*place]) == Some(wanted));
    let complete: Vec<usize> = of(Evidence::Complete).collect();
    let losses: Vec<Vec<f64>> = complete.iter().map(|place| history.losses(trials[*place])).collect();
    let best = pareto::select_best(&losses, good_count);
    let mut good: Vec<usize> = best.into_iter().map(|place| complete[place]).collect();
    let mut curtailed: Vec<usize> = of(Evidence::Curtailed).collect();
    curtailed.sort_by(|one, other| {
        let (one, other) = (progress(history, trials[*one]), progress(history, trials[*other]));
        one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1))
    });
    good.extend(curtailed.into_iter().take(good_count - good.len()));
    let mut infeasible: Vec<usize> = of(Evidence::Infeasible).collect();
    infeasible.sort_by(|one, other| trials[*one].violation().total_cmp(&trials[*other].violation()));
    good.extend(infeasible.into_iter().take(good_count - good.len()));
    good.sort_unstable();
    let bad = (0..trials.len()).filter(|place| good.binary_search(place).is_err()).collect();
    Split { good, bad }
}

/// What is known, ready to be asked.
struct Model<'a> {
    draws: Encoded<'a>,
    split: Split,
    /// Whether each trial ended.
    ended: Vec<bool>,
    /// Whether the good trials count less with age, too.
    good_fade: bool,
    /// Per trial, the number that each name drew; NaN where it did not come up.
    columns: Vec<Vec<f64>>,
}

/// The densities of some draws.
struct Densities {
    /// Numbers of the names.
    names: Vec<usize>,
    good: Parzen,
    bad: Parzen,
}

impl<'a> Model<'a> {
    fn new(history: History<'_>, trials: &[&'a Trial]) -> Self {
        let ended: Vec<bool> = trials.iter().map(|trial| Evidence::of(trial) != Some(Evidence::Running)).collect();
        let good = good_count(ended.iter().filter(|ended| **ended).count(), history.objectives.len());
        let draws = Encoded::of(trials);
        let mut columns = vec![vec![f64::NAN; trials.len()]; draws.names.len()];
        for (trial, row) in draws.rows.iter().enumerate() {
            for (name, value) in row {
                columns[*name][trial] = *value;
            }
        }
        Self { split: split(history, trials, good), ended, good_fade: history.objectives.len() == 1, columns, draws }
    }

    /// Names that are drawn jointly, by number: those that come up in exactly the same trials; without `group`
    /// those that come up in all of them.
    fn groups(&self, settings: &TpeSettings) -> Vec<Vec<usize>> {
        if !settings.multivariate {
            return Vec::new();
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut by_trials: HashMap<Vec<bool>, usize> = HashMap::new();
        for name in 0..self.columns.len() {
            if is_single(self.draws.distributions[name]) {
                continue;
            }
            let ended = self.columns[name].iter().zip(&self.ended).filter(|(_, ended)| **ended);
            let present: Vec<bool> = ended.map(|(value, _)| !value.is_nan()).collect();
            if !present.contains(&true) || (!settings.group && present.contains(&false)) {
                continue;
            }
            let group = *by_trials.entry(present).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(name);
        }
        groups
    }

    /// The densities of `names` among the trials that drew them all.
    fn densities(&self, names: &[usize]) -> Densities {
        let distributions: Vec<&Distribution> = names.iter().map(|name| self.draws.distributions[*name]).collect();
        let density = |side: &[usize], fade: bool| {
            let has_all = |trial: &&usize| names.iter().all(|name| !self.columns[*name][**trial].is_nan());
            let trials: Vec<usize> = side.iter().filter(has_all).copied().collect();
            let column = |name: &usize| trials.iter().map(|trial| self.columns[*name][*trial]).collect();
            Parzen::new(&distributions, &names.iter().map(column).collect::<Vec<_>>(), fade)
        };
        Densities {
            names: names.to_vec(),
            good: density(&self.split.good, self.good_fade),
            bad: density(&self.split.bad, true),
        }
    }

    /// The number of a name that trials drew, and drew from `distribution`.
    fn name(&self, name: &str, distribution: &Distribution) -> Option<usize> {
        let number = self.draws.names.iter().position(|known| *known == name)?;
        (self.draws.distributions[number] == distribution).then_some(number)
    }
}

impl Densities {
    /// `count` points of the good density, that with the largest ratio first; of equals that drawn first.
    fn ranked(&self, count: usize, chance: &mut Chance) -> Vec<Vec<f64>> {
        let points: Vec<Vec<f64>> = (0..count).map(|_| self.good.sample(chance)).collect();
        let ratios = self.log_ratios(&points);
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|one, other| ratios[*other].total_cmp(&ratios[*one]));
        order.into_iter().map(|place| points[place].clone()).collect()
    }

    fn log_ratios(&self, points: &[Vec<f64>]) -> Vec<f64> {
        let (good, bad) = (self.good.log_densities(points), self.bad.log_densities(points));
        good.iter().zip(&bad).map(|(good, bad)| good - bad).collect()
    }
}

/// Gives the jointly drawn values, and draws one by one what has none or cannot stand.
struct TpeDraw<'a, 'b> {
    model: &'b Model<'a>,
    /// Densities of single names that were needed before.
    singles: &'b mut HashMap<usize, Densities>,
    plan: HashMap<&'a str, f64>,
    points: usize,
    chance: &'b mut Chance,
}

impl Draw for TpeDraw<'_, '_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> DrawResult<Value> {
        let Some(number) = self.model.name(name, distribution).filter(|_| !is_single(distribution)) else {
            return Ok(any_value(distribution, factors, self.chance));
        };
        if let Some(planned) = self.plan.get(name) {
            let value = outer(distribution, *planned);
            if can_stand(distribution, &value, factors) {
                return Ok(value);
            }
        }
        let densities = self.singles.entry(number).or_insert_with(|| self.model.densities(&[number]));
        let ranked = densities.ranked(self.points, self.chance);
        let values = ranked.iter().map(|point| outer(distribution, point[0]));
        let best = values.into_iter().find(|value| can_stand(distribution, value, factors));
        Ok(best.unwrap_or_else(|| any_value(distribution, factors, self.chance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Study, assert_near, indices, load, numbers, points};

    fn settings() -> TpeSettings {
        TpeSettings::default()
    }

    #[test]
    fn splits_groups_and_densities_are_those_of_optuna() {
        for (number, case) in load("tpe").as_array().unwrap().iter().enumerate() {
            let study = Study::read(&case["study"]);
            let trials = informative(study.history(), u64::MAX);
            let model = Model::new(study.history(), &trials);
            let numbers_of =
                |side: &[usize]| side.iter().map(|place| trials[*place].number as usize).collect::<Vec<_>>();
            assert_eq!(numbers_of(&model.split.good), indices(&case["good"]), "good trials of case {number}");
            assert_eq!(numbers_of(&model.split.bad), indices(&case["bad"]), "bad trials of case {number}");

            let name_list = |group: &[usize]| {
                let mut names: Vec<&str> = group.iter().map(|name| model.draws.names[*name]).collect();
                names.sort_unstable();
                names
            };
            let mut groups: Vec<Vec<&str>> = model.groups(&settings()).iter().map(|group| name_list(group)).collect();
            groups.sort();
            let fixed = |name: &&str| *name != "fixed";
            let wanted: Vec<Vec<&str>> = case["groups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|group| {
                    group.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).filter(fixed).collect()
                })
                .collect();
            assert_eq!(groups, wanted, "case {number}");

            for density in case["densities"].as_array().unwrap() {
                let names: Vec<&str> =
                    density["names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
                let what = format!("case {number}, {names:?}");
                let place = |name: &&str| model.draws.names.iter().position(|known| known == name).unwrap();
                let densities = model.densities(&names.iter().map(place).collect::<Vec<_>>());
                let points = points(&density["points"]);
                for (got, wanted) in densities.good.log_densities(&points).iter().zip(numbers(&density["good"])) {
                    assert_near(*got, wanted, &what);
                }
                for (got, wanted) in densities.bad.log_densities(&points).iter().zip(numbers(&density["bad"])) {
                    assert_near(*got, wanted, &what);
                }
                let ratios = densities.log_ratios(&points);
                let best = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_near(ratios[density["best"].as_u64().unwrap() as usize], best, &format!("taken in {what}"));
            }
        }
    }

    /// Points come from the density that they are said to come from.
    #[test]
    fn points_are_as_frequent_as_they_are_dense() {
        let case = &load("tpe")[3];
        let study = Study::read(&case["study"]);
        let trials = informative(study.history(), u64::MAX);
        let model = Model::new(study.history(), &trials);
        for name in ["dropout", "out", "block", "batch"] {
            let number = model.draws.names.iter().position(|known| *known == name).unwrap();
            let good = model.densities(&[number]).good;
            let mut chance = Chance::new(1, "test", 0);
            let mut counts: std::collections::BTreeMap<u64, f64> = std::collections::BTreeMap::new();
            for _ in 0..20_000 {
                *counts.entry(good.sample(&mut chance)[0].to_bits()).or_default() += 1.0 / 20_000.0;
            }
            let values: Vec<Vec<f64>> = counts.keys().map(|bits| vec![f64::from_bits(*bits)]).collect();
            let masses: Vec<f64> = good.log_densities(&values).iter().map(|log| log.exp()).collect();
            for ((value, mass), counted) in values.iter().zip(&masses).zip(counts.values()) {
                let tolerance = 5.0 * (mass / 20_000.0).sqrt() + 1e-3;
                assert!((mass - counted).abs() < tolerance, "{name} {value:?}: {counted} of {mass}");
            }
        }
    }
}
