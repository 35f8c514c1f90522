//! `nasgen train` and the reference executor, from a spec to a trained network.

use crate::{program::nasgen, repository, specs::model_configs};
use candle_core::{Device, Tensor};
use nasgen::{
    data::Batch,
    network::Network,
    reference::{Mode, Reference},
    spec::{ModelSpec, SourceText},
    train::{Executor, Objective, OptimizerRule, Step},
    weights::Weights,
};
use nasgen_modules::{Blocks, Layers, Primitive, Shape, Source};
use serde_json::Value;
use std::{fs, path::Path};

const RULE: OptimizerRule = OptimizerRule::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };

/// A quick network for images of 3×16×16.
const SMALL: &str = "\
input_size: [16, 16]
backbone:
  - [1, Conv, [16, 3]]
  - [1, MaxPool, [2]]
  - [1, Conv, [24, 3]]
  - [1, MaxPool, [2]]
  - [1, Conv, [32, 3]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

fn planned(path: &Path) -> (ModelSpec, Network) {
    let source = SourceText::read(path).unwrap();
    let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
    let [height, width] = spec.input_size.unwrap_or([32, 32]);
    let network = Network::plan(&spec, Shape::image(spec.input_channel, height, width));
    let network = network.unwrap_or_else(|diagnostic| panic!("{}", source.error(vec![diagnostic])));
    (spec, network)
}

/// torchvision's, counted by torchvision.
#[test]
fn the_networks_of_torchvision_have_its_parameter_counts() {
    for (name, params) in [
        ("mobilenetv2", 3_504_872),
        ("mobilenetv3_large", 5_483_032),
        ("mobilenetv3_small", 2_542_856),
        ("efficientnet_b0", 5_288_548),
        ("squeezenet", 1_235_496),
        ("shufflenetv2", 2_278_604),
        ("mnasnet", 4_383_312),
    ] {
        let (_, network) = planned(&repository(&format!("model_configs/{name}.yml")));
        assert_eq!((network.params(), network.classes()), (params, Some(1000)), "{name}");
    }
}

#[test]
fn every_shipped_network_can_be_built_and_the_small_ones_learn() {
    let paths = model_configs();
    assert!(paths.len() >= 10, "{} specs", paths.len());
    for path in paths {
        let (_, network) = planned(&path);
        let weights = Weights::initial(&network.layers, 0);
        assert!(weights.misfits(&network.layers).is_empty(), "{}", path.display());
        if network.macs() > 4_000_000 {
            continue;
        }
        let mut reference = Reference::new(&network.layers, &weights, RULE, 0, &Device::Cpu).unwrap();
        let batch = noise(network.input, 8, network.classes().unwrap());
        let objective = Objective::cross_entropy(network.classes().unwrap(), 0.0);
        let losses: Vec<f64> = (0..8)
            .map(|index| reference.train_step(&batch, &Step::alone(index, 0.02, &objective)).unwrap().loss)
            .collect();
        assert!(losses[7] < losses[0] && losses[7].is_finite(), "{}: {losses:?}", path.display());
    }
}

/// A batch of fixed noise.
fn noise(input: Shape, images: usize, classes: usize) -> Batch {
    let [channels, height, width] = input.dims()[..] else { panic!("images") };
    let stream = nasgen_modules::randomness::Stream::new(1, "noise");
    let count = images * channels * height * width;
    Batch {
        images: (0..count as u64).map(|index| stream.normal(index) as f32).collect(),
        labels: (0..images).map(|image| (image % classes) as u32).collect(),
        partners: Vec::new(),
        placed: None,
        shape: [images, channels, height, width],
    }
}

#[test]
fn a_small_cnn_learns_the_synthetic_images() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yml"), SMALL).unwrap();
    let arguments = "train small.yml --epochs 8 --crop 2 --batch 32 --run out --json";
    let (code, stdout, stderr) = nasgen(folder.path(), arguments);
    assert_eq!(code, 0, "{stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert!(result["best"]["accuracy"].as_f64().unwrap() > 0.9, "{stdout}\n{stderr}");
}

#[test]
fn a_run_has_its_files_and_repeats_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yml"), SMALL.replace("16, 3]", "8, 3]") + "train: {epochs: 1, batch: 100}\n")
        .unwrap();
    let mut weights = Vec::new();
    for run in ["a", "b"] {
        let (code, stdout, stderr) = nasgen(folder.path(), &format!("train small.yml --lr 0.02 --run {run} --json"));
        assert_eq!(code, 0, "{stderr}");
        let result: Value = serde_json::from_str(&stdout).unwrap();
        for field in [
            "run",
            "epochs",
            "params",
            "macs",
            "device",
            "executor",
            "train_images",
            "val_images",
            "best",
            "images_per_second",
            "seconds",
        ] {
            assert!(!result[field].is_null(), "{field} is missing: {stdout}");
        }
        assert_eq!((result["epochs"].as_u64(), result["train_images"].as_u64()), (Some(1), Some(1800)));
        assert!(stderr.contains("1/1") && !stderr.contains('\r'), "{stderr}");
        weights.push(fs::read(folder.path().join(run).join("last.safetensors")).unwrap());
    }
    assert!(weights[0] == weights[1], "two runs with one seed differ");
    let read = |name: &str| fs::read_to_string(folder.path().join("a").join(name)).unwrap();
    assert!(read("config.yaml").contains("  lr: 0.02  # flag --lr\n"));
    assert!(read("config.yaml").contains("  epochs: 1  # the spec\n"));
    assert!(read("config.yaml").contains("  momentum: 0.9  # default\n"));
    assert_eq!(read("results.csv").lines().count(), 2);
    assert!(read("model.yaml").starts_with("input_size: [16, 16]"));

    let (_, metadata) = Weights::load(&folder.path().join("a/best.safetensors")).unwrap();
    let metadata: Value = serde_json::from_str(&metadata["nasgen"]).unwrap();
    assert_eq!((metadata["format"].as_u64(), metadata["classes"].as_array().unwrap().len()), (Some(1), 10));
    assert_eq!(metadata["mean"].as_array().unwrap().len(), 3);

    let (code, _, stderr) = nasgen(folder.path(), "train small.yml --run a");
    assert_eq!(code, 2, "a run never overwrites another: {stderr}");
    assert!(stderr.contains("not empty"));
}

