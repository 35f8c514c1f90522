//! A space as samplers see it: draws become candidates with known costs, before anything is trained.

use super::identity::{network_identity, training_identity};
use crate::{
    chance::Chance,
    network::Network,
    numbers::{short, three_digits},
    space::{Attempt, Budget, Replay, Sampler, Space},
    spec::{ModelSpec, SourceText, TrainSettings, emit},
};
use nasgen_modules::{Distribution, Draw, Result as DrawResult, Shape};
use nasgen_search::{Candidate, Objective, Param, Rejection, SearchSpace, Trial};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What a network may cost at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Parameters and multiply-adds.
    pub budget: Budget,
    /// Median time of one image's class scores, in milliseconds.
    pub max_latency_ms: Option<f64>,
}

impl Limits {
    /// Whether a trial costs no more, for all that was known of it before training.
    pub fn keep(&self, trial: &Trial) -> bool {
        let count = |most: Option<u64>| most.map(|most| most as f64);
        let most = [
            ("params", count(self.budget.max_params)),
            ("macs", count(self.budget.max_macs)),
            ("latency", self.max_latency_ms),
        ];
        trial.costs().all(|(name, cost)| {
            let limit = most.iter().find(|(limited, _)| *limited == name).and_then(|(_, most)| *most);
            limit.is_none_or(|most| cost <= most)
        })
    }
}

/// The settings that a training of a drawn spec would have, from what stands under its `train:`.
pub type EffectiveSettings<'a> = dyn Fn(&Map<String, Value>) -> Result<TrainSettings, String> + Sync + 'a;
/// Measures a network's latency in milliseconds.
pub type MeasureLatency<'a> = dyn Fn(&Network) -> Result<f64, String> + Sync + 'a;

/// A [`Space`] with all that decides what a candidate is and costs.
pub struct ModelSpace<'a> {
    /// What is drawn from.
    pub space: &'a Space,
    /// Image shape, if it is not the specs' own.
    pub input: Option<Shape>,
    /// How many classes the data has; networks of another number get another last layer.
    pub classes: Option<usize>,
    /// What may be trained.
    pub limits: Limits,
    /// What the study makes better.
    pub objectives: &'a [Objective],
    /// What a training's result depends on beside the network and its settings: the images.
    pub context: String,
    /// The settings of a candidate.
    pub settings: &'a EffectiveSettings<'a>,
    /// How latency is measured.
    pub latency: &'a MeasureLatency<'a>,
    /// Whether samplers should look at nothing more: where hardly anything fits they look for long.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Latencies by network: each is measured once.
    measured: Mutex<BTreeMap<String, f64>>,
    /// What became of draws.
    tally: Mutex<Tally>,
}

/// What became of the draws that samplers made, whether they were then trained or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Draws that gave something that may be trained.
    pub fit: u64,
    /// Draws that did not, by the reason: `impossible`, `parameters`, `MACs`, `latency`.
    pub refused: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts what another process counted as well.
    pub fn add(&mut self, other: &Self) {
        self.fit += other.fit;
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
    }
}

/// A candidate with what a training needs.
#[derive(Clone)]
pub struct Proposal {
    /// As samplers see it.
    pub candidate: Candidate,
    /// The spec, or the named values, as a file.
    pub config: String,
    /// The network; `None` from a space of named values alone.
    pub model: Option<Model>,
}

/// A network that can be trained.
#[derive(Clone)]
pub struct Model {
    /// What the file says.
    pub spec: ModelSpec,
    /// What it means.
    pub network: Network,
    /// How it is trained.
    pub settings: TrainSettings,
}

impl<'a> ModelSpace<'a> {
    /// A space without limits for images as the specs want them.
    pub fn new(
        space: &'a Space,
        objectives: &'a [Objective],
        settings: &'a EffectiveSettings<'a>,
        latency: &'a MeasureLatency<'a>,
    ) -> Self {
        Self {
            space,
            input: None,
            classes: None,
            limits: Limits::default(),
            objectives,
            context: String::new(),
            settings,
            latency,
            stop: &|| false,
            measured: Mutex::default(),
            tally: Mutex::default(),
        }
    }

    /// What comes of a draw, with all that a training needs.
    ///
    /// # Errors
    /// When it gives nothing that may be trained.
    pub fn propose(&self, draw: &mut dyn Draw) -> Result<Proposal, Rejection> {
        let mut recorder = Recorder { inner: draw, distributions: BTreeMap::new() };
        let sampler = Sampler { space: self.space, seed: 0, budget: Budget::default(), input: self.input };
        let attempt = sampler.attempt(&mut recorder, 0);
        let distributions = recorder.distributions;
        match attempt {
            Attempt::Invalid(mistakes) => Err(Rejection::Invalid(self.space.source().error(mistakes).to_string())),
            Attempt::Impossible(reason) => Err(Rejection::Impossible(reason.message)),
            Attempt::Drawn(file, network) => {
                let params = params(&file, distributions);
                self.check_budget(network.as_deref(), sampler.whole_budget())?;
                match network {
                    None => Ok(self.values(file, params)),
                    Some(network) => self.network(without_seed(file), *network, params),
                }
            }
        }
    }

