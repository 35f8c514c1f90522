//! Tables over every block: what each gets tested for free.

use crate::repository;
use candle_core::{Device, Tensor};
use nasgen::{
    chance::Chance,
    reference::{Mode, Reference, batch_shape},
    space::RandomDraw,
    spec::{SourceText, emit_inline, with_blocks_of},
    train::OptimizerRule,
    weights::Weights,
};
use nasgen_modules::{
    Block, BlockEntry, Blocks, Convolution, Copies, Layers, Module, Narrowing, Place, Primitive, Role, Shape, Site,
    Trial,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

const ROLES: [Role; 3] = [Role::Row, Role::NormalCell, Role::ReductionCell];

/// nasgen's own blocks, and some that are written in YAML.
fn all_blocks() -> Blocks {
    let source = SourceText::read(&repository("model_configs/yaml_blocks.yml")).unwrap();
    with_blocks_of(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"))
}

/// Blocks with drawn arguments at a small site, wherever they can stand.
fn drawn(block: &BlockEntry) -> Vec<(Arc<dyn Module>, Site, Layers)> {
    let narrowing = Narrowing::new();
    let mut cases = Vec::new();
    for (role, seed) in ROLES.iter().flat_map(|role| (0..16).map(move |seed| (*role, seed))) {
        for inputs in [vec![Shape::image(16, 7, 6)], vec![Shape::Features(16)], vec![Shape::image(16, 4, 4); 2]] {
            let mut draw = RandomDraw::new(Chance::new(seed, "test", 0));
            let site = Site { role, ..Site::row(inputs[0]) };
            let site = Site { inputs, ..site };
            let Ok(module) = block.suggest(&mut Trial::new(&mut draw, "", block.name(), &narrowing), &site) else {
                continue;
            };
            if let Ok(layers) = module.layers(&site) {
                cases.push((module, site, layers));
            }
        }
    }
    assert!(!cases.is_empty(), "{} never stands at any of the sites", block.name());
    cases
}

/// A network is measured by its first, its last and one other copy of a row.
#[test]
fn copies_between_the_first_and_the_last_are_alike() {
    let mut compared = 0;
    for block in all_blocks().iter() {
        for (module, site, _) in drawn(block) {
            let at = |index| module.layers(&Site { copy: Copies { index, count: 5 }, ..site.clone() });
            if let Ok(layers) = at(1) {
                assert_eq!(Ok(&layers), at(2).as_ref(), "{}", block.name());
                assert_eq!(Ok(&layers), at(3).as_ref(), "{}", block.name());
                compared += 1;
            }
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn what_is_planned_is_what_is_built() {
    for block in all_blocks().iter() {
        for (module, site, layers) in drawn(block).into_iter().step_by(5) {
            let weights = Weights::initial(&layers, 0);
            let parameters = layers.tensors().into_iter().filter(|tensor| tensor.is_parameter());
            let built: usize = parameters.map(|tensor| weights.get(&tensor.name).unwrap().values.len()).sum();
            assert_eq!(layers.params(), built as u64, "{module:?}");

            let rule = OptimizerRule::PLAIN;
            let mut reference = Reference::new(&layers, &weights, rule, 0, &Device::Cpu).unwrap();
            let zeros = |shape: &Shape| Tensor::zeros(batch_shape(2, *shape), candle_core::DType::F32, &Device::Cpu);
            let inputs: Vec<Tensor> = site.inputs.iter().map(|shape| zeros(shape).unwrap()).collect();
            let output = reference.forward(&inputs, Mode::Training { step: 0 }).unwrap();
            assert_eq!(output.dims(), batch_shape(2, layers.output()), "{module:?}");
        }
    }
}

#[test]
fn multiply_adds_are_those_counted_one_by_one() {
    let mut counted = BTreeSet::new();
    for block in all_blocks().iter() {
        for (module, _, layers) in drawn(block).into_iter().step_by(7) {
            let count: u64 = layers.nodes().iter().map(|node| count_macs(&layers, node)).sum();
            assert_eq!(layers.macs(), count, "{module:?}");
            if count > 0 {
                counted.insert(block.name().to_owned());
            }
        }
    }
    assert!(counted.len() > 10, "{counted:?}");
}

/// One for every multiplication of a weight with a value, counted in a loop over both.
fn count_macs(layers: &Layers, node: &nasgen_modules::Node) -> u64 {
    let input = layers.input_shapes(node)[0];
    let mut count = 0;
    match node.primitive {
        Primitive::Convolution(Convolution { out, window, groups, .. }) => {
            let [height, width] = node.output.size().unwrap();
            for output_channel in 0..out {
                for input_channel in 0..input.channels() {
                    // Channels see each other only within a group.
                    if output_channel * groups / out == input_channel * groups / input.channels() {
                        for _pixel in 0..height * width {
                            for _tap in 0..window.kernel[0] * window.kernel[1] {
                                count += 1;
                            }
                        }
                    }
                }
            }
        }
        Primitive::Linear { out } => {
            for _ in 0..out {
                for _ in 0..input.channels() {
                    count += 1;
                }
            }
        }
        Primitive::ChannelConvolution { kernel } => {
            for _ in 0..input.channels() {
                for _ in 0..kernel {
                    count += 1;
                }
            }
        }
        _ => {}
    }
    count
}

#[test]
fn arguments_survive_yaml_as_list_and_as_map() {
    for block in all_blocks().iter() {
        for (module, ..) in drawn(block) {
            let list = Value::Array(block.list(&*module));
            let map = Value::Object(module.arguments());
            for written in [list, map] {
                let text = emit_inline(&written);
                let read = nasgen::spec::yaml::parse(&format!("a: {text}")).unwrap().get("a").unwrap().to_json();
                let again = match &read {
                    Value::Array(items) => block.parse(items, &Map::new()),
                    Value::Object(named) => block.parse(&[], named),
                    _ => panic!("{text}"),
                };
                assert_eq!(again.unwrap().arguments(), module.arguments(), "{} {text}", block.name());
            }
        }
    }
}

#[test]
fn wrong_missing_and_surplus_arguments_name_themselves() {
    for block in all_blocks().iter() {
        let (module, ..) = drawn(block).swap_remove(0);
        let good = module.arguments();

        for (name, _) in &good {
            let mut wrong = good.clone();
            wrong[name] = json!({ "not": "a value" });
            let errors = block.parse(&[], &wrong).unwrap_err();
            assert_eq!(errors.len(), 1, "{} {name}", block.name());
            assert_eq!(errors[0].place, Place::Argument(name.clone()));
            assert!(errors[0].message.contains(&format!("`{name}`")), "{}", errors[0].message);
        }
        for argument in block.signature.arguments.iter().filter(|argument| argument.default.is_none()) {
            let mut missing = good.clone();
            missing.remove(&argument.name);
            let errors = block.parse(&[], &missing).unwrap_err();
            assert!(errors[0].message.contains(&format!("missing argument `{}`", argument.name)));
        }
        let mut surplus = good.clone();
        surplus.insert("surplus".into(), json!(1));
        assert!(block.parse(&[], &surplus).unwrap_err()[0].message.contains("unknown argument `surplus`"));
        let long = vec![json!(1); block.signature.arguments.len() + 1];
        let errors = block.parse(&long, &Map::new()).unwrap_err();
        assert!(errors.iter().any(|error| error.place == Place::Position(long.len() - 1)), "{}", block.name());
    }
}

#[test]
fn everything_is_documented_and_drawn_names_are_arguments() {
    for block in all_blocks().iter() {
        assert!(!block.signature.meaning.is_empty(), "{} has no doc comment", block.name());
        for argument in &block.signature.arguments {
            assert!(!argument.meaning.is_empty(), "{}.{} has no doc comment", block.name(), argument.name);
            assert!(!argument.wanted().is_empty());
        }
        let known: Vec<&str> = block.signature.arguments.iter().map(|argument| argument.name.as_str()).collect();
        for seed in 0..8 {
            let mut draw = RandomDraw::new(Chance::new(seed, "test", 0));
            let narrowing = Narrowing::new();
            let mut trial = Trial::new(&mut draw, "", block.name(), &narrowing);
            let _ = block.suggest(&mut trial, &Site::row(Shape::image(16, 8, 8)));
            for name in draw.draws.keys() {
                let argument = name.rsplit('.').next().unwrap();
                assert!(known.contains(&argument), "{} draws `{argument}`, which is no argument", block.name());
            }
        }
    }
}

#[test]
fn names_are_unique_and_sorted() {
    let blocks = Blocks::builtin();
    let names: Vec<&str> = blocks.iter().map(BlockEntry::name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    let again = [Block::of::<Twin>()];
    let error = Blocks::with(&again).err().unwrap();
    assert!(error.message.contains("two blocks are named `Conv`"));
}

#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Twin {}

impl nasgen_modules::ModuleGenerator for Twin {
    const NAME: &'static str = "Conv";

    fn layers(&self, site: &Site) -> nasgen_modules::Result<Layers> {
        site.chain().finish()
    }

    fn suggest(_: &mut Trial<'_>, _: &Site) -> nasgen_modules::Result<Self> {
        Ok(Self {})
    }
}
