//! The shipped spaces, draw by draw; and what `nasgen space` says of a space.

use crate::golden;
use nasgen::{
    measure::{Measured, Scale},
    network::Network,
    report::space_report,
    space::{Attempt, Budget, Count, SHIPPED, Sampler, Space, Survey, Surveyor, ValueShare},
    spec::{ModelSpec, SourceText, SpecError, emit},
};
use nasgen_modules::{Blocks, Shape};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const DRAWS: u64 = 10_000;

fn space(name: &str, text: &str) -> Space {
    read(name, text).unwrap_or_else(|error| panic!("{error}"))
}

fn read(name: &str, text: &str) -> Result<Space, SpecError> {
    let source = SourceText { name: format!("{name}.yml"), text: text.to_owned() };
    Space::parse(name, &source, &Blocks::builtin())
}

fn sampler(space: &Space) -> Sampler<'_> {
    Sampler { space, seed: 0, budget: Budget::default(), input: None }
}

fn survey(space: &Space, budget: Budget) -> Survey {
    Surveyor { sampler: Sampler { budget, ..sampler(space) } }.survey().unwrap_or_else(|error| panic!("{error}"))
}

/// Draws from a shipped space; each must be a network, without one that is rejected.
fn shipped_draws_are_valid_and_as_stated(name: &str) {
    let text = SHIPPED.into_iter().find(|(shipped, _)| *shipped == name).unwrap().1;
    let space = space(name, text);
    let values = survey(&space, Budget::default()).values.unwrap();
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for number in 0..DRAWS {
        let sample = sampler(&space).sample(number).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(sample.rejected, 0, "{name} {number}");
        let network = sample.network.as_ref().unwrap();
        assert_eq!(network.classes(), Some(10));
        if name == "search_model" {
            assert!((2..=4).contains(&network.downsamplings()) && network.smallest_feature() >= 2, "{number}");
        }
        for (draw, value) in sample.file["sample"]["draws"].as_object().unwrap() {
            *counts.entry(draw.clone()).or_default().entry(value.to_string()).or_default() += 1;
        }
        if number % 100 == 0 {
            stands_as_a_file(&sample.to_yaml(), network);
        }
    }
    let stated: BTreeSet<&String> = values.iter().map(|value| &value.name).collect();
    assert_eq!(stated, counts.keys().collect(), "{name}: the same draws are stated and made");
    for value in &values {
        as_stated(value, &counts[&value.name]);
    }
}

fn stands_as_a_file(text: &str, network: &Network) {
    let source = SourceText { name: "sample".into(), text: text.to_owned() };
    let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Network::plan(&spec, Shape::image(3, 32, 32)).unwrap().layers, network.layers);
}

