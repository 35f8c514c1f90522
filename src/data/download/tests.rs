//! Transfers from a server in the test itself.

use super::*;
use sha2::{Digest, Sha256};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// How a server answers a request: what it was asked for from which byte on.
type Answer = Box<dyn Fn(&mut TcpStream, &str, Option<usize>) + Send>;

/// A server on this machine; its address, and the bytes from which on each request asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (mut path, mut from) = (String::new(), None);
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap();
                    if let Some(rest) = line.strip_prefix("GET ") {
                        path = rest.split(' ').next().unwrap().to_owned();
                    }
                    if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                        from = Some(range.trim_end_matches('-').parse().unwrap());
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                seen.lock().unwrap().push(from);
                answer(&mut stream, &path, from);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Option<usize>> {
        self.asked.lock().unwrap().clone()
    }
}

/// Sends the head of an answer and as much of its body as `sent` says, then hangs up.
fn send(stream: &mut TcpStream, head: &str, body: &[u8], sent: usize) {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
}

/// Sends a file from a byte on, as servers do.
fn send_from(stream: &mut TcpStream, file: &[u8], from: Option<usize>, sent: usize) {
    match from {
        None => send(stream, "200 OK", file, sent.min(file.len())),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
            let head = format!("206 Partial Content\r\nContent-Range: {range}");
            send(stream, &head, &file[from..], sent.min(file.len() - from));
        }
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 31 % 251) as u8).collect()
}

/// A set of one file that has these bytes.
fn set(name: &'static str, content: &[u8]) -> Published {
    let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = RemoteFile { name, bytes: content.len() as u64, sha256: Box::leak(sum.into_boxed_str()) };
    Published { name: "set", mirrors: &["http://127.0.0.1:1"], files: Box::leak(vec![file].into_boxed_slice()) }
}

fn download(set: &Published, cache: &Path, servers: &[&Server]) -> Result<PathBuf, DownloadError> {
    let mirrors: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    set.download(cache, &mirrors, &mut |_| {})
}

#[test]
fn an_interrupted_transfer_goes_on_where_it_broke_off() {
    let (cache, content) = (tempfile::tempdir().unwrap(), bytes(300_000));
    let (set, file) = (set("file.gz", &content), content.clone());
    let server = Server::start(Box::new(move |stream, path, from| {
        assert_eq!(path, "/data/file.gz");
        send_from(stream, &file, from, 120_000);
    }));
    let mut seen = Vec::new();
    let folder = set
        .download(cache.path(), std::slice::from_ref(&server.url), &mut |transfer| {
            seen.push((transfer.done, transfer.bytes));
        })
        .unwrap();
    assert_eq!(folder, cache.path().join("set"));
    assert!(fs::read(folder.join("file.gz")).unwrap() == content);
    assert_eq!(server.asked(), [None, Some(120_000), Some(240_000)]);
    assert!(seen.is_sorted() && seen.last() == Some(&(300_000, 300_000)), "{seen:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    // It is there: nobody is asked.
    download(&set, cache.path(), &[&server]).unwrap();
    assert_eq!(server.asked().len(), 3);
    assert!(set.is_in(cache.path()));
}

#[test]
fn what_an_earlier_process_received_is_used() {
    let (cache, content) = (tempfile::tempdir().unwrap(), bytes(5000));
    let (set, file) = (set("file.gz", &content), content.clone());
    let server = Server::start(Box::new(move |stream, _, from| send_from(stream, &file, from, usize::MAX)));
    fs::create_dir(cache.path().join("set")).unwrap();
    fs::write(cache.path().join("set/file.gz.part"), &content[..1234]).unwrap();
    let folder = download(&set, cache.path(), &[&server]).unwrap();
    assert!(fs::read(folder.join("file.gz")).unwrap() == content);
    assert_eq!(server.asked(), [Some(1234)]);
}

#[test]
fn a_server_that_knows_no_parts_begins_anew() {
    let (cache, content) = (tempfile::tempdir().unwrap(), bytes(5000));
    let (set, file) = (set("file.gz", &content), content.clone());
    let server = Server::start(Box::new(move |stream, _, _| send_from(stream, &file, None, usize::MAX)));
    fs::create_dir(cache.path().join("set")).unwrap();
    fs::write(cache.path().join("set/file.gz.part"), b"something else").unwrap();
    let folder = download(&set, cache.path(), &[&server]).unwrap();
    assert!(fs::read(folder.join("file.gz")).unwrap() == content);
    assert_eq!(server.asked(), [Some(14)]);
}

#[test]
fn a_wrong_file_is_refused_and_the_next_mirror_asked() {
    let (cache, content) = (tempfile::tempdir().unwrap(), bytes(5000));
    let set = set("file.gz", &content);
    let mut other = content.clone();
    other[4000] ^= 1;
    let wrong = Server::start(Box::new(move |stream, _, from| send_from(stream, &other, from, usize::MAX)));
    let long = Server::start(Box::new(|stream, _, _| send(stream, "200 OK", &bytes(6000), 6000)));
    let missing = Server::start(Box::new(|stream, _, _| send(stream, "404 Not Found", b"no", 2)));
    let silent = Server::start(Box::new(|_, _, _| {}));
    let all = [&wrong, &long, &missing, &silent];
    let error = download(&set, cache.path(), &all).unwrap_err().to_string();
    for (server, problem) in all.iter().zip(["SHA-256", "more than 5000 bytes", "HTTP status 404", "after 0 of 5000"]) {
        let line = error.lines().find(|line| line.contains(&server.url)).unwrap_or_else(|| panic!("{error}"));
        assert!(line.contains(problem), "{line}");
    }
    assert!(!set.is_in(cache.path()), "a wrong file stays in the cache");

    let right = Server::start(Box::new(move |stream, _, from| send_from(stream, &content, from, usize::MAX)));
    let folder = download(&set, cache.path(), &[&wrong, &missing, &right]).unwrap();
    assert!(fs::read(folder.join("file.gz")).unwrap() == bytes(5000));
    assert_eq!(right.asked(), [None], "nothing of the wrong file is used");
}

#[test]
fn archives_are_unpacked_and_removed() {
    let cache = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(3073);
    header.set_mode(0o644);
    archive.append_data(&mut header, "batches/data_batch_1.bin", &bytes(3073)[..]).unwrap();
    let content = archive.into_inner().unwrap().finish().unwrap();
    let set = set("binary.tar.gz", &content);
    let server = Server::start(Box::new(move |stream, _, from| send_from(stream, &content, from, usize::MAX)));
    let folder = download(&set, cache.path(), &[&server]).unwrap();
    assert!(fs::read(folder.join("binary/batches/data_batch_1.bin")).unwrap() == bytes(3073));
    assert!(!folder.join("binary.tar.gz").exists() && set.is_in(cache.path()));
    download(&set, cache.path(), &[&server]).unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn the_published_sets_are_written_as_they_must_be() {
    for set in Published::ALL {
        assert_eq!(Published::named(set.name), Some(set));
        assert!(set.mirrors.len() >= 2, "{set} has one mirror");
        for file in set.files {
            assert!(
                file.sha256.len() == 64 && file.sha256.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
            );
        }
        assert!(set.bytes() > 10_000_000);
    }
    assert_eq!(Published::named("MNIST"), None);
}
