//! Data sets that are downloaded once, when a user names them.

mod published;
mod transfer;

pub use published::{Published, RemoteFile};

use flate2::read::GzDecoder;
use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// How far a transfer is.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// A download that failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No mirror has the file as it should be.
    #[error("no mirror gives {file}:{}", Tried(tried))]
    NoMirror {
        /// Its name.
        file: String,
        /// Addresses and what was wrong there.
        tried: Vec<(String, String)>,
    },
    /// The cache cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

struct Tried<'a>(&'a [(String, String)]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(url, problem)| write!(f, "\n  {url}: {problem}"))
    }
}

fn failed(path: &Path, reason: io::Error) -> DownloadError {
    DownloadError::Write { path: path.to_owned(), reason }
}

impl Published {
    /// The folder of this set in `cache`, where what is not there yet is downloaded to. Every file has the
    /// published length and SHA-256 sum or does not appear; archives are unpacked. `mirrors`, if there are any,
    /// take the place of the published ones. `watch` is told how far each transfer is.
    ///
    /// # Errors
    /// When no mirror has a file as it should be, with what was wrong at each, or the cache cannot be written.
    pub fn download(
        &self,
        cache: &Path,
        mirrors: &[String],
        watch: &mut dyn FnMut(&Transfer<'_>),
    ) -> Result<PathBuf, DownloadError> {
        let folder = cache.join(self.name);
        let published: Vec<String> = self.mirrors.iter().map(|mirror| (*mirror).to_owned()).collect();
        let mirrors = if mirrors.is_empty() { &published } else { mirrors };
        for file in self.files {
            match file.name.strip_suffix(".tar.gz") {
                None if folder.join(file.name).is_file() => {}
                None => drop(transfer::fetch(file, mirrors, &folder, watch)?),
                Some(name) if folder.join(name).is_dir() => {}
                Some(name) => {
                    let archive = transfer::fetch(file, mirrors, &folder, watch)?;
                    unpack(&archive, &folder.join(name))?;
                    fs::remove_file(&archive).map_err(|reason| failed(&archive, reason))?;
                }
            }
        }
        Ok(folder)
    }

    /// Whether everything is in `cache` already.
    pub fn is_in(&self, cache: &Path) -> bool {
        let folder = cache.join(self.name);
        self.files.iter().all(|file| folder.join(file.name.trim_end_matches(".tar.gz")).exists())
    }
}

/// Unpacks an archive; `folder` appears when all of it is there.
fn unpack(archive: &Path, folder: &Path) -> Result<(), DownloadError> {
    let beside = folder.parent().unwrap_or(Path::new("."));
    let unpacked = tempfile::Builder::new().prefix(".nasgen-").tempdir_in(beside);
    let unpacked = unpacked.map_err(|reason| failed(beside, reason))?;
    let mut entries = tar::Archive::new(GzDecoder::new(File::open(archive).map_err(|reason| failed(archive, reason))?));
    // Paths that lead out of the folder are refused by `tar`.
    entries.unpack(unpacked.path()).map_err(|reason| failed(folder, reason))?;
    fs::rename(unpacked.path(), folder).map_err(|reason| failed(folder, reason))
}

#[cfg(test)]
mod tests;