    /// What became of the draws so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was proposed when these params were drawn. What they do not name is drawn from `chance`.
    ///
    /// # Errors
    /// When they give nothing that may be trained, or name something that the space never asks for.
    pub fn propose_again(&self, params: &Map<String, Value>, chance: Chance) -> Result<Proposal, Rejection> {
        let nothing = Map::new();
        let mut replay = Replay::new(&nothing, params, chance);
        let proposal = self.propose(&mut replay)?;
        match replay.unused().first() {
            None => Ok(proposal),
            Some(name) => Err(Rejection::Impossible(format!("nothing in the space asks for a draw `{name}`"))),
        }
    }

    /// A spec that was not drawn from the space: it is trained and ranked, and no sampler learns from it.
    ///
    /// # Errors
    /// When it is no spec, or may not be trained.
    pub fn given(&self, source: &SourceText) -> Result<Proposal, Rejection> {
        let spec = ModelSpec::parse(source, self.space.blocks());
        let spec = spec.map_err(|error| Rejection::Invalid(error.to_string()))?;
        let network = self.plan(&spec)?;
        self.model(source.text.clone(), spec, network, Vec::new())
    }

    /// Values without a network.
    fn values(&self, file: Map<String, Value>, params: Vec<Param>) -> Proposal {
        let values: Vec<String> = params.iter().map(|param| format!("{}={}", param.name, param.value)).collect();
        let identity = training_identity(&values.join("\n"), &Value::Null, &self.context);
        let known = vec![None; self.objectives.len()];
        let candidate = Candidate { params, known, identity, costs: Vec::new() };
        Proposal { candidate, config: emit(&without_seed(file)), model: None }
    }

    fn network(&self, file: Map<String, Value>, network: Network, params: Vec<Param>) -> Result<Proposal, Rejection> {
        let config = emit(&file);
        let source = SourceText { name: self.space.name.clone(), text: config.clone() };
        let spec = ModelSpec::parse(&source, self.space.blocks());
        let spec = spec.map_err(|error| Rejection::Invalid(error.to_string()))?;
        self.model(config, spec, network, params)
    }

    fn model(
        &self,
        config: String,
        spec: ModelSpec,
        network: Network,
        params: Vec<Param>,
    ) -> Result<Proposal, Rejection> {
        let (config, spec, network) = self.fit_classes(config, spec, network)?;
        self.check_budget(Some(&network), self.limits.budget)?;
        let computed = network_identity(&network);
        if let Some(max) = self.limits.max_latency_ms {
            let latency = self.latency_ms(&computed, &network)?;
            if latency > max {
                let reason = format!("a latency of {} ms, and {max} ms are allowed", three_digits(latency));
                return Err(Rejection::OverBudget { reason, excess: latency / max });
            }
        }
        let known = self.objectives.iter().map(|objective| self.known(objective, &computed, &network));
        let known = known.collect::<Result<_, _>>()?;
        let settings = (self.settings)(&spec.train).map_err(Rejection::Invalid)?;
        let identity = training_identity(&computed, &json!(settings), &self.context);
        let costs = [("params", Some(network.params() as f64)), ("macs", Some(network.macs() as f64))];
        let costs = costs.into_iter().chain([("latency", self.known_latency(&computed))]);
        let costs = costs.filter_map(|(name, cost)| Some((name.to_owned(), cost?))).collect();
        let candidate = Candidate { params, known, identity, costs };
        Ok(Proposal { candidate, config, model: Some(Model { spec, network, settings }) })
    }

    /// The network with as many outputs as the data has classes.
    fn fit_classes(
        &self,
        config: String,
        spec: ModelSpec,
        network: Network,
    ) -> Result<(String, ModelSpec, Network), Rejection> {
        match (self.classes, network.classes()) {
            (None, _) => Ok((config, spec, network)),
            (Some(wanted), Some(classes)) if wanted == classes => Ok((config, spec, network)),
            (Some(_), None) => Err(Rejection::Impossible(format!(
                "the network ends in an image of {}, not in class scores",
                network.layers.output()
            ))),
            (Some(wanted), Some(_)) => {
                let spec = spec.with_classes(wanted).map_err(Rejection::Impossible)?;
                let network = self.plan(&spec)?;
                Ok((spec.to_yaml(), spec, network))
            }
        }
    }

