//! What must not lose data: a full disk, images that break, weights that become NaN, too little memory.

use crate::program::nasgen;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

const SPEC: &str = "\
input_size: [12, 12]
backbone:
  - [1, Conv, [64, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

fn folder_with(spec: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), spec).unwrap();
    folder
}

/// Runs `nasgen` under a shell's limits: exit code and stderr.
#[cfg(unix)]
fn limited(folder: &Path, limits: &str, arguments: &str) -> (i32, String) {
    let script = format!("{limits}; exec '{}' {arguments}", env!("CARGO_BIN_EXE_nasgen"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(folder).env("NO_COLOR", "1").output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A limit on the size of files stands for a full disk: the system refuses in the middle of a write.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_good_file() {
    // So many weights that their file is larger than all others.
    let folder =
        folder_with(&SPEC.replace("  - [1, Linear, [10]]", "  - [1, Linear, [3000, ReLU]]\n  - [1, Linear, [10]]"));
    let settings = "train cfg.yml --batch 100 --lr 0.02";
    let (code, _, stderr) = nasgen(folder.path(), &format!("{settings} --epochs 1 --run run"));
    assert_eq!(code, 0, "{stderr}");
    let run = folder.path().join("run");
    let files = ["last.safetensors", "best.safetensors"];
    let good = files.map(|file| fs::read(run.join(file)).unwrap());
    // A shell's block is 512 or 1024 bytes: both leave less than the weights take.
    assert!(good[0].len() > 1000 * 1024);
    // What is appended to fails before, where there is room for nothing.
    for (blocks, path) in [(1000, "run/last.safetensors"), (8, "run/tb/events.out.tfevents.nasgen")] {
        let limits = format!("trap '' XFSZ; ulimit -f {blocks}");
        let (code, stderr) = limited(folder.path(), &limits, "train --resume run --epochs 3");
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(path), "the message names the path: {stderr}");
        assert!(!stderr.contains(".nasgen-"), "not a path that the user never saw: {stderr}");
        assert!(files.map(|file| fs::read(run.join(file)).unwrap()) == good, "what was good is gone");
    }
    let left = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with(".nasgen-")).count(), 0, "half a file remains");

    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 3");
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(fs::read_to_string(run.join("results.csv")).unwrap().lines().count(), 4, "one row for each epoch");
}

