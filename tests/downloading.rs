//! Published data sets as a user names them. Nothing here leaves this machine.

use crate::program::nasgen;
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

const SPEC: &str = "\
input_channel: 1
input_size: [28, 28]
backbone:
  - [1, Conv, [6, 3, 4]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [2]]
";

/// The four files of MNIST with 20 images each of the classes 0 and 1.
fn cached_mnist(cache: &Path) {
    let folder = cache.join("mnist");
    fs::create_dir_all(&folder).unwrap();
    let gzipped = |name: &str, sizes: &[u32], values: &[u8]| {
        let mut head = vec![0, 0, 8, sizes.len() as u8];
        head.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        let file = fs::File::create(folder.join(name)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&head).and_then(|()| encoder.write_all(values)).unwrap();
        encoder.finish().unwrap();
    };
    let labels: Vec<u8> = (0..40).map(|index| index % 2).collect();
    let pixels: Vec<u8> = labels.iter().flat_map(|label| vec![20 + 200 * label; 28 * 28]).collect();
    for part in ["train", "t10k"] {
        gzipped(&format!("{part}-images-idx3-ubyte.gz"), &[40, 28, 28], &pixels);
        gzipped(&format!("{part}-labels-idx1-ubyte.gz"), &[40], &labels);
    }
}

#[test]
fn what_is_in_the_cache_is_not_downloaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    cached_mnist(&here.join("cache"));
    let flags = "--data mnist --cache cache --mirror http://127.0.0.1:1";
    let (code, _, stderr) = nasgen(here, &format!("train cfg.yml {flags} --epochs 1 --batch 8 --run run"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("data    mnist: 36 training and 4 validation images"), "{stderr}");
    let config = fs::read_to_string(here.join("run/config.yaml")).unwrap();
    assert!(config.contains("data: mnist  # flag --data"), "{config}");
    let (code, stdout, stderr) = nasgen(here, "eval run --cache cache --json");
    assert!(code == 0 && stdout.contains("\"split\":\"test\",\"data\":\"mnist\""), "{stdout}{stderr}");
    let (code, _, stderr) = nasgen(here, "train --resume run --epochs 2 --cache cache");
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_server_without_the_files_is_named_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sets", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let (code, stdout, stderr) = nasgen(here, &format!("check cifar10 --cache cache --mirror {url} --json"));
    assert_eq!(code, 3, "{stderr}");
    let problem = format!("no mirror gives cifar-10-binary.tar.gz:\n  {url}/cifar-10-binary.tar.gz: HTTP status 404");
    assert!(stderr.contains(&problem), "{stderr}");
    assert!(stderr.contains("note: cifar10 is downloaded to cache: 170 MB"), "{stderr}");
    assert!(stdout.contains("\"code\":3"), "{stdout}");
    let left: Vec<_> = fs::read_dir(here.join("cache/cifar10")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| fs::metadata(path).unwrap().len() == 0), "{left:?}");
}
