//! The program as a user meets it: output, exit codes, files.

use crate::{golden, repository};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Runs `nasgen` in `folder`: exit code, stdout, stderr.
pub(crate) fn nasgen(folder: &Path, arguments: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    let output = command.args(arguments.split_whitespace()).current_dir(folder).env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const SPEC: &str = "\
backbone:
  - [1, Conv, [50, 3, 2, 0]]
  - [3, InvertedResidualv3, [3, 4, 24, 1, 1, 2]]
  - [1, MBConv, [64, 6, 1, 3]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

#[test]
fn show_prints_the_table() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    let (code, stdout, stderr) = nasgen(folder.path(), "show cfg.yml");
    assert_eq!((code, stderr.as_str()), (0, ""));
    golden::check("show.txt", &stdout);
}

#[test]
fn show_gives_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    let (code, stdout, _) = nasgen(folder.path(), "show cfg.yml --json --input 1x48x64");
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &shown["input"]), (0, &serde_json::json!([1, 48, 64])));
    let layers = shown["layers"].as_array().unwrap();
    assert_eq!(
        (layers.len(), layers[1]["repeat"].as_u64(), &layers[1]["module"]),
        (6, Some(3), &"InvertedResidualv3".into())
    );
    for total in ["params", "macs"] {
        let sum: u64 = layers.iter().map(|layer| layer[total].as_u64().unwrap()).sum();
        assert_eq!(shown[total].as_u64(), Some(sum));
    }
    assert_eq!(layers[5]["output"], serde_json::json!([10]));
}

#[test]
fn bench_times_training_and_scoring() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    for (flags, mode, executor) in [
        ("", "infer", "engine"),
        ("--train --optimizer adamw", "train", "engine"),
        ("--executor reference", "infer", "reference"),
    ] {
        let arguments = format!("bench cfg.yml --json --seconds 0.05 --batch 4 --threads 1 --input 3x16x16 {flags}");
        let (code, stdout, stderr) = nasgen(folder.path(), &arguments);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let measured: Value = serde_json::from_str(&stdout).unwrap();
        let number = |value: &Value| value.as_f64().unwrap();
        assert_eq!((&measured["mode"], &measured["executor"]), (&mode.into(), &executor.into()));
        assert_eq!(
            (&measured["batch"], &measured["threads"], &measured["device"]),
            (&4.into(), &1.into(), &"cpu".into())
        );
        let (median, least) = (number(&measured["step_ms"]["p50"]), number(&measured["step_ms"]["min"]));
        assert!(0.0 < least && least <= median, "{measured}");
        assert!((number(&measured["images_per_second"]) / (4000.0 / median) - 1.0).abs() < 1e-9, "{measured}");
        assert!(number(&measured["peak_bytes"]) > 1e6, "{measured}");
    }
    let (code, stdout, _) = nasgen(folder.path(), "bench cfg.yml --seconds 0.05");
    assert!(code == 0 && stdout.contains("images/s"), "{stdout}");
    let (code, _, stderr) = nasgen(folder.path(), "bench cfg.yml --train --optimizer sdg");
    assert!(code == 2 && stderr.contains("--optimizer") && stderr.contains("sgd"), "{stderr}");
}

#[test]
fn bench_says_what_the_data_cost() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    let bench = "bench cfg.yml --seconds 0.05 --batch 4 --input 3x16x16 --data synthetic";
    let (code, stdout, stderr) = nasgen(folder.path(), &format!("{bench} --train --augment trivial --json"));
    assert_eq!(code, 0, "{stderr}");
    let data = serde_json::from_str::<Value>(&stdout).unwrap()["data"].clone();
    let number = |name: &str| data[name].as_f64().unwrap();
    let (real, noise) = (number("images_per_second"), number("synthetic_images_per_second"));
    assert!(real > 0.0 && (number("loss_percent") - 100.0 * (1.0 - real / noise)).abs() < 1e-9, "{data}");
    assert_eq!((&data["name"], &data["images"]), (&"synthetic".into(), &2000.into()));
    let (code, stdout, _) = nasgen(folder.path(), &format!("{bench} --train"));
    assert!(code == 0 && stdout.contains("from 2,000 images in memory") && stdout.contains("% lost"), "{stdout}");
    for (wrong, message) in [
        (bench.to_owned(), "--train"),
        (format!("{bench} --train --augment trivail"), "did you mean `trivial`?"),
        ("bench cfg.yml --train --augment trivial".to_owned(), "--data"),
    ] {
        let (code, _, stderr) = nasgen(folder.path(), &wrong);
        assert!(code == 2 && stderr.contains(message), "{wrong}: {stderr}");
    }
}

