//! Networks that other programs run.

use crate::{
    oracle::{Fixture, fixtures, row_layers, shape_of},
    program::nasgen,
    specs::model_configs,
};
use nasgen::{
    bench::noise,
    engine,
    export::{pytorch_layers, pytorch_module},
    network::Network,
    spec::{ModelSpec, SourceText},
    train::OptimizerRule,
    weights::{Array, Weights},
};
use nasgen_modules::{Blocks, Layers, Shape};
use serde_json::json;
use std::{fs, path::Path, process::Command};

/// A Python with torch and safetensors: what `NASGEN_PYTHON` names, else `python3`.
fn python() -> Option<String> {
    let python = std::env::var("NASGEN_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", "import torch, safetensors.torch"]).output();
    if imports.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let required = std::env::var("NASGEN_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == "torch"), "{python} has no torch and safetensors");
    println!("skipped: {python} has no torch and safetensors (NASGEN_PYTHON names another)");
    None
}

/// What a network says of a batch of noise, with weights that are not those of the beginning: norms that shift.
fn answered(layers: &Layers) -> Weights {
    let mut weights: Vec<(String, Array)> = Weights::initial(layers, 3).into_iter().collect();
    for (name, array) in &mut weights {
        let shift = if name.ends_with("running_var") { 0.0 } else { 0.05 };
        array.values.iter_mut().enumerate().for_each(|(index, value)| *value += shift * (index as f32 * 0.7).sin());
    }
    let batch = noise(layers, 2, 1);
    let own: Weights = weights.iter().cloned().collect();
    let mut executor = engine::compile(layers, &own, OptimizerRule::PLAIN, 0).unwrap();
    let scores = nasgen::train::Executor::scores(&mut executor, &batch).unwrap();
    let shape = vec![2, scores.len() / 2];
    weights.iter_mut().for_each(|(name, _)| *name = format!("weight/{name}"));
    let input = Array { shape: batch.shape.to_vec(), values: batch.images };
    let answers = [("input".to_owned(), input), ("output_eval".to_owned(), Array { shape, values: scores })];
    weights.into_iter().chain(answers).collect()
}

fn planned(path: &Path) -> Network {
    let source = SourceText::read(path).unwrap();
    let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap();
    let [height, width] = spec.input_size.unwrap_or([32, 32]);
    Network::plan(&spec, Shape::image(spec.input_channel, height, width)).unwrap()
}

/// Every block of every fixture against PyTorch's own output, and every shipped network against nasgen's.
#[test]
fn pytorch_modules_say_what_nasgen_says() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for path in fixtures("blocks") {
        let fixture = Fixture::load(&path);
        let shapes = fixture.each("input").iter().map(|array| shape_of(array)).collect();
        let text = pytorch_layers(&row_layers(&fixture.metadata, shapes), &fixture.name).unwrap();
        fs::write(folder.path().join(format!("{}.py", fixture.name)), text).unwrap();
        fs::copy(&path, folder.path().join(format!("{}.safetensors", fixture.name))).unwrap();
    }
    for path in model_configs() {
        let (name, network) = (path.file_stem().unwrap().to_string_lossy().into_owned(), planned(&path));
        fs::write(folder.path().join(format!("{name}.py")), pytorch_module(&network, &name).unwrap()).unwrap();
        answered(&network.layers).save(&folder.path().join(format!("{name}.safetensors")), &json!({})).unwrap();
    }
    let script = crate::repository("tests/pytorch/check_export.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}{errors}");
    let modules = fixtures("blocks").len() + model_configs().len();
    assert!(said.contains(&format!("{modules} modules")), "{said}");
}

#[test]
fn a_module_is_readable_and_goes_to_a_file_or_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let spec = "\
input_size: [16, 16]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [2, InvertedResidualv3, [3, 2, 8, 1, 1, 1]]
  - [1, MBConv, [16, 2, 2, 3, 0.2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";
    fs::write(folder.path().join("cfg.yml"), spec).unwrap();
    let (code, text, stderr) = nasgen(folder.path(), "export cfg.yml --format pytorch");
    assert_eq!((code, stderr.as_str()), (0, ""));
    crate::golden::check("pytorch_module.py", &text);
    let (code, said, _) = nasgen(folder.path(), "export cfg.yml --format pytorch --out net.py");
    assert!(code == 0 && said.contains("wrote net.py: class Network"), "{said}");
    assert_eq!(fs::read_to_string(folder.path().join("net.py")).unwrap(), text);
}
