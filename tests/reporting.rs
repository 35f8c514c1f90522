//! What a run shows of itself: events, TensorBoard's files, the report.

use crate::{program::nasgen, repository};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const SPEC: &str = "\
input_size: [16, 16]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [2, InvertedResidualv2, [8, 2, 1]]
  - [[-1, 0], 1, Add, []]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

/// A program or package that a test needs and a machine may lack. `NASGEN_REQUIRE=tensorboard,chromium` makes its
/// absence a failure.
fn is_there(what: &str, found: bool) -> bool {
    let required = env::var("NASGEN_REQUIRE").unwrap_or_default();
    assert!(found || !required.split(',').any(|name| name.trim() == what), "{what} is required and not there");
    if !found {
        println!("skipped: {what} is not there");
    }
    found
}

/// A Python that has TensorBoard: that of `NASGEN_PYTHON`, else `python3`.
fn python() -> Option<PathBuf> {
    let python = env::var_os("NASGEN_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let imports = "import tensorboard.backend.event_processing.event_accumulator";
    let found = Command::new(&python).args(["-c", imports]).output().is_ok_and(|output| output.status.success());
    is_there("tensorboard", found).then_some(python)
}

pub(crate) fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = names.into_iter().find(works);
    is_there("chromium", found.is_some()).then_some(found).flatten()
}

fn trained(folder: &Path, more: &str) {
    fs::write(folder.join("cfg.yml"), SPEC).unwrap();
    let (code, _, stderr) = nasgen(folder, &format!("train cfg.yml --subset 400 --run run {more}"));
    assert_eq!(code, 0, "{stderr}");
}

fn events(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn events_say_what_results_say() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), "--epochs 3 --freeze-until 1 --unfreeze-every 2");
    let run = folder.path().join("run");
    let events = events(&run);
    let of_kind = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    let (begin, epochs, end) = (of_kind("begin"), of_kind("epoch"), of_kind("end"));
    assert_eq!((begin.len(), epochs.len(), end.len(), of_kind("step").len()), (1, 3, 1, 18));
    assert_eq!((&begin[0]["train_images"], &begin[0]["settings"]["epochs"]), (&400.into(), &3.into()));
    assert_eq!(epochs.iter().map(|epoch| epoch["frozen_rows"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1, 0]);
    let results = fs::read_to_string(run.join("results.csv")).unwrap();
    for (line, event) in results.lines().skip(1).zip(epochs) {
        let accuracy = line.split(',').nth(5).unwrap();
        assert_eq!(accuracy, format!("{:.6}", event["val"]["accuracy"].as_f64().unwrap()));
    }
}

/// A resume goes on with the events and TensorBoard's records as if there had been no interruption.
#[test]
fn raised_epochs_leave_one_end() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), "--epochs 1");
    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 2");
    assert_eq!(code, 0, "{stderr}");
    let run = folder.path().join("run");
    let events = events(&run);
    let kinds: Vec<&str> =
        events.iter().map(|event| event["event"].as_str().unwrap()).filter(|kind| *kind != "step").collect();
    assert_eq!(kinds, ["begin", "epoch", "epoch", "end"]);
    let records = nasgen::tensorboard::record_count(&fs::read(run.join("tb/events.out.tfevents.nasgen")).unwrap());
    // Version, hyperparameters, graph, batch; steps and epoch, twice; end.
    assert_eq!(records, 4 + 2 * (6 + 1) + 1);
}

#[test]
fn tensorboard_reads_what_was_written() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), "--epochs 2 --lr 0.01");
    let script = repository("tests/pytorch/read_tensorboard.py");
    let output = Command::new(python).arg(script).arg(folder.path().join("run/tb")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();

    let results = fs::read_to_string(folder.path().join("run/results.csv")).unwrap();
    let column = |line: &str, index: usize| line.split(',').nth(index).unwrap().parse::<f64>().unwrap();
    for (epoch, line) in results.lines().skip(1).enumerate() {
        for (tag, index) in
            [("train/loss", 2), ("train/accuracy", 3), ("val/loss", 4), ("val/accuracy", 5), ("val/macro_f1", 6)]
        {
            let [step, value] =
                [&read["scalars"][tag][epoch][0], &read["scalars"][tag][epoch][1]].map(|v| v.as_f64().unwrap());
            assert!(step == epoch as f64 + 1.0 && (value - column(line, index)).abs() < 1e-5, "{tag}: {value}, {line}");
        }
    }
    assert_eq!(read["scalars"]["step/loss"].as_array().unwrap().len(), 12);
    // 16 pictures of 64 pixels with 2 between them, in colour, and they can be decoded.
    assert_eq!(read["images"]["train/augmented_batch"], serde_json::json!([264, 264, "PNG"]));
    assert_eq!(read["images"]["val/mistakes"][2], "PNG");
    let histogram = &read["histograms"]["backbone/0/0/conv.weight"];
    assert_eq!((histogram["num"].as_f64(), histogram["counted"].as_f64()), (Some(216.0), Some(216.0)));
    assert_eq!(read["hparams"]["lr"], 0.01);
    assert_eq!((&read["hparams"]["nesterov"], &read["hparams"]["optimizer"]), (&true.into(), &"sgd".into()));
    assert_eq!((&read["metrics"][0], &read["status"]), (&"val/accuracy".into(), &1.into()));
    let nodes = read["graph"].as_object().unwrap();
    assert_eq!(nodes["backbone/0/0/conv"], serde_json::json!(["convolution", ["images"], [-1, 8, 8, 8]]));
    assert!(
        nodes.values().all(|node| node[1]
            .as_array()
            .unwrap()
            .iter()
            .all(|input| nodes.contains_key(input.as_str().unwrap())))
    );
}