    fn plan(&self, spec: &ModelSpec) -> Result<Network, Rejection> {
        let [height, width] = spec.input_size.unwrap_or([32, 32]);
        let input = self.input.unwrap_or(Shape::image(spec.input_channel, height, width));
        Network::plan(spec, input).map_err(|reason| Rejection::Impossible(reason.message))
    }

    fn check_budget(&self, network: Option<&Network>, budget: Budget) -> Result<(), Rejection> {
        let Some(network) = network else { return Ok(()) };
        let budget = budget.and(self.limits.budget);
        let costs = [("parameters", network.params(), budget.max_params), ("MACs", network.macs(), budget.max_macs)];
        let excess = |(unit, cost, max): (&'static str, u64, Option<u64>)| {
            let max = max.filter(|max| cost > *max)?;
            Some((cost as f64 / max.max(1) as f64, format!("{} {unit}, and {} are allowed", short(cost), short(max))))
        };
        let worst = costs.into_iter().filter_map(excess).max_by(|one, other| one.0.total_cmp(&other.0));
        match worst {
            None => Ok(()),
            Some((excess, reason)) => Err(Rejection::OverBudget { reason, excess }),
        }
    }

    fn known(&self, objective: &Objective, computed: &str, network: &Network) -> Result<Option<f64>, Rejection> {
        Ok(match objective.name.as_str() {
            "params" => Some(network.params() as f64),
            "macs" => Some(network.macs() as f64),
            "latency" => Some(self.latency_ms(computed, network)?),
            _ => None,
        })
    }

    fn known_latency(&self, computed: &str) -> Option<f64> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).get(computed).copied()
    }

    fn latency_ms(&self, computed: &str, network: &Network) -> Result<f64, Rejection> {
        // The lock is held while it is measured: two measurements at a time would disturb each other.
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latency) = measured.get(computed) {
            return Ok(*latency);
        }
        let latency = (self.latency)(network).map_err(Rejection::Impossible)?;
        measured.insert(computed.to_owned(), latency);
        Ok(latency)
    }
}

impl SearchSpace for ModelSpace<'_> {
    fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
        if (self.stop)() {
            return Err(Rejection::Stopped);
        }
        let candidate = self.propose(draw).map(|proposal| proposal.candidate);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &candidate {
            Ok(_) => {
                tally.fit += 1;
                return candidate;
            }
            Err(Rejection::Impossible(_) | Rejection::Invalid(_) | Rejection::Stopped) => "impossible",
            // The reason names the cost.
            Err(Rejection::OverBudget { reason, .. }) => {
                let named = |cost: &&&str| reason.contains(**cost);
                ["parameters", "MACs"].iter().find(named).copied().unwrap_or("latency")
            }
        };
        *tally.refused.entry(refused.to_owned()).or_default() += 1;
        drop(tally);
        candidate
    }
}

/// Keeps the distribution of every draw.
struct Recorder<'a> {
    inner: &'a mut dyn Draw,
    distributions: BTreeMap<String, Distribution>,
}

impl Draw for Recorder<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> DrawResult<Value> {
        self.distributions.insert(name.to_owned(), distribution.clone());
        self.inner.draw_among(name, distribution, factors)
    }
}

/// The draws that the file records, in their order.
fn params(file: &Map<String, Value>, mut distributions: BTreeMap<String, Distribution>) -> Vec<Param> {
    let draws = file.get("sample").and_then(|sample| sample["draws"].as_object());
    let param = |(name, value): (&String, &Value)| {
        let distribution = distributions.remove(name)?;
        Some(Param { name: name.clone(), distribution, value: value.clone() })
    };
    draws.into_iter().flatten().filter_map(param).collect()
}

