//! Blocks without Rust: they are what Rust blocks are, and their mistakes are shown with their place.

use crate::{golden, repository};
use nasgen::{
    network::Network,
    space::{Budget, Sampler, Space},
    spec::{ModelSpec, SourceText, SpecError, with_blocks_of},
};
use nasgen_modules::{
    Blocks, Copies, NetworkRules, Shape, Site,
    composition::{Layer, LayerDefault},
};
use proptest::prelude::*;
use serde_json::{Map, json};

fn defined(text: &str) -> Result<Blocks, SpecError> {
    let source = SourceText { name: "blocks.yml".into(), text: text.to_owned() };
    with_blocks_of(&source, &Blocks::builtin())
}

fn shipped() -> Blocks {
    let source = SourceText::read(&repository("model_configs/yaml_blocks.yml")).unwrap();
    with_blocks_of(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_block_written_down_equals_the_one_in_rust() {
    let blocks = shipped();
    let (rust, yaml) = (blocks.get("InvertedResidualv2").unwrap(), blocks.get("Residual").unwrap());
    let mut added = 0;
    for (input, out, expansion, stride, width, index) in [
        (24, 24, json!(6), 1, 1.0, 0),
        (24, 24, json!(6), 2, 1.0, 0),
        (24, 24, json!(6), 2, 1.0, 1),
        (16, 50, json!(1), 1, 1.0, 0),
        (16, 32, json!(2.5), 1, 0.5, 0),
        (17, 20, json!(0.5), 2, 1.4, 1),
    ] {
        let network = NetworkRules { width_multiply: width, ..NetworkRules::default() };
        let site = Site { copy: Copies { index, count: 2 }, network, ..Site::row(Shape::image(input, 9, 8)) };
        let arguments = [json!(out), expansion, json!(stride)];
        let layers = |block: &nasgen_modules::BlockEntry| {
            block.parse(&arguments, &Map::new()).unwrap().layers(&site).unwrap_or_else(|error| panic!("{error}"))
        };
        assert_eq!(layers(yaml), layers(rust), "{arguments:?} {site:?}");
        added += usize::from(layers(yaml).nodes().iter().any(|node| node.label == "add"));
    }
    assert_eq!(added, 3, "with and without the input added");
}

#[test]
fn every_layer_can_be_named_and_labels_stay_unique() {
    let text = "\
blocks:
  All:
    args: {n: int, k: {int: 3}, act: {activation: ReLU}, wide: {bool: false}, p: {int: null}}
    stride_on: all
    layers:
      - convolution: {out: n, kernel: k, padding: p, groups: 1, bias: wide}
      - {norm: }
      - activation: act
      - {convolution: [n * 2, 1], when: wide}
      - pointwise: n
      - norm
      - norm
      - depthwise: [3]
      - {max_pool: [3, 1, 1]}
      - {average_pool: {kernel: 3, stride: 1, padding: 1}}
      - {upsample: 2}
      - {slice: [0, here // 2]}
      - {shuffle: 2}
      - gate: {squeeze: here // 4}
      - gate: [2, SiLU, Hardsigmoid]
      - attention: 3
      - residual: [Hardswish, {dropout: 0.1}]
        drop: 0.2
      - branches: [[], [{pointwise: 4}], [ReLU]]
        join: concat
      - branches: [[], []]
        join: add
      - {Conv: {out: 12, kernel: 1, stride: \"max(1, 2 - 1)\", activation: act}}
      - {Conv: [12, k]}
      - {global_max_pool: 2}
      - global_average_pool
      - flatten
      - {linear: 5}
";
    let blocks = defined(text).unwrap_or_else(|error| panic!("{error}"));
    let block = blocks.get("All").unwrap();
    for arguments in [vec![json!(8)], vec![json!(8), json!(5), json!("Swish"), json!(true), json!(2)]] {
        let module = block.parse(&arguments, &Map::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let site = Site {
            network: NetworkRules { width_multiply: 2.0, ..NetworkRules::default() },
            ..Site::row(Shape::image(6, 8, 8))
        };
        let layers = module.layers(&site).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(layers.output(), Shape::Features(5));
        let mut labels: Vec<&str> = layers.nodes().iter().map(|node| node.label.as_str()).collect();
        labels.sort_unstable();
        let count = labels.len();
        labels.dedup();
        assert_eq!(labels.len(), count, "{labels:?}");
        // Numbers are as they are: the width multiple applies to arguments of type channels alone.
        assert!(layers.nodes().iter().all(|node| node.output.channels() <= 64), "{layers:?}");
    }
}

#[test]
fn defined_blocks_are_drawn_in_spaces_and_their_samples_stand_alone() {
    let text = "\
blocks:
  Down:
    args: {out: {type: channels, draw: {int: [16, 32], step: 16}}, stride: {int: 1, range: [1, 2]}}
    layers: [{Conv: {out: out, kernel: 3, stride: stride}}]
  Plain:
    args: {out: {type: channels, draw: {choice: [8, 24]}}, kernel: {int: 3, draw: {choice: [1, 3]}}, fixed: {float: 0.5}}
    layers: [{convolution: [out, kernel]}, norm, {dropout: fixed}]
backbone:
  - [1, {choice: [Pass, Down, {Plain: {out: 8}}]}]
  - cells: {stages: 2, n: {int: [1, 2]}, nc: {choice: [Plain, Down]}, rc: Down}
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
modules: {Plain: {kernel: {choice: [3, 5]}}}
constraints: {downsamplings: [1, 2]}
";
    let source = SourceText { name: "space.yml".into(), text: text.into() };
    let space = Space::parse("space", &source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
    let mut kernels = std::collections::BTreeSet::new();
    for number in 0..60 {
        let sample = Sampler { space: &space, seed: 0, budget: Budget::default(), input: None }.sample(number).unwrap();
        assert_eq!(sample.rejected, 0);
        assert!((1..=2).contains(&sample.network.as_ref().unwrap().downsamplings()));
        let text = sample.to_yaml();
        let source = SourceText { name: "sample".into(), text: text.clone() };
        let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let network = Network::plan(&spec, Shape::image(3, 32, 32)).unwrap();
        assert_eq!(network.layers, sample.network.unwrap().layers);
        let again = SourceText { name: "again".into(), text: spec.to_yaml() };
        let again = ModelSpec::parse(&again, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Network::plan(&again, Shape::image(3, 32, 32)).unwrap().layers, network.layers);
        let draws = sample.file["sample"]["draws"].as_object().unwrap().clone();
        kernels.extend(draws.iter().filter(|(name, _)| name.ends_with("Plain.kernel")).map(|(_, k)| k.to_string()));
    }
    assert_eq!(kernels.into_iter().collect::<Vec<_>>(), ["3", "5"]);
}

#[test]
fn wrong_definitions_get_the_documented_errors() {
    let block = |parts: &str| format!("blocks:\n  Mine: {{{parts}}}\n");
    let layers = |layers: &str| block(&format!("args: {{out: int, act: {{activation: ReLU}}}}, layers: [{layers}]"));
    let chain = |numbers: &mut dyn Iterator<Item = usize>| -> String {
        numbers.map(|n| format!("  B{n}: {{layers: [B{}]}}\n", n - 1)).collect()
    };
    let doubling: String = (1..30).map(|n| format!("  B{n}: {{layers: [B{}, B{}]}}\n", n - 1, n - 1)).collect();
    let cases = [
        "blocks: [Conv]\n".to_owned(),
        "blocks: {Mine: 3}\n".to_owned(),
        "blocks: {Conv: {layers: [norm]}}\n".to_owned(),
        "blocks: {Pass: {layers: [norm]}}\n".to_owned(),
        "blocks: {norm: {layers: [ReLU]}}\n".to_owned(),
        "blocks: {SiLU: {layers: [norm]}}\n".to_owned(),
        block("args: {out: int}"),
        block("arg: {out: int}, layers: [norm]"),
        block("args: {out: integer}, layers: [norm]"),
        block("args: {out: {int: 3, rnge: [1, 2]}}, layers: [norm]"),
        block("args: {out: {int: 9, range: [1, 2]}}, layers: [norm]"),
        block("args: {out: {int: 2, range: [1, 2], draw: {choice: [1, 3]}}}, layers: [norm]"),
        block("args: {out: {int: 2, draw: {int: [3, 1]}}}, layers: [norm]"),
        block("args: {step: int}, layers: [norm]"),
        block("args: {in: int}, layers: [norm]"),
        block("args: {k: {int: 3}, out: int}, layers: [norm]"),
        block("args: {k: [3]}, layers: [norm]"),
        block("stride_on: second, layers: [norm]"),
        block("layers: norm"),
        layers("nrom"),
        layers("3"),
        layers("{pointwise: out, norm: }"),
        layers("{pointwise: out, drop: 0.1}"),
        layers("{pointwise: [out, false, 3]}"),
        layers("{convolution: {out: out}}"),
        layers("{convolution: {out: out, kernl: 3}}"),
        layers("{pointwise: uot // 2}"),
        layers("{pointwise: out //}"),
        layers("{pointwise: sqrt(out)}"),
        layers("{pointwise: out, when: out = 3}"),
        layers("{flatten: 3}"),
        layers("{Conv: {out: out, kernel: 3, strde: 1}}"),
        layers("{Conv: {out: out}}"),
        layers("{branches: [[norm]]}"),
        layers("{branches: [[], [norm]], join: mul}"),
        layers("{residual: {pointwise: out}}"),
        layers("{pointwise: out, label: a b}"),
        layers("Mine"),
        block("args: {out: {int: 3, rnge: [1, 2]}}, layers: [{pointwise: out}]"),
        block("args: {out: int, spare: int, k: {int: 3}}, layers: [{depthwise: k}, {pointwise: out}]"),
        "blocks:\n  A: {layers: [B]}\n  B: {layers: [{residual: [A]}]}\n".to_owned(),
        format!("blocks:\n  B0: {{layers: [norm]}}\n{doubling}"),
        format!("blocks:\n  B0: {{layers: [norm]}}\n{}", chain(&mut (1..40))),
        format!("blocks:\n{}  B0: {{layers: [norm]}}\n", chain(&mut (1..3000).rev())),
    ];
    let mut report = String::new();
    for text in &cases {
        let error = defined(text).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
        // Of many alike the first few will do.
        report += &error.to_string().lines().take(40).map(|line| format!("{line}\n")).collect::<String>();
        report += "\n";
    }
    golden::check("wrong_blocks.txt", &report);
}

#[test]
fn what_a_definition_cannot_do_at_its_place_is_said_with_the_step() {
    let head = "blocks:\n  Mine:\n    args: {out: int, stride: {int: 1}}\n    layers:\n      - {pointwise: out // 3}\n      - residual: [{max_pool: [3, stride, 1]}]\n";
    let plan = |row: &str, more: &str| {
        let text = format!("{head}{more}backbone:\n  - {row}\n");
        let source = SourceText { name: "cfg.yml".into(), text };
        let spec = ModelSpec::parse(&source, &Blocks::builtin()).map_err(|error| error.to_string())?;
        Network::plan(&spec, Shape::image(3, 8, 8)).map(|_| ()).map_err(|wrong| source.error(vec![wrong]).to_string())
    };
    let report: String = [
        plan("[1, Mine, [2]]", ""),
        plan("[1, Mine, [9, 2]]", ""),
        plan("[1, Mine, [9, 0]]", ""),
        plan("[1, Mine, [9]]", "      - {linear: 3}\n"),
        plan("[1, Mine, []]", ""),
        plan("[1, Mine, {out: 9, strid: 2}]", ""),
        plan("[1, Mine, [nine]]", ""),
        plan("[1, Mine, [9]]", "      - {attention: 4}\n"),
        plan("[1, Mine, [9]]", "      - {pointwise: out / 2}\n"),
        plan("[1, Mine, [9]]", "      - {pointwise: 1 / (out - 9)}\n"),
    ]
    .into_iter()
    .map(|planned| format!("{}\n\n", planned.err().unwrap_or_else(|| panic!("accepted"))))
    .collect();
    golden::check("blocks_at_their_place.txt", &report);
}

#[test]
fn the_readme_lists_every_layer_with_its_arguments() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    for (name, layer) in Layer::ALL {
        let argument = |(name, default): &(&str, LayerDefault)| match default.written() {
            None => (*name).to_owned(),
            Some(default) => format!("{name} = {default}"),
        };
        let arguments: Vec<String> = layer.arguments().iter().map(argument).collect();
        let row = format!("| `{name}` | {} | {} |", arguments.join(", "), layer.meaning());
        assert!(readme.contains(&row), "the README lacks\n{row}");
    }
    let table = readme.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
    assert_eq!(table.count(), Layer::ALL.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_definition_never_panics(
        at in 0..1900usize,
        removed in 0..12usize,
        inserted in prop_oneof![Just("-1e9".to_owned()), Just("Gated".to_owned()), Just("in // 0".to_owned()), "[a-z0-9\\[\\]{},:\\-/*]{0,8}"],
    ) {
        let text = std::fs::read_to_string(repository("model_configs/yaml_blocks.yml")).unwrap();
        let bounded = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let (start, end) = (bounded(at), bounded(at + removed));
        let damaged = format!("{}{inserted}{}", &text[..start], &text[end..]);
        let source = SourceText { name: "cfg.yml".into(), text: damaged };
        if let Ok(spec) = ModelSpec::parse(&source, &Blocks::builtin()) {
            let _ = Network::plan(&spec, Shape::image(3, 32, 32));
        }
    }
}