#[test]
fn modules_are_listed_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (_, list, _) = nasgen(folder.path(), "modules");
    let (_, one, _) = nasgen(folder.path(), "modules InvertedResidualv3");
    golden::check("modules.txt", &format!("{list}\n{one}"));
    let (code, _, stderr) = nasgen(folder.path(), "modules Covn");
    assert_eq!(code, 2);
    assert!(stderr.contains("unknown module `Covn`"), "{stderr}");
}

#[test]
fn sample_writes_files_or_prints_and_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let (code, printed, _) = nasgen(folder.path(), "sample --seed 3 --max-macs 20M");
    assert_eq!(code, 0);
    let (code, _, _) = nasgen(folder.path(), "sample --seed 3 --max-macs 20M --out one.yml");
    assert_eq!((code, fs::read_to_string(folder.path().join("one.yml")).unwrap()), (0, printed));

    let (code, stdout, _) = nasgen(folder.path(), "sample --count 3 --out many --json");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, result["drawn"].as_u64(), result["written"].as_array().unwrap().len()), (0, Some(3), 3));
    assert!(folder.path().join("many/0003.yml").is_file());

    let (code, stdout, _) = nasgen(folder.path(), "sample --max-params 10 --json");
    let error: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, error["error"]["code"].as_u64()), (5, Some(5)));
    assert!(error["error"]["message"].as_str().unwrap().contains("the smallest found has"));
}

#[test]
fn a_sample_replays_with_the_shape_that_it_was_drawn_for() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("space.yml", &format!("input_size: {{choice: [[32, 32], [48, 48]]}}\n{SPEC}"));
    nasgen(folder.path(), "sample space.yml --input 3x16x16 --out one.yml");
    nasgen(folder.path(), "sample space.yml --replay one.yml --out two.yml");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("one.yml").contains("[16, 16]"), "{}", read("one.yml"));
    assert_eq!(read("one.yml"), read("two.yml"));

    write("plain.yml", SPEC);
    let (code, _, stderr) = nasgen(folder.path(), "sample space.yml --replay plain.yml");
    assert!(code == 2 && stderr.contains("has no `sample:`"), "{stderr}");
    // A name with a dot could be that of a draw which a block makes.
    write("dotted.yml", "backbone:\n  - [1, Conv, [{int: [16, 32], name: r1.Conv.out}]]\n  - [1, Conv]\n");
    let (code, _, stderr) = nasgen(folder.path(), "space dotted.yml");
    assert!(code == 2 && stderr.contains("name: wanted a word"), "{stderr}");
}

#[test]
fn a_dash_is_stdout_and_a_stdout_that_fails_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (code, printed, _) = nasgen(folder.path(), "sample --out -");
    assert!(code == 0 && printed.contains("backbone:") && !folder.path().join("-").exists());
    if Path::new("/dev/full").exists() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
        let status = command.arg("modules").stdout(full).stderr(std::process::Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1));
    }
}

#[cfg(unix)]
#[test]
fn training_goes_on_when_nobody_reads_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.args(["train", "cfg.yml", "--input", "3x8x8", "--epochs", "1", "--run", "out"]).current_dir(folder.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stderr(writer).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
    let model = fs::read_to_string(folder.path().join("out/model.yaml")).unwrap();
    assert!(model.contains("input_size: [8, 8]"), "what --input changed is in the run's model");
}

#[test]
fn a_norm_that_would_see_one_value_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), "backbone:\n  - [1, GlobalAvgPool, []]\n  - [1, FixedConv, [10, 1]]\n")
        .unwrap();
    let (code, _, stderr) = nasgen(folder.path(), "train cfg.yml --batch 1");
    assert_eq!(code, 2);
    assert!(stderr.contains("raise --batch"), "{stderr}");
}