#[test]
fn a_diverging_training_stops_with_code_4_and_keeps_what_was_good() {
    let folder = tempfile::tempdir().unwrap();
    let text = "input_size: [8, 8]\nbackbone:\n  - [1, Conv, [8, 3, 2, null, 1, null, false]]\n  - [1, Flatten, []]\n  \
                - [1, Linear, [64]]\n  - [1, Linear, [10]]\n";
    fs::write(folder.path().join("plain.yml"), text).unwrap();
    let (code, stdout, stderr) =
        nasgen(folder.path(), "train plain.yml --lr 90 --warmup 0 --epochs 3 --run out --json");
    assert_eq!(code, 4, "{stderr}");
    let error: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(error["error"]["code"], 4);
    assert!(stderr.contains("the loss became") && stderr.contains("try --lr"), "{stderr}");
}

#[test]
fn real_images_as_binary_files_and_as_folders() {
    let data = repository("../shared/data");
    if !data.is_dir() {
        println!("skipped: {} is not there", data.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yml"), SMALL.replace("[1, Conv, [16, 3]]", "[1, Conv, [8, 5, 4]]")).unwrap();
    for (name, train, validation) in [("cifar10-folder", 600, 200), ("cifar10-subset", 9000, 1000)] {
        let path = data.join(name).canonicalize().unwrap();
        let arguments = format!("train small.yml --data {} --epochs 1 --run {name} --json", path.display());
        let (code, stdout, stderr) = nasgen(folder.path(), &arguments);
        assert_eq!(code, 0, "{stderr}");
        let result: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((result["train_images"].as_u64(), result["val_images"].as_u64()), (Some(train), Some(validation)));
    }
}

/// One layer that is random in training.
fn random_layer(primitive: Primitive, inputs: usize) -> Reference {
    let mut layers = Layers::identity(vec![Shape::image(4, 8, 8); inputs]);
    layers.push("random".into(), primitive, (0..inputs).map(Source::Input).collect()).unwrap();
    Reference::new(&layers, &Weights::default(), RULE, 5, &Device::Cpu).unwrap()
}

#[test]
fn dropout_is_a_function_of_the_step_and_keeps_the_mean() {
    let mut layer = random_layer(Primitive::Dropout { probability: 0.25 }, 1);
    let ones = Tensor::ones((64, 4, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut run = |mode| {
        layer.forward(std::slice::from_ref(&ones), mode).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let first = run(Mode::Training { step: 3 });
    assert_eq!(first, run(Mode::Training { step: 3 }));
    assert_ne!(first, run(Mode::Training { step: 4 }));
    assert!(first.iter().all(|value| *value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
    let mean = first.iter().sum::<f32>() / first.len() as f32;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    assert!(run(Mode::Evaluation).iter().all(|value| *value == 1.0));
}

#[test]
fn stochastic_depth_drops_whole_branches_image_by_image() {
    let mut layer = random_layer(Primitive::Add { drop: 0.4 }, 2);
    let ones = Tensor::ones((500, 4, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let sum = layer.forward(&[ones.clone(), ones], Mode::Training { step: 0 }).unwrap();
    let images: Vec<Vec<f32>> = sum.flatten_from(1).unwrap().to_vec2().unwrap();
    let kept = 1.0 + 1.0 / 0.6;
    for image in &images {
        assert!(image.iter().all(|value| *value == image[0]), "an image is dropped whole");
        assert!(image[0] == 1.0 || (image[0] - kept).abs() < 1e-5, "{}", image[0]);
    }
    let dropped = images.iter().filter(|image| image[0] == 1.0).count();
    assert!((160..240).contains(&dropped), "{dropped} of 500 with probability 0.4");
}