/// Every value came, and as often as its share says: chi-square over its values and "not drawn".
fn as_stated(value: &ValueShare, counts: &BTreeMap<String, u64>) {
    let number = value.distribution.count().unwrap();
    let share = |index: u64| match value.shares.get(index as usize) {
        Some(share) => *share,
        None => value.applies * value.distribution.probability(index),
    };
    let count = |index: u64| counts.get(&value.distribution.value(index).to_string()).copied().unwrap_or(0) as f64;
    assert!((0..number).all(|index| count(index) > 0.0), "{} has values that never came", value.name);
    let mut cells: Vec<(f64, f64)> = (0..number).map(|index| (count(index), share(index) * DRAWS as f64)).collect();
    let drawn: f64 = cells.iter().map(|(count, _)| count).sum();
    assert_eq!(drawn as u64, counts.values().sum::<u64>(), "{} has values that are not stated", value.name);
    let not_drawn = (DRAWS as f64 - drawn, (1.0 - value.applies) * DRAWS as f64);
    if not_drawn.1 > 1e-6 {
        cells.push(not_drawn);
    }
    assert!(cells.iter().all(|(_, expected)| *expected >= 5.0), "{}: too rare for chi-square", value.name);
    let chi_square: f64 = cells.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    let freedom = (cells.len() - 1) as f64;
    if freedom > 0.0 {
        // Wilson and Hilferty 1931. Beyond 4.5 deviations lie 3 in a million.
        let spread = 2.0 / (9.0 * freedom);
        let deviations = ((chi_square / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
        assert!(deviations < 4.5, "{}: {deviations} deviations: {cells:?}", value.name);
    } else {
        assert!(chi_square < 1e-9, "{}: {cells:?}", value.name);
    }
}

#[test]
fn ten_thousand_draws_of_cells() {
    shipped_draws_are_valid_and_as_stated("cells");
}

#[test]
fn ten_thousand_draws_of_lecture_fixed() {
    shipped_draws_are_valid_and_as_stated("lecture_fixed");
}

#[test]
fn ten_thousand_draws_of_lecture_growing() {
    shipped_draws_are_valid_and_as_stated("lecture_growing");
}

#[test]
fn ten_thousand_draws_of_lecture_free() {
    shipped_draws_are_valid_and_as_stated("lecture_free");
}

#[test]
fn ten_thousand_draws_of_search_model() {
    shipped_draws_are_valid_and_as_stated("search_model");
}

#[test]
fn rising_numbers_and_stages_come_as_stated() {
    for constraints in ["", "constraints: {downsamplings: [1, 2]}\n"] {
        let text = format!(
            "input_size: [8, 8]\nbackbone:\n  - cells: {{stages: {{int: [1, 3]}}, mode: growing, grows: nondecreasing, \
             final_rc: true, n: {{int: [1, 3]}}, nc: {{DWConv: {{out: 8, activation: ReLU}}}}, rc: MaxPool}}\n{constraints}"
        );
        let space = space("rising", &text);
        let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for number in 0..DRAWS {
            let sample = sampler(&space).sample(number).unwrap();
            let draws = sample.file["sample"]["draws"].as_object().unwrap();
            for (draw, value) in draws {
                *counts.entry(draw.clone()).or_default().entry(value.to_string()).or_default() += 1;
            }
        }
        for value in survey(&space, Budget::default()).values.unwrap() {
            if value.name != "stages" || constraints.is_empty() {
                as_stated(&value, &counts[&value.name]);
            }
        }
    }
}

/// Everything of the language in one space.
const RICH: &str = "\
input_size: {choice: [[16, 16], [32, 32], [64, 64]]}
width_multiply: {choice: [0.5, 1.0]}
backbone:
  - [1, Conv, [{int: [16, 32], step: 8, name: stem}, 3, {choice: [1, 2]}]]
  - [{int: [1, 2]}, {choice: [Pass, Conv, MaxPool, {InvertedResidualv2: {out: {ref: stem}, expansion: 2}}], name: second}]
  - {choice: [Pass, [1, DWConv, [{ref: stem}, 3]], [[2, Bottleneck], [1, {choice: [Pass, AvgPool]}]]]}
  - [1, {choice: [Pass, Conv, DWConv]}, [{ref: stem}, {choice: [1, 3]}, 1]]
  - cells:
      stages: {int: [1, 2]}
      mode: {choice: [free, fixed]}
      n: {int: [1, 3]}
      nc: {choice: [Conv, {MBConv: {out: {int: [16, 32], step: 16}}}]}
      rc: {choice: [MaxPool, InvertedResidualv3]}
  - {choice: [[[1, GlobalAvgPool, []], [1, Flatten, []], [1, Linear, [10]]], [[1, GlobalAvgPool, []], [1, FixedConv, [10, 1, 1, null, 1, null]]]]}
train:
  lr: {float: [1e-3, 1e-1], log: true}
  optimizer: {choice: [sgd, {adamw: {weight_decay: {float: [1e-4, 1e-1], log: true}}}]}
params: {temperature: {float: [0, 1]}}
modules:
  InvertedResidualv3: {squeeze_excite: 1, out: {choice: [16, 32]}}
constraints: {downsamplings: [2, 3], min_feature: 4, max_params: 200k}
";

#[test]
fn replaying_the_draws_gives_the_same_bytes() {
    for (name, text) in SHIPPED.into_iter().chain([("rich", RICH)]) {
        let space = space(name, text);
        for number in 0..100 {
            let sample = sampler(&space).sample(number).unwrap_or_else(|error| panic!("{error}"));
            let text = sample.to_yaml();
            let source = SourceText { name: "sample".into(), text: text.clone() };
            let record = ModelSpec::parse(&source, &Blocks::builtin()).unwrap().sample.unwrap();
            // Another seed of the sampler changes nothing.
            let replayed = Sampler { seed: 99, ..sampler(&space) }.replay(&record, &Map::new()).unwrap();
            assert_eq!(replayed.to_yaml(), text, "{name} {number}");
        }
    }
}

#[test]
fn changing_one_draw_changes_only_what_depends_on_it() {
    for (name, text) in SHIPPED {
        let space = space(name, text);
        let values = survey(&space, Budget::default()).values.unwrap();
        let mut changes = 0;
        for number in 0..4 {
            let record = sampler(&space).sample(number).unwrap().file["sample"].clone();
            let before = record["draws"].as_object().unwrap();
            for (draw, value) in before {
                let stated = values.iter().find(|value| value.name == *draw).unwrap();
                let other = (0..stated.distribution.count().unwrap())
                    .map(|index| stated.distribution.value(index))
                    .find(|other| other != value);
                let Some(other) = other else { continue };
                let changed = Map::from_iter([(draw.clone(), other.clone())]);
                let Ok(sample) = sampler(&space).replay(&record, &changed) else {
                    assert_eq!(name, "search_model", "{draw} = {other}");
                    continue;
                };
                changes += 1;
                let after = sample.file["sample"]["draws"].as_object().unwrap();
                assert_eq!(after[draw], other);
                for (kept, value) in after.iter().filter(|(kept, _)| *kept != draw) {
                    match before.get(kept) {
                        // Where strides are placed, one more here may be one less there.
                        Some(old) => assert!(
                            old == value || name == "search_model" && decides_strides(kept),
                            "{name}: {draw} changed {kept}"
                        ),
                        None => assert!(
                            values.iter().any(|value| value.name == *kept && !value.when.is_empty()),
                            "{name}: {draw} brought up {kept}"
                        ),
                    }
                }
                for gone in before.keys().filter(|gone| !after.contains_key(*gone)) {
                    let depends = gone.starts_with(&format!("{draw}.")) || name == "search_model";
                    assert!(depends, "{name}: {draw} removed {gone}");
                }
            }
        }
        assert!(changes > 20, "{name}: {changes}");
    }
}

fn decides_strides(draw: &str) -> bool {
    draw.ends_with(".stride") || !draw.contains('.')
}

#[test]
fn a_changed_record_that_cannot_stand_says_so() {
    let space = space("rich", RICH);
    let record = sampler(&space).sample(0).unwrap().file["sample"].clone();
    for (draw, value, message) in [
        ("stem", json!(17), "wanted a whole number from 16 to 32 in steps of 8, got 17"),
        ("r0.Conv.stride", json!("two"), "wanted one of 1, 2, got \"two\""),
        ("stemm", json!(16), "nothing asks for a draw `stemm`"),
    ] {
        let error = sampler(&space).replay(&record, &Map::from_iter([(draw.to_owned(), value)])).err().unwrap();
        assert!(error.to_string().contains(message), "{error}");
    }
    let error = sampler(&space).replay(&json!({"seed": 1}), &Map::new()).err().unwrap().to_string();
    assert!(error.contains("no `sample:` with `draws:`"), "{error}");
}

#[test]
fn everything_in_one_space_holds_its_constraints() {
    let space = space("rich", RICH);
    let mut optimizers = BTreeSet::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut rejected = 0;
    for number in 0..400 {
        let sample = sampler(&space).sample(number).unwrap();
        rejected += sample.rejected;
        let network = sample.network.unwrap();
        assert!((2..=3).contains(&network.downsamplings()), "{:?}", sample.file);
        assert!(network.smallest_feature() >= 4 && network.params() <= 200_000, "{:?}", sample.file);
        let train = sample.file["train"].as_object().unwrap();
        let with_decay = train.contains_key("weight_decay");
        assert_eq!(train["optimizer"] == "adamw", with_decay, "{train:?}");
        optimizers.insert(train["optimizer"].to_string());
        assert!(sample.file["params"]["temperature"].is_number());
        let draws = sample.file["sample"]["draws"].as_object().unwrap();
        seen.extend(draws.iter().map(|(name, value)| format!("{name}={value}")));
        // A reference gives what the named draw gave.
        for row in sample.file["backbone"].as_array().unwrap() {
            if row[1] == "InvertedResidualv2" {
                assert_eq!((&row[2][0], &row[2][1]), (&draws["stem"], &json!(2)));
            }
        }
    }
    assert_eq!(optimizers.len(), 2);
    for value in ["second=\"Pass\"", "r2=\"Pass\"", "r3.1=\"Pass\"", "cells.mode=\"fixed\"", "stem=16"] {
        assert!(seen.contains(value), "{value} never came: {seen:?}");
    }
    assert!(rejected < 2000, "strides are placed, so only the parameters reject: {rejected}");
}

#[test]
fn values_alone_and_tuned_networks_are_spaces() {
    let space =
        space("values", "params:\n  x: {float: [0, 1]}\n  depth: {int: [1, 3]}\n  kind: [a, {choice: [b, c]}]\n");
    let sample = sampler(&space).sample(0).unwrap();
    assert!(sample.network.is_none());
    assert!(sample.file["params"]["kind"][1].is_string() && !sample.file.contains_key("backbone"));
    assert_eq!(survey(&space, Budget::default()).combinations, Count::Continuous);

    let text = "backbone:\n  - [1, Conv, [16, 3]]\ntrain: {epochs: 5, momentum: 0.8}\n";
    let source = SourceText { name: "cfg.yml".into(), text: text.into() };
    let tuning = "lr=1e-4..1e-1:log,epochs=30..120:10".parse().unwrap();
    let tuned = Space::tune("cfg", &source, &tuning, &Blocks::builtin()).unwrap();
    let mut epochs = BTreeSet::new();
    for number in 0..60 {
        let sample = sampler(&tuned).sample(number).unwrap();
        let train = &sample.file["train"];
        assert_eq!(train["momentum"], 0.8);
        assert!((1e-4..=1e-1).contains(&train["lr"].as_f64().unwrap()));
        epochs.insert(train["epochs"].as_u64().unwrap());
    }
    assert_eq!(epochs, (3..=12).map(|tens| tens * 10).collect());
}

/// Rows of two with strides; 2 (Pass or not) and so on are counted by hand below.
const SMALL: &str = "\
input_size: [16, 16]
backbone:
  - [1, Conv, [{choice: [8, 16]}, 3, {choice: [1, 2]}]]
  - [{int: [1, 2]}, {choice: [Pass, {MaxPool: {kernel: 3}}]}]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

#[test]
fn networks_are_counted_as_by_hand() {
    // Conv: 2 outs × 2 strides; second row: Pass, or pool of 2 strides × 2 repeats.
    let count = |text: &str| survey(&space("small", text), Budget::default());
    assert_eq!(count(SMALL).combinations, Count::Exact((2u8 * 2 * (1 + 2 * 2)).into()));
    // One stride: conv 2 with pass (2), conv 2 with pool of stride 1 (2 × 2 repeats), conv 1 with a
    // pool of stride 2 that is not repeated (2).
    let one = count(&format!("{SMALL}constraints: {{downsamplings: 1}}\n"));
    assert_eq!((one.combinations, one.distinct), (Count::Exact((2u8 + 4 + 2).into()), Some(8)));
    // 16, 8, 4 pixels: at most two strides, so conv 2 with two pools of stride 2 is out.
    let side = count(&format!("{SMALL}constraints: {{min_feature: 4}}\n"));
    assert_eq!(side.combinations, Count::Exact((20u8 - 2).into()));
    // 16 channels have 16·27 + 32 + 170 parameters, 8 have 8·27 + 16 + 90.
    let [fewest, most, ..] = side.extremes.unwrap();
    assert_eq!((fewest.cost.params, most.cost.params), (322, 634));
    let budget = Budget { max_params: Some(400), max_macs: None };
    assert_eq!(survey(&space("small", SMALL), budget).fits, Some(Count::Exact(10u8.into())));
    // The same as a constraint: it rejects, and the rest is counted.
    let few = count(&format!("{SMALL}constraints: {{max_params: 400}}\n"));
    assert_eq!((few.combinations, few.networks), (Count::Exact(20u8.into()), Count::Exact(10u8.into())));
    // Every stage at least as many cells as the one before: 3 + 2 + 1 ways to draw two numbers of 1 to 3.
    let rising = "backbone:\n  - cells: {stages: 2, mode: growing, grows: nondecreasing, n: {int: [1, 3]}, \
                  nc: {Conv: {out: 16, kernel: 3, activation: ReLU}}, rc: MaxPool}\n";
    assert_eq!(count(rising).combinations, Count::Exact(6u8.into()));
}

#[test]
fn an_estimate_covers_the_number_that_it_estimates() {
    // 8 × 8 × 8 × 16 networks; what fits is known from the formula for the parameters.
    let text = "input_size: [8, 8]\nbackbone:\n  - [1, FixedConv, [{int: [1, 8]}, 1]]\n  - [1, FixedConv, [{int: [1, 8]}, 1]]\n  \
                - [1, FixedConv, [{int: [1, 8]}, 1]]\n  - [1, FixedConv, [{int: [1, 16]}, 1]]\n";
    let mut fit = 0u32;
    for (a, b) in (1..=8u32).flat_map(|a| (1..=8).map(move |b| (a, b))) {
        for (c, d) in (1..=8).flat_map(|c| (1..=16).map(move |d| (c, d))) {
            let params = 3 * a + a * b + b * c + c * d + 2 * (a + b + c + d);
            fit += u32::from(params <= 150);
        }
    }
    let budget = Budget { max_params: Some(150), max_macs: None };
    let survey = survey(&space("plain", text), budget);
    assert_eq!(survey.networks, Count::Exact((8u32 * 8 * 8 * 16).into()));
    let Some(Count::Estimate { interval: [low, high], .. }) = survey.fits else { panic!("{survey:?}") };
    assert!((low..high).contains(&f64::from(fit)) && high / low < 1.5, "{low} {fit} {high}");
    let [fewest, most, ..] = survey.extremes.unwrap();
    assert_eq!((fewest.cost.params, most.cost.params), (3 + 3 + 8, 24 + 64 + 64 + 128 + 80));
}

#[test]
fn what_people_read_of_a_space() {
    let mut report = String::new();
    for (name, text) in [("small", format!("{SMALL}constraints: {{downsamplings: [1, 2]}}\n")), ("rich", RICH.into())] {
        let budget = Budget { max_params: Some(100_000), max_macs: None };
        let survey = survey(&space(name, &text), budget);
        report += &format!("{}\n\n", space_report(name, &survey));
    }
    golden::check("space.txt", &report);
}

#[test]
fn parts_that_no_network_can_have_are_errors() {
    let cases = [
        // A Linear on an image.
        "backbone:\n  - [1, Conv, [8, 3]]\n  - {choice: [[[1, GlobalAvgPool, []], [1, Flatten, []], [1, Linear, [10]]], [[1, Linear, [10]]]]}\n",
        "backbone:\n  - [1, Conv, [{int: [8, 64], step: 8}, 3]]\nconstraints: {max_params: 100}\n",
        "backbone:\n  - [1, Conv, [{choice: [8, 16]}, {choice: [3, 99]}, 1, 0]]\n",
        "backbone:\n  - [1, Linear, [{choice: [8, 16]}]]\n",
    ];
    let mut report = String::new();
    for text in cases {
        let space = space("space", text);
        let error = Surveyor { sampler: sampler(&space) }.survey().err().unwrap_or_else(|| panic!("accepted:\n{text}"));
        report += &format!("{error}\n\n");
    }
    golden::check("impossible_parts.txt", &report);
}

#[test]
fn shipped_spaces_say_how_many_they_hold() {
    let held: Vec<Value> = SHIPPED
        .into_iter()
        .map(|(name, text)| match survey(&space(name, text), Budget::default()).networks {
            Count::Exact(count) => json!([name, count.to_string()]),
            other => panic!("{name}: {other:?}"),
        })
        .collect();
    // A normal cell: Conv 4·3·3, DWConv 4·2·3, Bottleneck 8·2·4·3, InvertedResidualv2 8·6, MBConv 6·8·2.
    let normal = 36 + 24 + 192 + 48 + 96u64;
    // A reduction cell: InvertedResidualv2 8·6, InvertedResidualv3 3·6·8·2·2, two pools.
    let reduction = 48 + 576 + 2;
    let free = (5 * normal * reduction).pow(2) * 5 * normal;
    assert_eq!(held[0], json!(["cells", (3 * 2 * u128::from(free)).to_string()]));
    assert_eq!(held[1], json!(["lecture_fixed", (5 * normal * reduction).to_string()]));
    assert_eq!(held[2], json!(["lecture_growing", (5 * 9 * 13 * normal * reduction).to_string()]));
    assert_eq!(held[3], json!(["lecture_free", free.to_string()]));
}

#[test]
fn the_space_of_the_readme_is_one() {
    let readme = std::fs::read_to_string(crate::repository("README.md")).unwrap();
    let section = &readme[readme.find("## A search space in five steps").unwrap()..];
    let parts: Vec<&str> =
        section.split("```yaml\n").skip(1).take(4).map(|part| &part[..part.find("```").unwrap()]).collect();
    let [values, rows, cells, rest] = parts[..] else { panic!("four steps have YAML: {parts:?}") };
    // The rows of the second and third step go before the head of the first.
    let stem = values.find("  - [1, GlobalAvgPool").unwrap();
    let text = format!("{}{cells}{rows}{rest}", &values[..stem]);
    let space = space("readme", &text);
    for number in 0..50 {
        assert!(sampler(&space).sample(number).is_ok());
    }
    let first = self::space("first", values);
    assert!(sampler(&first).sample(0).is_ok());
}

#[test]
fn settings_are_counted_beside_networks() {
    let settings = "train: {epochs: {int: [1, 10]}, optimizer: {choice: [sgd, {adamw: {beta1: {choice: [0.8, 0.9]}}}]}}\n\
                    params: {a: {choice: [1, 2, 3]}}\n";
    let exact = |number: u32| Count::Exact(number.into());
    let both = survey(&space("both", &format!("{SMALL}{settings}")), Budget::default());
    // Ten epochs, sgd or adamw with two values of beta1, three of a.
    assert_eq!((both.networks, both.settings, both.specs), (exact(20), exact(90), exact(1800)));
    let none = survey(&space("none", SMALL), Budget::default());
    assert_eq!((none.networks, none.settings, none.specs), (exact(20), exact(1), exact(20)));
    let alone = survey(&space("alone", "params: {a: {choice: [1, 2, 3]}, b: {int: [0, 4]}}\n"), Budget::default());
    assert_eq!((alone.networks, alone.settings, alone.specs), (exact(0), exact(15), exact(15)));
    let real = survey(&space("real", &format!("{SMALL}params: {{x: {{float: [0, 1]}}}}\n")), Budget::default());
    assert_eq!((real.networks, real.settings, real.specs), (exact(20), Count::Continuous, Count::Continuous));
}

#[test]
fn a_network_measures_what_its_layers_come_to() {
    for (name, text) in SHIPPED.into_iter().chain([("rich", RICH)]) {
        let space = space(name, text);
        let mut scale = Scale::default();
        for number in 0..150 {
            let mut draw = nasgen::space::RandomDraw::new(nasgen::chance::Chance::new(1, "measured", number));
            let Attempt::Drawn(file, Some(network)) = sampler(&space).attempt(&mut draw, number) else { continue };
            let source = SourceText { name: "sample".into(), text: emit(&file) };
            let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap();
            let expected = Measured {
                params: network.params(),
                macs: network.macs(),
                downsamplings: network.downsamplings(),
                smallest_feature: network.smallest_feature(),
            };
            assert_eq!(scale.measure(&spec, network.input), Some(expected), "{name} {number}");
        }
    }
    for rows in [
        "[1, Linear, [10]]",
        "[1, FixedConv, [1000000, 1]]\n  - [1, FixedConv, [1000000, 1]]",
        "[-1, 1, Conv, [8, 3]]\n  - [-1, 1, Conv, [8, 3]]\n  - [0, 1, Conv, [8, 3]]",
        "[-1, 1, Conv, [8, 3]]\n  - [[-1, 0, -2], 1, Conv, [8, 3]]",
        "[900, Bottleneck, [16]]\n  - [900, Bottleneck, [16]]\n  - [900, Bottleneck, [16]]",
        "[-1, 1, Conv, [8, 3]]\n  - [-1, 2, Conv, [8, 3]]\n  - [[-1, 0], 1, Concat, []]\n  - [-1, 1, GlobalAvgPool, []]",
    ] {
        let source = SourceText { name: "spec".into(), text: format!("backbone:\n  - {rows}\n") };
        let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
        let input = Shape::image(3, 32, 32);
        let planned = Network::plan(&spec, input).ok().map(|network| (network.params(), network.smallest_feature()));
        let measured = Scale::default().measure(&spec, input).map(|network| (network.params, network.smallest_feature));
        assert_eq!(measured, planned, "{rows}");
    }
}

/// The middle one of many draws, network planned and file made, in the best of a few rounds: other
/// programs may be busy. Tests are not optimised as the program is.
#[test]
fn drawing_a_network_takes_under_a_millisecond() {
    let most = Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 });
    for (name, text) in SHIPPED {
        let space = space(name, text);
        let round = |round: u64| {
            let mut times: Vec<Duration> = (0..51)
                .map(|number| {
                    let began = Instant::now();
                    assert!(sampler(&space).sample(round * 51 + number).is_ok());
                    began.elapsed()
                })
                .collect();
            times.sort();
            times[25]
        };
        let best = (0..8).map(round).find(|middle| *middle < most);
        assert!(best.is_some(), "{name}: no round was under {most:?}");
    }
}

