//! What `nasgen sample` draws.

use crate::golden;
use nasgen::{
    network::Network,
    space::{Budget, DEFAULT, SampleError, Sampler, Space},
    spec::{ModelSpec, SourceText, SpecError},
};
use nasgen_modules::{Blocks, Shape};
use std::collections::{BTreeMap, BTreeSet};

fn space(name: &str, text: &str) -> Result<Space, SpecError> {
    let source = SourceText { name: format!("{name}.yml"), text: text.to_owned() };
    Space::parse(name, &source, &Blocks::builtin())
}

fn default_space() -> Space {
    space(DEFAULT.0, DEFAULT.1).unwrap()
}

fn sampler(space: &Space, seed: u64) -> Sampler<'_> {
    Sampler { space, seed, budget: Budget::default(), input: None }
}

const FIXED: &str = "\
input_size: {choice: [[32, 32], [48, 48]]}
depth_multiply: 2
width_multiply: {choice: [0.5, 0.75, 1.0]}
backbone:
  - [{choice: [1, 2]}, Conv, [{int: [16, 32], step: 8, name: stem}, 3]]
  - cells:
      stages: 2
      mode: fixed
      final_rc: true
      n: {int: [1, 3]}
      nc: {choice: [Conv, Bottleneck]}
      rc: {choice: [MaxPool, InvertedResidualv3]}
  - [1, Conv, [{ref: stem}, 1]]
  - {choice: [[1, GlobalAvgPool, []], [1, GlobalMaxPool, []]]}
  - [1, Flatten, []]
  - [1, Linear, [10]]
train:
  lr: {float: [1e-3, 1e-1], log: true}
  epochs: {int: [10, 30], step: 10}
modules:
  Conv: {kernel: {choice: [1, 3]}, activation: ReLU}
  InvertedResidualv3: {squeeze_excite: false}
";

const GROWING: &str = "\
backbone:
  - cells: {stages: {choice: [2, 3]}, mode: growing, grows: nondecreasing, rc_first: true,
            n: {int: [1, 4]}, nc: DWConv, rc: {choice: [AvgPool, InvertedResidualv2]}}
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [10, 1, 1, null, 1, null]]
";

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    let mut text = String::new();
    for (name, source) in [("cells", DEFAULT.1), ("fixed", FIXED), ("growing", GROWING)] {
        let space = space(name, source).unwrap_or_else(|error| panic!("{error}"));
        for (seed, number) in [(0, 0), (0, 1), (7, 0)] {
            text += &format!("--- # {name} {seed} {number}\n");
            text += &sampler(&space, seed).sample(number).unwrap_or_else(|error| panic!("{error}")).to_yaml();
        }
    }
    golden::check("samples.yml", &text);
}

#[test]
fn every_sample_is_a_complete_spec_within_its_budget() {
    let blocks = Blocks::builtin();
    let space = default_space();
    let budget = Budget { max_params: Some(60_000), max_macs: Some(8_000_000) };
    for number in 0..60 {
        let sample = Sampler { budget, ..sampler(&space, 3) }.sample(number).unwrap();
        let source = SourceText { name: "sample".into(), text: sample.to_yaml() };
        let spec = ModelSpec::parse(&source, &blocks).unwrap_or_else(|error| panic!("{error}"));
        let network = Network::plan(&spec, Shape::image(3, 32, 32)).unwrap();
        assert_eq!(network.layers, sample.network.unwrap().layers);
        assert!(network.params() <= 60_000 && network.macs() <= 8_000_000);
        assert_eq!(network.classes(), Some(10));
        assert_eq!(spec.sample.unwrap()["number"], number);
    }
}

#[test]
fn the_shipped_samples_are_those_that_their_commands_draw() {
    let space = default_space();
    for (name, seed, macs) in [("sampled_small", 11, 3_000_000), ("sampled_medium", 18, 30_000_000)] {
        let text = std::fs::read_to_string(crate::repository(&format!("model_configs/{name}.yml"))).unwrap();
        let budget = Budget { max_params: None, max_macs: Some(macs) };
        let sample = Sampler { budget, ..sampler(&space, seed) }.sample(0).unwrap();
        assert!(text.ends_with(&format!("\n{}", sample.to_yaml())), "{name}");
    }
}

