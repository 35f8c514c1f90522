//! Where samples go, and what stands there already.

use super::failure::{Failure, Kind};
use crate::{files, spec::yaml};
use std::path::{Path, PathBuf};

/// Where samples go.
pub(super) enum Destination {
    /// One, to stdout.
    Stdout,
    /// One, to this file.
    File(PathBuf),
    /// Several, to `0001.yml`, `0002.yml`, … in this folder.
    Folder(PathBuf),
}

impl Destination {
    /// What `--out` means for so many samples; `-` is stdout, as everywhere.
    ///
    /// # Errors
    /// When several have no folder to go to.
    pub(super) fn new(out: Option<&Path>, count: u64) -> Result<Self, Failure> {
        match (out.filter(|out| out.as_os_str() != "-"), count) {
            (None, 1) => Ok(Self::Stdout),
            (None, _) => Err(Failure::usage("--count over 1 needs --out FOLDER")),
            (Some(file), 1) => Ok(Self::File(file.to_owned())),
            (Some(folder), _) => Ok(Self::Folder(folder.to_owned())),
        }
    }

    /// The file of the sample `number`, from 0.
    pub(super) fn file(&self, number: u64) -> Option<PathBuf> {
        match self {
            Self::Stdout => None,
            Self::File(file) => Some(file.clone()),
            Self::Folder(folder) => Some(folder.join(format!("{:04}.yml", number + 1))),
        }
    }

    /// What would be lost: a sample is replaced by another with a note, which is returned; any other
    /// file, and a folder that holds samples, only by force.
    ///
    /// # Errors
    /// When something would be lost and `force` is not given.
    pub(super) fn check(&self, force: bool) -> Result<Option<String>, Failure> {
        let refused = |problem: String| Err(Failure::usage(format!("{problem}, or replace with --force")));
        match self {
            Self::Stdout => Ok(None),
            Self::File(file) if !file.is_file() => Ok(None),
            Self::File(file) if force || is_sample(file) => Ok(Some(format!("replaced {}", file.display()))),
            Self::File(file) => {
                refused(format!("{} exists and is no sample of nasgen; write to another file", file.display()))
            }
            Self::Folder(folder) if folder.is_file() => {
                let problem = format!("{} is a file; --count over 1 writes to a folder", folder.display());
                Err(Failure::usage(problem))
            }
            Self::Folder(folder) => match (numbered_file(folder), force) {
                (None, _) => Ok(None),
                (Some(_), true) => Ok(Some(format!("replaced samples in {}; others there are left", folder.display()))),
                (Some(file), false) => {
                    refused(format!("{} has samples already ({file}); write to another folder", folder.display()))
                }
            },
        }
    }
}

/// Writes one sample whole, with the folders above it.
///
/// # Errors
/// When the disk refuses.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    files::write_whole(path, text.as_bytes()).map_err(failed)
}

/// Whether nasgen drew the file: it has `sample:`.
fn is_sample(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).ok();
    text.and_then(|text| yaml::parse(&text).ok()).is_some_and(|tree| tree.get("sample").is_some())
}

/// The first file in `folder` that is named as samples are.
fn numbered_file(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_numbered = |name: &String| {
        let digits = name.strip_suffix(".yml").unwrap_or_default();
        digits.len() >= 4 && digits.chars().all(|digit| digit.is_ascii_digit())
    };
    names.filter(is_numbered).min()
}