#[test]
fn an_image_that_breaks_in_the_middle_of_an_epoch_changes_nothing() {
    let folder = folder_with(SPEC);
    let photos = folder.path().join("photos");
    for class in ["cat", "dog"] {
        fs::create_dir_all(photos.join(class)).unwrap();
        for number in 0..40u8 {
            let image = image::GrayImage::from_pixel(12, 12, image::Luma([number * 3 + class.len() as u8]));
            image.save(photos.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
    let settings = "train cfg.yml --data photos --classes 2 --epochs 40 --batch 4 --lr 0.02";
    let (code, _, stderr) = nasgen(folder.path(), &format!("{settings} --run whole"));
    assert_eq!(code, 0, "{stderr}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.args(format!("{settings} --run run").split_whitespace()).current_dir(folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !folder.path().join("run/last.safetensors").exists() {
        sleep(Duration::from_millis(1));
    }
    fs::write(photos.join("cat/7.png"), b"broken").unwrap();
    fs::remove_file(photos.join("dog/9.png")).unwrap();
    assert!(child.wait().unwrap().success());
    let last = |run: &str| fs::read(folder.path().join(run).join("last.safetensors")).unwrap();
    assert!(last("whole") == last("run"), "it trained on other images");
    // A training that begins now counts them, says which, and goes on without.
    let (code, _, stderr) = nasgen(folder.path(), "train cfg.yml --data photos --classes 2 --epochs 1 --run later");
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("1 unreadable image skipped: cat/7.png"), "{stderr}");
    assert_eq!(fs::read(photos.join("cat/7.png")).unwrap(), b"broken", "a user's file is never repaired");
}

#[test]
fn a_training_that_diverges_names_the_layer_and_keeps_the_last_good_weights() {
    let spec = "\
input_size: [8, 8]
backbone:
  - [1, Conv, [8, 3, 2, null, 1, null, false]]
  - [1, Flatten, []]
  - [1, Linear, [64]]
  - [1, Linear, [10]]
";
    for executor in ["engine", "reference"] {
        let folder = folder_with(spec);
        let settings = format!("--lr 90 --warmup 0 --epochs 3 --batch 200 --executor {executor} --run out");
        let (code, _, stderr) = nasgen(folder.path(), &format!("train cfg.yml {settings}"));
        assert_eq!(code, 4, "{stderr}");
        assert!(stderr.contains("the first layer with a bad value is `backbone."), "{stderr}");
        assert!(stderr.contains("try --lr 9e0") && stderr.contains("out/last.safetensors"), "{stderr}");
        let last = nasgen::train::Checkpoint::load(&folder.path().join("out/last.safetensors")).unwrap();
        assert_eq!(last.state.weights.not_finite(), None);
    }
}

/// The layer that is named is the one that went wrong, not just any.
#[test]
fn the_first_bad_layer_is_the_one_that_is_bad() {
    use candle_core::Device;
    use nasgen::{
        bench::noise,
        network::Network,
        reference::{Mode, Reference},
        spec::{ModelSpec, SourceText},
        train::OptimizerRule,
        weights::Weights,
    };
    let source = SourceText { name: "cfg.yml".into(), text: SPEC.into() };
    let spec = ModelSpec::parse(&source, &nasgen_modules::Blocks::builtin()).unwrap();
    let network = Network::plan(&spec, nasgen_modules::Shape::image(3, 12, 12)).unwrap();
    let rule = OptimizerRule::PLAIN;
    let initial = Weights::initial(&network.layers, 0);
    let batch = noise(&network.layers, 4, 0);
    let found = |weights: &Weights, mode| {
        let mut reference = Reference::new(&network.layers, weights, rule, 0, &Device::Cpu).unwrap();
        reference.first_bad_layer(&batch, mode).unwrap().map(|layer| (layer.label, layer.what))
    };
    let training = Mode::Training { step: 0 };
    assert_eq!(found(&initial, training), None);
    for (tensor, value, mode, label, what) in [
        ("backbone.3.0.linear.weight", f32::NAN, training, "backbone.3.0.linear", "parameters"),
        ("backbone.0.0.conv.weight", f32::INFINITY, training, "backbone.0.0.conv", "parameters"),
        (
            "backbone.0.0.conv.norm.running_mean",
            f32::NAN,
            Mode::Evaluation,
            "backbone.0.0.conv.norm",
            "running statistics",
        ),
        ("backbone.0.0.conv.weight", f32::MAX, training, "backbone.0.0.conv", "results"),
    ] {
        let change = |(name, mut array): (String, nasgen::weights::Array)| {
            if name == tensor {
                array.values.fill(value);
            }
            (name, array)
        };
        let weights: Weights = initial.clone().into_iter().map(change).collect();
        assert!(
            weights != initial,
            "no tensor is called {tensor}; there are {:?}",
            initial.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
        assert_eq!(found(&weights, mode), Some((label.into(), what)), "{tensor}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_said_before_the_system_kills_the_training() {
    let folder = folder_with(
        "backbone:\n  - [8, Conv, [64, 3]]\n  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n",
    );
    let arguments = "train cfg.yml --input 3x48x48 --batch 1800 --epochs 1 --run run";
    let (code, stderr) = limited(folder.path(), "ulimit -v 6000000", arguments);
    assert_eq!(code, 6, "{stderr}");
    assert!(stderr.contains("a batch of 1800 needs about") && stderr.contains("--batch "), "{stderr}");
    assert!(!folder.path().join("run").exists(), "a mistake leaves no run folder behind");
}
