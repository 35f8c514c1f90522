//! What a spec's reader accepts, and what it says of what it does not.

use crate::{golden, repository};
use nasgen::{
    network::Network,
    spec::{ModelSpec, SourceText, SpecError},
};
use nasgen_modules::{Blocks, Shape};
use proptest::prelude::*;
use std::{fs, time::Instant};

const GOOD: &str = "\
input_channel: 3
input_size: [32, 32]
depth_multiply: 1.0
width_multiply: 1.0
backbone:
  - [1, Conv, [16, 3, 2, null, 1, Hardswish]]
  - [2, InvertedResidualv3, [3, 4, 24, 0, 0, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
train: {epochs: 60, lr: 0.01}
";

/// The error of a spec whose rows are `rows`.
const fn rows(rows: &'static str) -> (&'static str, &'static str) {
    ("backbone:\n", rows)
}

/// What precedes the text, and the text.
type Case = (&'static str, &'static str);

const WRONG: &[(&str, Case)] = &[
    ("empty file", ("", "")),
    ("only a comment", ("", "# nothing\n")),
    ("not a map", ("", "- 1\n- 2\n")),
    ("unclosed list", rows("  - [1, Conv, [16, 3]\n")),
    ("tab for indentation", ("", "backbone:\n\t- [1, Conv, [16, 3]]\n")),
    ("key twice", ("", "backbone: []\nbackbone: []\n")),
    ("tag", rows("  - [1, !!str Conv, [16, 3]]\n")),
    ("two documents", ("", "backbone:\n  - [1, Conv, [16, 3]]\n---\nbackbone: 1\n")),
    ("no backbone", ("", "input_channel: 3\n")),
    ("backbone is a word", ("", "backbone: Conv\n")),
    ("backbone is empty", ("", "backbone: []\n")),
    ("misspelt key", ("input_chanel: 3\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("key of a space", ("modules: {}\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("strange key", ("zebra: 1\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("both spellings", ("depth_multiply: 1\ndepth_multiple: 2\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("word for a number", ("width_multiply: wide\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("width 0", ("width_multiply: 0\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("NaN", ("width_multiply: .nan\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("infinite argument", rows("  - [1, Conv, [.inf, 3]]\n")),
    ("channel 0", ("input_channel: 0\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("one side", ("input_size: [32]\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("norm with a strange key", ("norm: {epsilon: 1}\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("norm out of range", ("norm: {eps: -1}\nbackbone:\n", "  - [1, Conv, [16, 3]]\n")),
    ("row is a word", rows("  - Conv\n")),
    ("row of two", rows("  - [1, Conv]\n")),
    ("row of six", rows("  - [-1, 1, Conv, [16, 3], {}, 1]\n")),
    ("row of four without from", rows("  - [1, Linear, [10], {activation: ReLU}]\n")),
    ("row is a map", rows("  - {repeat: 1, module: Conv}\n")),
    ("repeat 0", rows("  - [0, Conv, [16, 3]]\n")),
    ("negative repeat", rows("  - [-2, Conv, [16, 3]]\n")),
    ("repeat is a fraction", rows("  - [1.5, Conv, [16, 3]]\n")),
    ("huge repeat", rows("  - [1000000000, Conv, [16, 3]]\n")),
    ("unknown module", rows("  - [1, Convv, [16, 3]]\n")),
    ("wrong case", rows("  - [1, inverted_residual_v3, [3, 4, 24, 0, 0, 2]]\n")),
    ("nothing like it", rows("  - [1, Transformer, [3]]\n")),
    ("module is a number", rows("  - [1, 7, [16, 3]]\n")),
    ("arguments are a number", rows("  - [1, Conv, 16]\n")),
    ("missing argument", rows("  - [1, Conv, [16]]\n")),
    ("surplus argument", rows("  - [1, Linear, [10, null, 3]]\n")),
    ("no arguments taken", rows("  - [1, Flatten, [1]]\n")),
    ("word for a channel", rows("  - [1, Conv, [sixteen, 3]]\n")),
    ("fraction of a channel", rows("  - [1, Conv, [16.5, 3]]\n")),
    ("null for a channel", rows("  - [1, Conv, [null, 3]]\n")),
    ("kernel 0", rows("  - [1, Conv, [16, 0]]\n")),
    ("unknown activation", rows("  - [1, Conv, [16, 3, 1, null, 1, relu]]\n")),
    ("stride 3", rows("  - [1, InvertedResidualv2, [16, 6, 3]]\n")),
    ("flag 2", rows("  - [1, InvertedResidualv3, [3, 4, 24, 2, 0, 2]]\n")),
    ("misspelt named argument", rows("  - [1, Conv, {out: 16, kernl: 3}]\n")),
    ("given twice", rows("  - [-1, 1, Conv, [16, 3], {kernel: 5}]\n")),
    ("kernel larger than image", rows("  - [1, Conv, [16, 64, 1, 0]]\n")),
    ("groups that do not divide", rows("  - [1, Conv, [16, 3, 1, null, 2]]\n")),
    ("pool padding", rows("  - [1, MaxPool, [2, 2, 2]]\n")),
    ("image shrinks away", rows("  - [7, MaxPool, [2]]\n")),
    ("linear on an image", rows("  - [1, Conv, [16, 3]]\n  - [1, Linear, [10]]\n")),
    ("convolution on a vector", rows("  - [1, Flatten, []]\n  - [1, Conv, [16, 3]]\n")),
    ("odd channels to shuffle", rows("  - [1, ShuffleNetV2, [1]]\n")),
    ("linear repeated", rows("  - [1, Flatten, []]\n  - [2, Linear, [10]]\n")),
    ("indices of a pool", rows("  - [1, MaxPool, [2, 2, 0, 1, true]]\n")),
    ("from a later row", rows("  - [3, 1, Conv, [16, 3]]\n")),
    ("from before the image", rows("  - [-3, 1, Conv, [16, 3]]\n")),
    ("from is a word", rows("  - [last, 1, Conv, [16, 3]]\n")),
    (
        "unequal shapes to add",
        rows("  - [-1, 1, Conv, [16, 3]]\n  - [-1, 1, Conv, [24, 3]]\n  - [[0, 1], 1, Add, []]\n"),
    ),
    ("two inputs for one", rows("  - [-1, 1, Conv, [16, 3]]\n  - [[-1, -2], 1, Conv, [16, 3]]\n")),
    ("number in quotes", rows("  - [1, Conv, [16, \"3\"]]\n")),
    ("number too large", rows("  - [1, Conv, [16777216, 3]]\n")),
    ("list for a channel", rows("  - [1, Conv, [[16], 3]]\n")),
    ("one shape to add", rows("  - [-1, 1, Conv, [16, 3]]\n  - [-1, 1, Add, []]\n")),
    (
        "row that nothing reads",
        rows("  - [-1, 1, Conv, [16, 3]]\n  - [-1, 1, Conv, [16, 3]]\n  - [0, 1, Conv, [16, 3]]\n"),
    ),
    ("too many parameters", rows("  - [1, FixedConv, [1000000, 1]]\n  - [1, FixedConv, [1000000, 1]]\n")),
    ("too many multiply-adds", rows("  - [1, FixedConv, [100000, 99]]\n  - [9, FixedConv, [3000, 3]]\n")),
    ("train is a list", rows("  - [1, Conv, [16, 3]]\ntrain: [1]\n")),
    ("misspelt setting", rows("  - [1, Conv, [16, 3]]\ntrain: {epoch: 3}\n")),
    ("setting out of range", rows("  - [1, Conv, [16, 3]]\ntrain: {epochs: 3, lr: -1, optimizer: adamm}\n")),
    ("older setting out of range", rows("  - [1, Conv, [16, 3]]\nEPOCHS: -5\n")),
    ("a set of values", rows("  - [1, Conv, [{int: [8, 16]}, 3]]\ntrain: {epochs: many}\n")),
    ("a set of training settings", rows("  - [1, Conv, [8, 3]]\ntrain: {lr: {float: [0.1, 1]}}\n")),
    ("cells", rows("  - [1, Conv, [8, 3]]\n  - cells: {n: 1, nc: Conv, rc: MaxPool}\n")),
    ("an absent row", rows("  - [1, Pass, []]\n")),
    ("a misspelt argument is not missing too", rows("  - [1, Conv, {otu: 8, kernel: 3}]\n")),
    (
        "a setting that the optimizer does not use",
        rows("  - [1, Conv, [8, 3]]\ntrain: {optimizer: adamw, momentum: 0.8}\n"),
    ),
    ("an unknown augmentation", rows("  - [1, Conv, [8, 3]]\ntrain: {augment: flp}\n")),
    (
        "four mistakes at once",
        ("input_chanel: 3\nbackbone:\n", "  - [0, Conv, [16, 3]]\n  - [1, Linaer, [10]]\n  - [1, Conv, [x, y]]\n"),
    ),
];

/// What `nasgen show` says of a text.
fn error_of(text: &str) -> Option<String> {
    let source = SourceText { name: "cfg.yml".into(), text: text.to_owned() };
    let spec = match ModelSpec::parse(&source, &Blocks::builtin()) {
        Ok(spec) => spec,
        Err(error) => return Some(error.to_string()),
    };
    let [height, width] = spec.input_size.unwrap_or([32, 32]);
    let planned = Network::plan(&spec, Shape::image(spec.input_channel, height, width));
    planned.err().map(|diagnostic| source.error(vec![diagnostic]).to_string())
}

#[test]
fn wrong_specs_get_the_documented_errors() {
    assert_eq!(error_of(GOOD), None);
    let mut report = String::new();
    for (name, (head, tail)) in WRONG {
        let text = format!("{head}{tail}");
        let error = error_of(&text).unwrap_or_else(|| panic!("`{name}` is accepted:\n{text}"));
        report += &format!("=== {name}\n{error}\n\n");
    }
    golden::check("wrong_specs.txt", &report);
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cfg.yml");
    for (bytes, message) in [(vec![0xff, 0xfe, 0], "not a text file"), (vec![b'#'; 2 << 20], "at most 1048576 bytes")] {
        fs::write(&path, bytes).unwrap();
        let Err(SpecError::Unreadable { problem, name }) = SourceText::read(&path) else { panic!("{message}") };
        assert!(problem.contains(message) && name.ends_with("cfg.yml"), "{problem}");
    }
    let missing = SourceText::read(&folder.path().join("no.yml")).unwrap_err().to_string();
    assert!(missing.contains("no.yml") && SourceText::read(folder.path()).is_err(), "{missing}");
}

#[test]
fn spellings_aliases_and_older_settings_mean_the_same() {
    let variants = [
        GOOD.replace("depth_multiply", "depth_multiple").replace("width_multiply", "width_multiple"),
        GOOD.replace("[16, 3, 2, null, 1, Hardswish]", "{out: 16, kernel: 3, stride: 2, activation: HardSwish}"),
        GOOD.replace("[16, 3, 2, null, 1, Hardswish]", "[16, 3, 2, [1], 1, \"HardSwish\"]"),
        GOOD.replace("  - [1, Flatten, []]", "  - - 1\n    - 'Flatten'\n    -"),
        GOOD.replace("- [1, GlobalAvgPool, []]", "- &pool [1, GlobalAvgPool, []]"),
        GOOD.replace("train: {epochs: 60, lr: 0.01}", "EPOCHS: 60\nINIT_LR: 0.01"),
        GOOD.replace("  - [1, Linear, [10]]\n", "head:\n  - [1, Linear, [10]]\n"),
    ];
    let plan = |text: &str| {
        let source = SourceText { name: "cfg.yml".into(), text: text.to_owned() };
        let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
        (Network::plan(&spec, Shape::image(3, 32, 32)).unwrap().layers, spec.train)
    };
    for variant in variants {
        assert_eq!(plan(&variant), plan(GOOD), "{variant}");
    }
}

#[test]
fn files_in_kindles_form_keep_kindles_rules() {
    let text = "backbone:\n  - [-1, 1, Conv, [50, 3]]\n  - [-1, 1, GlobalAvgPool, []]\n\
                head:\n  - [-1, 1, Conv, [50, 1]]\n  - [-1, 1, Flatten, []]\n";
    let source = SourceText { name: "kindle.yml".into(), text: text.into() };
    let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap();
    let network = Network::plan(&spec, Shape::image(3, 8, 8)).unwrap();
    let channels: Vec<usize> = network.rows.iter().map(|row| row.output.channels()).collect();
    assert_eq!(channels, [56, 56, 50, 50], "up to a multiple of 8 in the backbone, as written in the head");
}

#[test]
fn every_shipped_spec_reads_back_as_itself() {
    for path in model_configs() {
        let source = SourceText::read(&path).unwrap();
        let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
        let again = SourceText { name: "again".into(), text: spec.to_yaml() };
        let again = ModelSpec::parse(&again, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
        let [height, width] = spec.input_size.unwrap_or([32, 32]);
        let input = Shape::image(spec.input_channel, height, width);
        assert_eq!(
            Network::plan(&spec, input).unwrap().layers,
            Network::plan(&again, input).unwrap().layers,
            "{}",
            path.display()
        );
    }
}

/// Every spec in `model_configs/`.
pub(crate) fn model_configs() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(repository("model_configs")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// Reads and plans `text`; it may be refused, but neither panic nor take long.
fn survive(text: &str) {
    let began = Instant::now();
    let _ = error_of(text);
    assert!(began.elapsed().as_secs_f64() < 2.0, "{} took {:?}", &text[..text.len().min(200)], began.elapsed());
}

/// Pieces of specs in any order.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("backbone:\n".to_owned()),
        Just("  - [1, Conv, [16, 3]]\n".to_owned()),
        Just("  - [2, MBConv, {expansion: 6, out: 24, stride: 1, kernel: 3}]\n".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("{".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just(": ".to_owned()),
        Just("- ".to_owned()),
        Just("\n".to_owned()),
        Just("? ".to_owned()),
        Just("1e999".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("0x7fffffffffffffff".to_owned()),
        Just(".nan".to_owned()),
        Just("\u{feff}".to_owned()),
        "[ -~äß\u{1F600}]{0,12}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_texts_never_panic(text in "\\PC{0,400}") {
        survive(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn shuffled_fragments_never_panic(text in fragments()) {
        survive(&text);
    }

    #[test]
    fn a_good_file_with_a_damaged_place_never_panics(
        at in 0..GOOD.len(),
        removed in 0..12usize,
        inserted in prop_oneof![Just("-999999999999".to_owned()), Just("1e308".to_owned()), "\\PC{0,6}", "[0-9\\[\\]{},:\\-]{0,8}"],
    ) {
        let end = (at + removed).min(GOOD.len());
        survive(&format!("{}{inserted}{}", &GOOD[..at], &GOOD[end..]));
    }

    #[test]
    fn numbers_of_any_size_never_panic(
        block in 0..24usize,
        values in prop::collection::vec(prop_oneof![Just(0i64), Just(1), Just(2), Just(3), Just(64), Just(1 << 20), any::<i64>()], 0..9),
        width in prop_oneof![Just(1.0), Just(0.001), Just(100.0)],
    ) {
        let blocks = Blocks::builtin();
        let block = blocks.iter().nth(block % blocks.iter().count()).map(|block| block.name()).unwrap_or_default();
        survive(&format!("width_multiply: {width}\nbackbone:\n  - [3, {block}, {values:?}]\n  - [1, {block}, {values:?}]\n"));
    }
}

#[test]
fn deep_nesting_and_alias_bombs_are_refused_at_once() {
    survive(&"[".repeat(1 << 20));
    survive(&"- ".repeat(1 << 19));
    survive(&"a: {".repeat(1 << 18));
    let bomb = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "))
    });
    survive(&bomb);
    survive(&format!("backbone:\n{}", "  - [1000, InvertedResidualv3, [3, 6, 64, 1, 1, 1]]\n".repeat(900)));
    survive(&format!("backbone:\n{}", "  - [1, Conv, [16, 3]]\n".repeat(40_000)));
}
