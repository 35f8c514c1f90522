//! One file over HTTP, taken up again where it broke off.

use super::{DownloadError, RemoteFile, Transfer, failed};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Tries on one mirror that bring nothing new before the next one is asked.
const VAIN_TRIES: usize = 2;
/// For a connection, and for the first bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// For one answer; what came until then is kept, and the rest asked for anew.
const ANSWER: Duration = Duration::from_mins(10);
const BUFFER: usize = 64 * 1024;

/// Brings `file` into `folder` from the first of `mirrors` that has it whole and right. What comes is kept in
/// `NAME.part` until its length and its sum are right, so an interrupted transfer goes on where it was; the
/// file itself appears whole.
pub(super) fn fetch(
    file: &RemoteFile,
    mirrors: &[String],
    folder: &Path,
    watch: &mut dyn FnMut(&Transfer<'_>),
) -> Result<PathBuf, DownloadError> {
    let whole = folder.join(file.name);
    let part = folder.join(format!("{}.part", file.name));
    fs::create_dir_all(folder).map_err(|reason| failed(folder, reason))?;
    let lock = locked(&part)?;
    // Another process may have brought it while this one waited.
    if whole.is_file() {
        return Ok(whole);
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_recv_body(Some(ANSWER))
        .http_status_as_error(false)
        .user_agent(concat!("nasgen/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut tried = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
        match from_mirror(&agent, &url, file, &part, watch) {
            Ok(()) => {
                fs::rename(&part, &whole).map_err(|reason| failed(&whole, reason))?;
                drop(lock);
                return Ok(whole);
            }
            Err(Problem::Mirror(problem)) => tried.push((url, problem)),
            Err(Problem::Disk(reason)) => return Err(failed(&part, reason)),
        }
    }
    Err(DownloadError::NoMirror { file: file.name.to_owned(), tried })
}

/// What hinders a transfer.
enum Problem {
    /// Another mirror may do better.
    Mirror(String),
    /// None will.
    Disk(io::Error),
}

/// The file that holds what came so far, this process alone writing to it.
fn locked(part: &Path) -> Result<File, DownloadError> {
    let open = || OpenOptions::new().create(true).append(true).open(part);
    let file = open().map_err(|reason| failed(part, reason))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            file.lock().map_err(|reason| failed(part, reason))?;
            Ok(file)
        }
        // Some network file systems have no locks.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn from_mirror(
    agent: &ureq::Agent,
    url: &str,
    file: &RemoteFile,
    part: &Path,
    watch: &mut dyn FnMut(&Transfer<'_>),
) -> Result<(), Problem> {
    let mut vain = 0;
    loop {
        let before = length(part)?;
        let interrupted = if before < file.bytes { receive(agent, url, file, part, watch)? } else { None };
        let after = length(part)?;
        if after >= file.bytes {
            return check(file, part);
        }
        vain = if after > before { 0 } else { vain + 1 };
        if vain == VAIN_TRIES {
            let ended = interrupted.unwrap_or_else(|| "the transfer ended".into());
            return Err(Problem::Mirror(format!("{ended} after {after} of {} bytes", file.bytes)));
        }
    }
}

/// Adds to `part` what the mirror gives, from where `part` ends; what interrupted it, if something did.
fn receive(
    agent: &ureq::Agent,
    url: &str,
    file: &RemoteFile,
    part: &Path,
    watch: &mut dyn FnMut(&Transfer<'_>),
) -> Result<Option<String>, Problem> {
    let mut done = length(part)?;
    let request = agent.get(url);
    let request = if done > 0 { request.header("Range", format!("bytes={done}-")) } else { request };
    let response = match request.call() {
        Ok(response) => response,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut output = OpenOptions::new().append(true).open(part).map_err(Problem::Disk)?;
    match response.status().as_u16() {
        206 if continues_at(&response, done) => {}
        // It gives all of the file, whatever was asked for.
        200 => {
            output.set_len(0).and_then(|()| output.rewind()).map_err(Problem::Disk)?;
            done = 0;
        }
        206 | 416 => {
            output.set_len(0).map_err(Problem::Disk)?;
            return Ok(Some("the mirror gave another part of the file than was asked for".into()));
        }
        status => return Err(Problem::Mirror(format!("HTTP status {status}"))),
    }
    let mut input = response.into_body().into_reader();
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) => return Ok(Some(error.to_string())),
        };
        done += count as u64;
        if done > file.bytes {
            output.set_len(0).map_err(Problem::Disk)?;
            return Err(Problem::Mirror(format!("it gave more than {} bytes", file.bytes)));
        }
        output.write_all(&buffer[..count]).map_err(Problem::Disk)?;
        watch(&Transfer { file: file.name, done, bytes: file.bytes });
    }
}

/// Whether an answer begins where it should: `Content-Range: bytes 100-199/200`.
fn continues_at<T>(response: &ureq::http::Response<T>, done: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.trim().strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    first == Some(done)
}

/// Whether what came is the file; if not it is thrown away.
fn check(file: &RemoteFile, part: &Path) -> Result<(), Problem> {
    let mut input = File::open(part).map_err(Problem::Disk)?;
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        match input.read(&mut buffer).map_err(Problem::Disk)? {
            0 => break,
            count => sum.update(&buffer[..count]),
        }
    }
    let sum: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if sum == file.sha256 && length(part)? == file.bytes {
        return input.sync_all().map_err(Problem::Disk);
    }
    OpenOptions::new().write(true).open(part).and_then(|part| part.set_len(0)).map_err(Problem::Disk)?;
    Err(Problem::Mirror(format!("its SHA-256 sum is {sum}, wanted {}", file.sha256)))
}

fn length(part: &Path) -> Result<u64, Problem> {
    fs::metadata(part).map(|part| part.len()).map_err(Problem::Disk)
}