#[test]
fn the_input_that_a_budget_was_counted_for_is_in_the_file() {
    let (space, blocks) = (default_space(), Blocks::builtin());
    let budget = Budget { max_params: None, max_macs: Some(500_000) };
    let sampler = Sampler { budget, input: Some(Shape::image(1, 16, 12)), ..sampler(&space, 0) };
    let sample = sampler.sample(0).unwrap();
    let source = SourceText { name: "sample".into(), text: sample.to_yaml() };
    let spec = ModelSpec::parse(&source, &blocks).unwrap();
    assert_eq!((spec.input_channel, spec.input_size), (1, Some([16, 12])));
}

#[test]
fn a_sample_depends_on_its_number_and_not_on_those_before_it() {
    let space = default_space();
    let sampler = sampler(&space, 1);
    let fifth = sampler.sample(5).unwrap().to_yaml();
    let _ = sampler.sample(4);
    assert_eq!(sampler.sample(5).unwrap().to_yaml(), fifth);
    assert_ne!(sampler.sample(6).unwrap().to_yaml(), fifth);
}

#[test]
fn every_choice_comes() {
    let space = default_space();
    let sampler = sampler(&space, 0);
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for number in 0..400 {
        let sample = sampler.sample(number).unwrap();
        for (name, value) in sample.file["sample"]["draws"].as_object().unwrap() {
            seen.entry(name.clone()).or_default().insert(value.to_string());
        }
    }
    for (name, count) in
        [("s1.nc", 5), ("s2.nc", 5), ("s3.nc", 5), ("s1.rc", 4), ("s2.rc", 4), ("s1.n", 5), ("s3.n", 5)]
    {
        assert_eq!(seen[name].len(), count, "{name}: {:?}", seen[name]);
    }
    assert_eq!(seen["s2.nc.Conv.out"].len(), 4);
    assert!(!seen.contains_key("s3.rc"), "the last stage has no reduction cell");
}

/// Rows of a drawn file as (repeat, module).
fn rows(text: &str, number: u64) -> Vec<(u64, String)> {
    let space = space("test", text).unwrap_or_else(|error| panic!("{error}"));
    let sample = sampler(&space, 9).sample(number).unwrap_or_else(|error| panic!("{error}"));
    let rows = sample.file["backbone"].as_array().unwrap().clone();
    rows.iter().map(|row| (row[0].as_u64().unwrap(), row[1].as_str().unwrap().to_owned())).collect()
}

#[test]
fn modes_and_orders_of_cells() {
    let text = |cells: &str| {
        format!(
            "backbone:\n  - cells: {{stages: 3, n: {{int: [1, 3]}}, nc: {{choice: [Conv, DWConv]}}, \
             rc: {{choice: [MaxPool, AvgPool]}}, {cells}}}\n  - [1, GlobalAvgPool, []]\n"
        )
    };
    let is_reduction = |rows: &[(u64, String)]| -> Vec<bool> {
        rows[..rows.len() - 1].iter().map(|(_, name)| name.ends_with("Pool")).collect()
    };
    for number in 0..20 {
        let between = rows(&text("mode: free"), number);
        assert_eq!(is_reduction(&between), [false, true, false, true, false]);
        let after = rows(&text("final_rc: true"), number);
        assert_eq!(is_reduction(&after), [false, true, false, true, false, true]);
        let before = rows(&text("rc_first: true"), number);
        assert_eq!(is_reduction(&before), [true, false, true, false, true, false]);

        let fixed = rows(&text("mode: fixed"), number);
        assert!(fixed[0] == fixed[2] && fixed[2] == fixed[4] && fixed[1] == fixed[3], "{fixed:?}");
        let scaled = rows(&text("mode: growing, grows: scale"), number);
        for (stage, row) in [0, 2, 4].into_iter().enumerate() {
            let stage = stage as u64 + 1;
            assert!((stage..=3 * stage).contains(&scaled[row].0) && scaled[row].1 == scaled[0].1, "{scaled:?}");
        }
        let growing = rows(&text("mode: growing, grows: nondecreasing"), number);
        assert!(growing[0].0 <= growing[2].0 && growing[2].0 <= growing[4].0, "{growing:?}");
    }
}

#[test]
fn cells_ignore_the_depth_multiple_and_other_rows_do_not() {
    let text =
        "depth_multiply: 3\nbackbone:\n  - [2, Conv, [16, 3]]\n  - cells: {stages: 1, n: 2, nc: Conv, rc: MaxPool}\n";
    let rows = rows(text, 0);
    assert_eq!(rows.iter().map(|(repeat, _)| *repeat).collect::<Vec<_>>(), [6, 2]);
    let space = space("depth", text).unwrap();
    assert_eq!(sampler(&space, 0).sample(0).unwrap().file["depth_multiply"], 1.0);
}