#[test]
fn mistakes_end_with_the_documented_exit_code_and_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    fs::write(folder.path().join("bad.yml"), "backbone:\n  - [1, Convv, [16, 3]]\n").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (arguments, code, message) in [
        ("", 2, "Usage"),
        ("shwo cfg.yml", 2, "unrecognized subcommand"),
        ("show", 2, "CONFIG"),
        ("show nothing.yml", 2, "cannot read nothing.yml"),
        ("show .", 2, "it is a folder"),
        ("show bad.yml", 2, "bad.yml:2:9"),
        ("show cfg.yml --input 3x32", 2, "channels x height x width"),
        ("sample --count 2", 2, "needs --out"),
        ("sample --max-macs lots", 2, "500k"),
        ("sample --out /proc/no/such/file.yml", 1, "cannot write"),
        ("train cfg.yml --epochs zero", 2, "setting `epochs`: wanted a whole number"),
        ("train cfg.yml --lr -1", 2, "setting `lr`: wanted a number from 0"),
        ("train cfg.yml --data nowhere", 3, "nowhere"),
        ("train cfg.yml --data empty", 3, "empty"),
        ("train cfg.yml --device tpu", 2, "wanted cpu, cuda or cuda:INDEX"),
        ("train cfg.yml --classes 3", 2, "10 classes"),
        ("train cfg.yml --fit squeeze", 2, "letterbox"),
    ] {
        let (actual, stdout, stderr) = nasgen(folder.path(), arguments);
        assert_eq!(actual, code, "`{arguments}`: {stderr}");
        assert!(stderr.contains(message), "`{arguments}` says nothing of `{message}`: {stderr}");
        assert!(stdout.is_empty(), "`{arguments}`: {stdout}");
        let (actual, stdout, _) = nasgen(folder.path(), &format!("{arguments} --json"));
        let object: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("`{arguments} --json`: {stdout}"));
        assert_eq!((actual, object["error"]["code"].as_i64()), (code, Some(i64::from(code))), "`{arguments}`");
    }
    assert!(!folder.path().join("runs").exists(), "a mistake leaves no run folder behind");
}

#[test]
fn a_gpu_that_is_not_there_is_refused() {
    if nasgen_engine::cuda::check(0).is_ok() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    let (code, _, stderr) = nasgen(folder.path(), "train cfg.yml --device cuda");
    assert_eq!(code, 2);
    assert!(stderr.contains("no NVIDIA driver was found") && stderr.contains("--device cpu"), "{stderr}");
}

#[test]
fn a_space_is_surveyed_and_a_sample_replayed_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| nasgen(folder.path(), arguments);
    let (code, stdout, _) = run("space lecture_fixed --max-params 300k --json");
    let space: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &space["networks"]["digits"]), (0, &"1239480".into()));
    assert!(space["fits"]["interval"][0].as_f64() < space["fits"]["interval"][1].as_f64());
    assert!(
        space["extremes"]["fewest_params"]["params"].as_u64() < space["extremes"]["most_params"]["params"].as_u64()
    );
    let value = &space["values"][0];
    assert_eq!((&value["name"], &value["from"]["choice"][0]), (&"cells.nc".into(), &"Conv".into()));

    assert_eq!(run("sample search_model --seed 4 --out a.yml").0, 0);
    assert_eq!(run("sample search_model --replay a.yml --out b.yml").0, 0);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("a.yml"), read("b.yml"));
    assert_eq!(run("sample search_model --replay a.yml --set r7.Conv.out=256 --out c.yml").0, 0);
    let differing: Vec<String> = read("a.yml")
        .lines()
        .zip(read("c.yml").lines())
        .filter(|(one, other)| one != other)
        .map(|(_, other)| other.trim().to_owned())
        .collect();
    assert_eq!(differing, ["- [1, Conv, [256, 1]]", "r7.Conv.out: 256"]);

    for (arguments, message) in [
        ("sample cells --replay a.yml", "was drawn from the space `search_model`, not from `cells`"),
        ("sample search_model --replay a.yml --set r7.Conv.out=100", "wanted a whole number from 128 to 1024"),
        ("sample search_model --replay a.yml --set r7.Conv.aut=128", "nothing asks for a draw `r7.Conv.aut`"),
        ("sample search_model --set r7=Pass", "--replay"),
        ("sample a.yml --tune lrr=0..1", "did you mean `lr`?"),
        ("space nowhere.yml", "nowhere.yml"),
    ] {
        let (code, _, stderr) = run(arguments);
        assert!(code == 2 && stderr.contains(message), "{arguments}: {code} {stderr}");
    }
    let (code, stdout, _) = run("sample a.yml --tune lr=1e-4..1e-1:log,epochs=30..120:10");
    assert!(code == 0 && stdout.contains("train:\n  lr: 0.0") && stdout.contains("space: a\n"), "{stdout}");
}

#[test]
fn blocks_of_a_file_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let config = repository("model_configs/yaml_blocks.yml").display().to_string();
    let (code, stdout, _) = nasgen(folder.path(), &format!("modules --from {config}"));
    assert!(code == 0 && stdout.contains("GhostConv") && stdout.contains("MBConv"), "{stdout}");
    let (_, stdout, _) = nasgen(folder.path(), &format!("modules GhostConv --from {config}"));
    assert!(stdout.contains("Half of the channels") && stdout.contains("[out, kernel?]"), "{stdout}");
    let (code, _, stderr) = nasgen(folder.path(), "modules GhostConv");
    assert!(code == 2 && stderr.contains("unknown module `GhostConv`"), "{stderr}");
}