/// Seconds that this thread has computed, whatever else the machine does; 0 where the system does not say.
fn processor_seconds() -> f64 {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::{
            resource::{UsageWho, getrusage},
            time::TimeValLike,
        };
        getrusage(UsageWho::RUSAGE_THREAD).unwrap().user_time().num_microseconds() as f64 * 1e-6
    }
    #[cfg(not(target_os = "linux"))]
    0.0
}

#[test]
fn a_space_of_very_deep_networks_is_surveyed_in_no_time() {
    let text = "backbone:\n  - cells: {stages: 12, n: {int: [1, 100]}, nc: {choice: [Conv, DWConv, Bottleneck, \
                InvertedResidualv2, MBConv]}, rc: {choice: [InvertedResidualv2, InvertedResidualv3, MaxPool, AvgPool]}}\n  \
                - [1, GlobalAvgPool, []]\n";
    let began = processor_seconds();
    let space = space("deep", text);
    let survey = survey(&space, Budget::default());
    // In this profile 1.1 s, and 32 s when every layer is written down.
    let took = processor_seconds() - began;
    assert!(took < 5.0, "{took} s");
    let [fewest, most, ..] = survey.extremes.unwrap();
    assert!(most.cost.params > 1000 * fewest.cost.params, "{fewest:?} {most:?}");
}

