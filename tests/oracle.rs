//! The reference executor against PyTorch's outputs, gradients and running statistics
//! (`tests/pytorch/` makes the fixtures).

use crate::repository;
use candle_core::{Device, Tensor, Var};
use nasgen::{
    reference::{Mode, Reference},
    train::OptimizerRule,
    weights::{Array, Weights},
};
use nasgen_modules::{
    Activation, Blocks, Copies, Layers, NetworkRules, Primitive, Role, Shape, Site, Source, TensorRole,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const RULE: OptimizerRule = OptimizerRule::PLAIN;

pub(crate) fn fixtures(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository("tests/fixtures").join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The layers of a row: `{copy}.{label}`.
pub(crate) fn row_layers(metadata: &BTreeMap<String, String>, inputs: Vec<Shape>) -> Layers {
    let blocks = Blocks::builtin();
    let arguments: Vec<Value> = serde_json::from_str(&metadata["args"]).unwrap();
    let module = blocks.get(&metadata["block"]).unwrap().parse(&arguments, &Default::default()).unwrap();
    let count: usize = metadata["repeat"].parse().unwrap();
    let network = NetworkRules { width_multiply: metadata["width_multiply"].parse().unwrap(), ..Default::default() };
    let mut layers = Layers::identity(inputs.clone());
    let mut sources: Vec<Source> = (0..inputs.len()).map(Source::Input).collect();
    let mut site = Site { inputs, copy: Copies { index: 0, count }, role: Role::Row, network };
    for copy in 0..count {
        site.copy.index = copy;
        let end = layers.splice(&copy.to_string(), &module.layers(&site).unwrap(), &sources);
        (sources, site.inputs) = (vec![end], vec![layers.shape(end)]);
    }
    layers
}

pub(crate) fn shape_of(array: &Array) -> Shape {
    match array.shape[1..] {
        [features] => Shape::Features(features),
        [channels, height, width] => Shape::image(channels, height, width),
        _ => panic!("an input has two or four sides"),
    }
}

fn tensor(array: &Array) -> Tensor {
    Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu).unwrap()
}

/// The largest difference, as a share of the largest value; of 1 where all are smaller, since some
/// gradients are zero but for rounding (the bias of a norm that another norm follows).
fn difference(actual: &Tensor, expected: &Array) -> f64 {
    assert_eq!(actual.dims(), expected.shape);
    let actual: Vec<f32> = actual.flatten_all().unwrap().to_vec1().unwrap();
    let scale = expected.values.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    let differences = actual.iter().zip(&expected.values).map(|(actual, expected)| (actual - expected).abs());
    // A NaN is as far away as can be.
    f64::from(differences.fold(0.0, |largest, d| if d > largest || d.is_nan() { d } else { largest }) / scale)
}

pub(crate) struct Fixture {
    pub(crate) name: String,
    tensors: Weights,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Fixture {
    pub(crate) fn load(path: &Path) -> Self {
        let (tensors, metadata) = Weights::load(path).unwrap();
        Self { name: path.file_stem().unwrap().to_string_lossy().into_owned(), tensors, metadata }
    }

    fn get(&self, name: &str) -> &Array {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }

    /// `name`, or `name.0`, `name.1`, … for several inputs.
    pub(crate) fn each(&self, name: &str) -> Vec<&Array> {
        match self.tensors.get(name) {
            Some(array) => vec![array],
            None => (0..).map_while(|index| self.tensors.get(&format!("{name}.{index}"))).collect(),
        }
    }

    fn under(&self, prefix: &str) -> impl Iterator<Item = (String, &Array)> {
        self.tensors.iter().filter_map(move |(name, array)| Some((name.strip_prefix(prefix)?.to_owned(), array)))
    }
}

/// Everything that differs between the executor and the fixture.
fn compare(fixture: &Fixture, layers: &Layers) -> Vec<String> {
    let weights: Weights = fixture.under("weight/").map(|(name, array)| (name, array.clone())).collect();
    let mut wrong = Vec::new();
    let mut check = |what: String, actual: &Tensor, expected: &Array| {
        let difference = difference(actual, expected);
        if difference.is_nan() || difference > 2e-5 {
            wrong.push(format!("{}: {what} differs by {difference:.1e}", fixture.name));
        }
    };
    let mut reference = match Reference::new(layers, &weights, RULE, 0, &Device::Cpu) {
        Ok(reference) => reference,
        Err(error) => return vec![format!("{}: {error}", fixture.name)],
    };
    let inputs: Vec<Var> =
        fixture.each("input").iter().map(|array| Var::from_tensor(&tensor(array)).unwrap()).collect();
    let values: Vec<Tensor> = inputs.iter().map(|input| input.as_tensor().clone()).collect();

    let output = reference.forward(&values, Mode::Evaluation).unwrap();
    check("output in evaluation".into(), &output, fixture.get("output_eval"));
    let output = reference.forward(&values, Mode::Training { step: 0 }).unwrap();
    check("output in training".into(), &output, fixture.get("output_train"));

    let score = (output * tensor(fixture.get("grad_output"))).unwrap().sum_all().unwrap();
    let store = score.backward().unwrap();
    for (input, expected) in inputs.iter().zip(fixture.each("grad_input")) {
        check("gradient of an input".into(), store.get(input).unwrap(), expected);
    }
    let gradients = reference.gradients(&score).unwrap();
    for (name, expected) in fixture.under("grad/") {
        check(format!("gradient of {name}"), &gradients[&name], expected);
    }
    let after = nasgen::train::Executor::weights(&mut reference).unwrap();
    for (name, expected) in fixture.under("after/") {
        check(format!("{name} afterwards"), &tensor(after.get(&name).unwrap()), expected);
    }
    let parameters = layers.tensors().into_iter().filter(|spec| spec.role != TensorRole::Statistic).count();
    assert_eq!(fixture.under("grad/").count(), parameters, "{}", fixture.name);
    wrong
}

#[test]
fn blocks_equal_pytorch_in_output_gradient_and_statistics() {
    let paths = fixtures("blocks");
    let fixtures: Vec<Fixture> = paths.iter().map(|path| Fixture::load(path)).collect();
    let wrong: Vec<String> = fixtures
        .iter()
        .flat_map(|fixture| {
            let inputs = fixture.each("input").into_iter().map(shape_of).collect();
            compare(fixture, &row_layers(&fixture.metadata, inputs))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Dropout has no fixture: its random numbers are nasgen's own.
    for block in Blocks::builtin().iter().filter(|block| block.name() != "Dropout") {
        assert!(
            fixtures.iter().any(|fixture| fixture.metadata["block"] == block.name()),
            "{} has no fixture",
            block.name()
        );
    }
}

#[test]
fn activations_equal_pytorch_at_their_kinks_and_far_out() {
    let mut wrong = Vec::new();
    for activation in Activation::ALL {
        let path = repository(&format!("tests/fixtures/activations/{}.safetensors", activation.name()));
        let fixture = Fixture::load(&path);
        let input = Var::from_tensor(&tensor(fixture.get("input"))).unwrap();
        let mut layers = Layers::identity(vec![shape_of(fixture.get("input"))]);
        layers.push("activation".into(), Primitive::Activation(activation), vec![Source::Input(0)]).unwrap();
        let mut reference = Reference::new(&layers, &Weights::default(), RULE, 0, &Device::Cpu).unwrap();
        let output = reference.forward(&[input.as_tensor().clone()], Mode::Evaluation).unwrap();
        let score = (&output * tensor(fixture.get("grad_output"))).unwrap().sum_all().unwrap();
        let store = score.backward().unwrap();
        for (what, actual, expected) in
            [("value", &output, "output"), ("gradient", store.get(&input).unwrap(), "grad_input")]
        {
            let difference = difference(actual, fixture.get(expected));
            if difference.is_nan() || difference > 1e-5 {
                wrong.push(format!("{}: {what} differs by {difference:.1e}", activation.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