#[test]
fn an_impossible_budget_says_what_the_smallest_network_was() {
    let space = default_space();
    let budget = Budget { max_params: Some(10), max_macs: None };
    match (Sampler { budget, ..sampler(&space, 0) }).sample(0) {
        Err(SampleError::OverBudget { smallest, .. }) => assert!(smallest.params > 10 && smallest.params < 20_000),
        _ => panic!("10 parameters cannot be enough"),
    }
}

#[test]
fn wrong_spaces_get_the_documented_errors() {
    let cells = |cells: &str| format!("backbone:\n  - cells: {{{cells}}}\n");
    let row = |row: &str| format!("backbone:\n  - {row}\n");
    let rows = |head: &str, row: &str| format!("{head}\nbackbone:\n  - {row}\n");
    let modules = |modules: &str| format!("backbone:\n  - [1, Conv, [16, 3]]\nmodules: {modules}\n");
    let cases = [
        row("[1, Conv, [{int: [32, 16]}, 3]]"),
        row("[1, Conv, [{int: [16, 32], step: 0}, 3]]"),
        row("[1, Conv, [{choice: []}, 3]]"),
        row("[1, Conv, [{choice: [16, 16]}, 3]]"),
        row("[1, Conv, [{int: [1, 2], choice: [1]}, 3]]"),
        row("[1, Conv, [{ref: stem}, 3]]"),
        row("[1, Conv, [{float: [0, 1], log: true}, 3]]"),
        row("[1, Conv, [{int: [1, 8], name: a}, {int: [1, 8], name: a}]]"),
        cells("n: 1, nc: Conv"),
        cells("n: 1, nc: Conv, rc: Bottleneck"),
        cells("n: 1, nc: Convv, rc: MaxPool"),
        cells("n: {int: [0, 3]}, nc: Conv, rc: MaxPool"),
        cells("n: 1, nc: Conv, rc: MaxPool, mode: wild, stage: 2"),
        cells("n: 1, nc: Conv, rc: MaxPool, final_rc: true, rc_first: true"),
        cells("n: 1, nc: Conv, rc: MaxPool, stages: 99"),
        cells("n: 1, nc: [], rc: MaxPool"),
        row("[1, Conv, [16, 3, 1, null, 1, {choice: [ReLU, Hardswsh]}]]"),
        row("[1, Conv, [{int: [8, 16], foo: 1}, 3]]"),
        "train: {lr: {float: [-1, 1]}}\nbackbone:\n  - [1, Conv, [16, 3]]\n".to_owned(),
        modules("{Convv: {out: 3}}"),
        modules("{Conv: {groups: 3}}"),
        modules("{Conv: {kernel: {choice: [three]}}}"),
        modules("{Conv: {out: {int: [-8, 8]}}}"),
        "spam: 1\nbackbone:\n  - [1, Conv, [16, 3]]\n".to_owned(),
        rows("constraints: {downsamplings: [3, 4]}", "[1, Conv, [16, 3, {choice: [1, 2]}]]"),
        rows("constraints: {min_feature: 9}\ninput_size: [32, 32]", "[2, MaxPool, [2]]"),
        rows("constraints: {downsamplings: 1}", "{choice: [Pass, [1, MaxPool, [2, 2]]]}\n  - [1, MaxPool, [2, 2]]"),
        rows("constraints: {downsamplings: [4, 2]}", "[1, Conv, [16, 3]]"),
        rows("constraints: {min_feature: none, max_param: 3}", "[1, Conv, [16, 3]]"),
        rows("constraints: {max_params: many}", "[1, Conv, [16, 3]]"),
        row("[1, {choice: [Pass, Convv]}]"),
        row("[1, {choice: [Conv, {Conv: {groups: {choice: [1, 2]}}}]}]"),
        row("[1, {Conv: {out: {int: [\"16*i\", \"32*i\"], step: 16}}}]"),
        row("[1, [Conv, DWConv]]"),
        row("{choice: [Pass, Pass]}"),
        row("{choice: [Pass, [1, Conv, [{int: [8, 16], name: w}, 3]]]}\n  - [1, Conv, [{ref: w}, 3]]"),
        row("[-1, 1, Conv, [16, 3]]\n  - [1, {choice: [Pass, Conv]}]\n  - [[-1, 0], 1, Concat, []]"),
        cells("n: {int: [1, \"j\"]}, nc: Conv, rc: MaxPool"),
        cells("n: {int: [\"4-i\", \"2*i\"]}, nc: Conv, rc: MaxPool"),
        cells("n: {int: [1, 3], name: depth}, nc: Conv, rc: MaxPool"),
        cells("mode: fixed, n: 1, nc: {Conv: {out: {int: [16, \"16*i\"]}}}, rc: MaxPool"),
        cells("n: 1, nc: {choice: [Pass, Conv]}, rc: MaxPool"),
        modules("{DWConv: {kernel: 3}}"),
        "train: {optimizer: {choice: [sgd, {adamw: {weight_dcay: 0.1}}]}}\nbackbone:\n  - [1, Conv, [16, 3]]\n"
            .to_owned(),
        "params: {x: {float: [1, 0]}}\n".to_owned(),
        "params: {x: 1}\nconstraints: {downsamplings: 2}\n".to_owned(),
        "input_size: [32, 32]\n".to_owned(),
        // Limits that would be wrong only when they are drawn.
        "train: {lr: {float: [-0.001, 1]}}\nbackbone:\n  - [1, Conv, [16, 3]]\n".to_owned(),
        "train: {epochs: {int: [1, 1000000]}}\nbackbone:\n  - [1, Conv, [16, 3]]\n".to_owned(),
        row("[{int: [1, 1003]}, Conv, [16, 3]]"),
        row("[{choice: [1, 0]}, {choice: [Pass, Conv]}]"),
        row("[1, {choice: [Pass, Conv]}, [{choice: [8, {int: [0, 4]}]}, 3]]"),
        row("{choice: [[1, Conv, [16, 3]], [[{int: [1, 2000]}, Conv, [16, 3]]]]}"),
        rows("input_size: {choice: [[32, 32], [0, 32]]}", "[1, Conv, [16, 3]]"),
        row("[1, Conv, [{int: [1, 64], name: k}, 3]]\n  - [1, Conv, [16, 3, 1, null, 1, {ref: k}]]"),
        "train: {optimizer: {choice: [sgd, adamw]}, momentum: 0.8}\nbackbone:\n  - [1, Conv, [16, 3]]\n".to_owned(),
        // Sets that were meant, and what stands in the wrong place.
        row("[1, Conv, [{chioce: [16, 32]}, 3]]"),
        row("[1, Conv, [{int: [1, 5], stp: 2}, 3]]"),
        cells("n: {int: [1, 3], lgo: true}, nc: Conv, rc: MaxPool"),
        cells("n: 1, nc: {choise: [Conv, DWConv]}, rc: MaxPool"),
        cells("n: 1, nc: {DWConv: {kernel: {chioce: [3]}}}, rc: MaxPool"),
        "params: {x: {int: [1, 5], stp: 2}, y: {floats: [0, 1]}}\n".to_owned(),
        row("[1, Conv, [{int: [1.5, 5]}, 3]]"),
        row("[1, Conv, [{int: [1, 1.0e18]}, 3]]"),
        row("[1, Conv, [{int: [1, \"2*j\"]}, 3]]"),
        row("[1, Pass, []]"),
        row("[1, Conv, [{choice: [8, {ref: k}], name: k}, 3]]"),
        row("[1, Conv, {otu: 16, kernel: 3}]"),
        "train: {weight_decay: 0.1, optimizer: {choice: [sgd, {adamw: {weight_decay: 0.3}}]}}\nbackbone:\n  \
         - [1, Conv, [16, 3]]\n"
            .to_owned(),
        cells("n: 1, nc: Conv, rc: MaxPool, mode: growin, grows: scale"),
        cells("n: 1, nc: Conv, rc: MaxPool, mode: fixed, grows: scale"),
        cells("nn: 1, nc: Conv, rc: MaxPool"),
        row("{choice: [Conv, DWConv]}"),
        "params: 3\n".to_owned(),
        "train: {lrr: {float: [0, 1]}}\nbackbone:\n  - [1, Conv, [16, 3]]\n".to_owned(),
    ];
    let mut report = String::new();
    for text in &cases {
        let error = space("space", text).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
        report += &format!("{error}\n\n");
    }
    golden::check("wrong_spaces.txt", &report);
}

#[test]
fn a_space_in_which_nothing_can_stand_says_why_with_its_own_line() {
    let space = space("bad", "backbone:\n  - [1, Conv, [{choice: [16, 32]}, 99, 1, 0]]\n").unwrap();
    let error = sampler(&space, 0).sample(0).err().unwrap().to_string();
    assert!(error.contains("bad.yml:2:5") && error.contains("does not fit"), "{error}");
}