#[test]
fn many_ways_take_no_time() {
    let text = "backbone:\n  - cells: {stages: 12, mode: growing, grows: nondecreasing, n: {int: [1, 100]}, \
                nc: DWConv, rc: MaxPool}\n  - [1, GlobalAvgPool, []]\ninput_size: [4096, 4096]\n\
                constraints: {downsamplings: 11}\n";
    let began = Instant::now();
    let space = space("ways", text);
    assert!(sampler(&space).sample(0).is_ok());
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

/// Pieces of spaces in any order.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("backbone:\n"),
        Just("  - [1, Conv, [{int: [8, 16], step: 8, name: a}, 3, {choice: [1, 2]}]]\n"),
        Just("  - [{ref: a}, {choice: [Pass, Conv, {MBConv: {out: {ref: a}}}], name: b}]\n"),
        Just("  - {choice: [Pass, [[1, Conv], [1, {ref: b}]], {cells: {n: 1, nc: Conv, rc: MaxPool}}]}\n"),
        Just(
            "  - cells: {stages: {int: [1, 3]}, mode: {choice: [free, fixed]}, n: {int: [1, \"2*i\"]}, nc: DWConv, rc: AvgPool}\n"
        ),
        Just("constraints: {downsamplings: [0, 3], min_feature: 2}\n"),
        Just("modules: {Conv: {out: {int: [8, 8]}}}\n"),
        Just("train: {lr: {float: [1e-3, 1], log: true}, optimizer: {choice: [sgd, {adamw: {lr: 1}}]}}\n"),
        Just("params: {x: {choice: [[], {}, null]}}\n"),
        Just("blocks: {B: {args: {k: {int: 3, draw: {int: [1, 3]}}}, layers: [{depthwise: k}, B]}}\n"),
        Just("input_size: {choice: [4, [8, 8]]}\n"),
        Just("{"),
        Just("]"),
        Just(": "),
        Just("Pass"),
        Just("{int: [1, -1]}"),
        Just("{float: [0, 1e308], step: 1e-308}"),
        Just("{int: [\"1/0\", \"i\"]}"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_fragments_never_panic(text in fragments()) {
        survive(&text);
    }

    #[test]
    fn a_good_space_with_a_damaged_place_never_panics(
        at in 0..RICH.len(),
        removed in 0..12usize,
        inserted in prop_oneof![Just("-999999999999".to_owned()), Just("{choice: [1, 2]}".to_owned()), "[0-9\\[\\]{},:\\-]{0,8}"],
    ) {
        let end = (at + removed).min(RICH.len());
        survive(&format!("{}{inserted}{}", &RICH[..at], &RICH[end..]));
    }
}

/// Reads a space and draws from it; it may be refused, but must not panic.
fn survive(text: &str) {
    if let Ok(space) = read("fuzz", text) {
        let mut draw = nasgen::space::RandomDraw::new(nasgen::chance::Chance::new(0, "fuzz", 0));
        let _ = sampler(&space).attempt(&mut draw, 0);
    }
}