/// The page of a run on images whose names are hostile.
fn page_of_hostile_classes(folder: &Path) -> String {
    for (class, brightness) in [("<script>alert(1)<", 40), ("a&b\"c", 120), ("plain", 200)] {
        let path = folder.join("photos").join(class);
        fs::create_dir_all(&path).unwrap();
        for number in 0..20u8 {
            let pixel = image::Rgb([brightness + number, 255 - brightness, number * 10]);
            image::RgbImage::from_pixel(16, 16, pixel).save(path.join(format!("<img onerror=x>{number}.png"))).unwrap();
        }
    }
    trained(folder, "--data photos --classes 3 --epochs 2 --batch 8");
    fs::read_to_string(folder.join("run/report.html")).unwrap()
}

#[test]
fn the_report_escapes_what_comes_from_outside_and_fetches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let page = page_of_hostile_classes(folder.path());
    assert!(page.contains("&lt;script&gt;alert(1)&lt;") && !page.contains("<script") && !page.contains("<img onerror"));
    for fetched in ["http:", "https:", "src=\"/", "url(", "@import", "file:"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    for id in ["curves", "classes", "mistakes", "sureness", "network", "data", "settings", "repeat"] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    for said in ["validation images are right", "flag --epochs", "nasgen train --config", "Confusion matrix", "8×8×8"]
    {
        assert!(page.contains(said), "{said}");
    }

    // Again, elsewhere; and without the images.
    let (code, stdout, stderr) = nasgen(folder.path(), "report run --out again.html --json");
    assert!(code == 0 && stdout.contains("again.html"), "{stderr}");
    assert_eq!(fs::read_to_string(folder.path().join("again.html")).unwrap(), page);
    fs::rename(folder.path().join("photos"), folder.path().join("moved")).unwrap();
    let (code, _, stderr) = nasgen(folder.path(), "report run --out less.html");
    assert!(code == 0 && stderr.contains("--data names them"), "{stderr}");
    let less = fs::read_to_string(folder.path().join("less.html")).unwrap();
    assert!(!less.contains("id=\"mistakes\"") && less.contains("id=\"curves\""));
    let (code, _, stderr) = nasgen(folder.path(), "report run --data moved --out more.html");
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        fs::read_to_string(folder.path().join("more.html")).unwrap().matches("<img").count(),
        page.matches("<img").count()
    );
    let (code, _, stderr) = nasgen(folder.path(), "report moved");
    assert!(code == 2 && stderr.contains("no config.yaml"), "{stderr}");
}

/// A browser draws the page, narrow and wide, and finds nothing to complain of.
pub(crate) fn assert_is_shown(browser: &str, page: &Path) {
    let folder = tempfile::tempdir().unwrap();
    for width in [400, 1400] {
        let shot = folder.path().join(format!("{width}.png"));
        let output = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--enable-logging=stderr",
                "--v=0",
            ])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .args([format!("--window-size={width},3000"), format!("--screenshot={}", shot.display())])
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // What pages write to the console, and what they break, is logged with this word.
        let console: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(output.status.success() && console.is_empty(), "{console:?}\n{said}");
        let picture = image::open(&shot).unwrap().to_rgb8();
        let colours: std::collections::BTreeSet<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
        assert!(picture.width() == width && colours.len() > 100, "{} colours", colours.len());
    }
}

#[test]
fn a_browser_shows_the_report_without_complaint() {
    let Some(browser) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    page_of_hostile_classes(folder.path());
    assert_is_shown(browser, &folder.path().join("run/report.html"));
    // Nothing is wider than a narrow screen: what is, scrolls by itself.
    let probe = folder.path().join("probe.html");
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    let (start, rest) = page.split_at(page.find("<meta http-equiv").unwrap());
    let rest = &rest[rest.find('>').unwrap() + 1..];
    let script = "<script>onload = () => { document.body.style.width = '400px'; document.title = 'wide ' + document.body.scrollWidth }</script>";
    fs::write(&probe, format!("{start}{script}{rest}")).unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=500,900",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", probe.display()))
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    let title = page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
    assert_eq!(title, "wide 400");
}