/// A trial's draws were chosen by a sampler: no seed and number would give them again.
fn without_seed(mut file: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(sample)) = file.get_mut("sample") {
        sample.shift_remove("seed");
        sample.shift_remove("number");
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::RandomDraw;
    use nasgen_modules::Blocks;
    use nasgen_search::Direction;

    const SPACE: &str = "\
input_size: [8, 8]
backbone:
  - [{int: [1, 3]}, Conv, [{int: [8, 64], step: 8, name: width}, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
train: {lr: {float: [1e-3, 1e-1], log: true}}
";

    fn space(text: &str) -> Space {
        let source = SourceText { name: "space.yml".into(), text: text.into() };
        Space::parse("space", &source, &Blocks::builtin()).unwrap()
    }

    fn objective(name: &str, known: bool) -> Objective {
        Objective { name: name.into(), direction: Direction::Minimize, known }
    }

    fn settings(train: &Map<String, Value>) -> Result<TrainSettings, String> {
        TrainSettings::parse(train).map_err(|errors| errors[0].message.clone())
    }

    fn random(number: u64) -> RandomDraw {
        RandomDraw::new(Chance::new(0, "test", number))
    }

    #[test]
    fn a_candidate_has_its_draws_its_costs_and_comes_again() {
        let (space, objectives) = (space(SPACE), [objective("accuracy", false), objective("params", true)]);
        let latency = |_: &Network| -> Result<f64, String> { Err("nobody asked for it".into()) };
        let mut model_space = ModelSpace::new(&space, &objectives, &settings, &latency);
        let proposal = model_space.propose(&mut random(1)).unwrap();
        let names: Vec<&str> = proposal.candidate.params.iter().map(|param| param.name.as_str()).collect();
        assert!(names.contains(&"width") && names.contains(&"train.lr"), "{names:?}");
        let model = proposal.model.clone().unwrap();
        assert_eq!(proposal.candidate.known, [None, Some(model.network.params() as f64)]);
        let draws = proposal.candidate.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
        let again = model_space.propose_again(&draws, Chance::new(9, "other", 9)).unwrap();
        assert_eq!((again.candidate, again.config), (proposal.candidate.clone(), proposal.config.clone()));
        assert!(proposal.config.contains("draws:") && !proposal.config.contains("seed"), "{}", proposal.config);

        model_space.classes = Some(3);
        let three = model_space.propose_again(&draws, Chance::new(0, "test", 0)).unwrap();
        assert_eq!(three.model.unwrap().network.classes(), Some(3));
        assert_ne!(three.candidate.identity, proposal.candidate.identity);
        model_space.context = "other images".into();
        assert_ne!(
            model_space.propose_again(&draws, Chance::new(0, "test", 0)).unwrap().candidate.identity,
            three.candidate.identity
        );
        let unknown = json!({"widht": 8}).as_object().unwrap().clone();
        let error = model_space.propose_again(&unknown, Chance::new(0, "test", 0)).err();
        assert_eq!(error, Some(Rejection::Impossible("nothing in the space asks for a draw `widht`".into())));
    }

    #[test]
    fn what_costs_too_much_is_refused_with_how_much() {
        let (space, objectives) = (space(SPACE), [objective("accuracy", false), objective("latency", true)]);
        let calls = Mutex::new(0);
        let latency = |network: &Network| {
            *calls.lock().unwrap() += 1;
            Ok(network.macs() as f64)
        };
        let mut model_space = ModelSpace::new(&space, &objectives, &settings, &latency);
        model_space.limits.budget.max_params = Some(4000);
        let mut over = 0;
        for number in 0..40 {
            match model_space.propose(&mut random(number)) {
                Ok(proposal) => assert!(proposal.candidate.costs[0].1 <= 4000.0),
                Err(Rejection::OverBudget { reason, excess }) => {
                    assert!(excess > 1.0 && reason.contains("parameters"), "{reason}");
                    over += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!((1..40).contains(&over));
        let before = *calls.lock().unwrap();
        assert!(before <= 40 - over, "what is over budget is not measured");
        assert!(model_space.propose(&mut random(0)).is_err() || *calls.lock().unwrap() == before, "measured twice");
        model_space.limits = Limits { budget: Budget::default(), max_latency_ms: Some(1.0) };
        let error = model_space.propose(&mut random(0)).err();
        assert!(matches!(&error, Some(Rejection::OverBudget { reason, .. }) if reason.contains("ms")), "{error:?}");
    }

    #[test]
    fn a_trial_keeps_limits_that_it_is_at_and_those_of_what_is_unknown() {
        let costs = json!({"params": 4000.0, "macs": 1e6});
        let system = [(Trial::COSTS.to_owned(), costs)].into();
        let trial = Trial {
            number: 0,
            state: nasgen_search::State::Complete,
            paused: false,
            params: Vec::new(),
            values: vec![0.5],
            reports: Vec::new(),
            user: nasgen_search::Attributes::new(),
            system,
            started: None,
            finished: None,
        };
        let keeps = |max_params, max_macs, max_latency_ms| {
            Limits { budget: Budget { max_params, max_macs }, max_latency_ms }.keep(&trial)
        };
        assert!(keeps(None, None, None) && keeps(Some(4000), Some(1_000_000), Some(0.1)));
        assert!(!keeps(Some(3999), None, None) && !keeps(None, Some(999_999), None));
    }

    #[test]
    fn a_space_of_values_alone_has_candidates() {
        let (space, objectives) =
            (space("params: {x: {float: [0, 1]}, kind: {choice: [a, b]}}"), [objective("value", false)]);
        let latency = |_: &Network| -> Result<f64, String> { Err("there is no network".into()) };
        let model_space = ModelSpace::new(&space, &objectives, &settings, &latency);
        let (one, other) = (model_space.propose(&mut random(0)).unwrap(), model_space.propose(&mut random(1)).unwrap());
        assert!(one.model.is_none() && one.candidate.params.len() == 2);
        assert_ne!(one.candidate.identity, other.candidate.identity);
    }
}
