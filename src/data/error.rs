//! What can be wrong with data, said so that a user can put it right.

use super::tally::{counted, listed};
use crate::numbers::{grouped, short};
use std::{io, path::PathBuf};

/// How many classes of a list an error shows.
const SHOWN: usize = 20;

/// Data that cannot be used. Messages are lowercase fragments that include their cause.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Nothing lies at the path of the data.
    #[error("no folder `{path}`{hint}")]
    NoFolder {
        /// As the user wrote it.
        path: PathBuf,
        /// How the path was read, and the nearest name that exists.
        hint: String,
    },
    /// A file lies at the path of the data.
    #[error("`{0}` is a file; data is a folder of images, of CIFAR binary files or of IDX files")]
    NotAFolder(PathBuf),
    /// A published data set that must be downloaded before it is read.
    #[error("{0} is not downloaded yet")]
    NotDownloaded(&'static str),
    /// The folder has nothing to train on.
    #[error("no readable training image in `{path}`{found}{hint}")]
    NoImages {
        /// As the user wrote it.
        path: PathBuf,
        /// What is there instead, and what was looked for.
        found: String,
        /// How the path was read, and the nearest name that exists.
        hint: String,
    },
    /// There is nothing to tell apart.
    #[error("`{path}` has only one class, `{class}`: at least two are needed, each in a folder of its own")]
    OneClass {
        /// The folder.
        path: PathBuf,
        /// Its only class.
        class: String,
    },
    /// Images to validate or test with, and none to train with.
    #[error("`{path}` has {found}, but no training images (`train`)")]
    NoTrain {
        /// The folder.
        path: PathBuf,
        /// What there is.
        found: String,
    },
    /// Training images that are not sorted into classes.
    #[error("`{0}` has no class folders: wanted `train/CLASS/IMAGE`")]
    Unsorted(PathBuf),
    /// Two folders that both look like one part of the data.
    #[error("`{first}` and `{second}` are both {part} images: which of them is meant?")]
    Ambiguous {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// `training`, `validation` or `test`.
        part: &'static str,
    },
    /// Classes that no network trained on this data could name.
    #[error("{}", unknown_classes(part, unknown, known))]
    UnknownClasses {
        /// The folder of the part that has them, e.g. `val`.
        part: String,
        /// They, sorted by name.
        unknown: Vec<String>,
        /// The classes of the training images, sorted by name.
        known: Vec<String>,
    },
    /// A label that stands for no class.
    #[error("{path}: record {record} has label {label}, but there are only {classes} classes (0 to {})", classes - 1)]
    Label {
        /// The file with the label.
        path: PathBuf,
        /// Counted from 1.
        record: usize,
        /// What stands there.
        label: u32,
        /// How many classes there are, at least 1.
        classes: usize,
    },
    /// A file of splits that does not fit the images.
    #[error("the split does not fit the data: {0}")]
    Split(String),
    /// A file that is shorter or longer than its format says.
    #[error("{path}: it has {}, but {wanted}: it is cut off or of another format", counted(*bytes, "byte"))]
    Size {
        /// The file.
        path: PathBuf,
        /// How long it is; of a compressed file, what it unpacks to.
        bytes: usize,
        /// What its length should be.
        wanted: String,
    },
    /// A file that is not what its name says.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was wanted and what came.
        problem: String,
    },
    /// A file or folder that cannot be read.
    #[error("cannot read `{path}`: {reason}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// One image that was asked for by its name and cannot be decoded.
    #[error("cannot read the image `{path}`: {reason}")]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: image::ImageError,
    },
    /// A number of channels that pictures do not have.
    #[error("the network takes {0} channels, but images have 1 (grey) or 3 (colour)")]
    Channels(usize),
    /// A size without pixels.
    #[error("the network takes images of {width}×{height} pixels")]
    NoPixels {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Decoded images that can go nowhere.
    #[error(
        "{}B of decoded images do not fit the memory, and a temporary file for them in `{}` failed: {reason}",
        short(*bytes as u64), folder.display()
    )]
    NoRoom {
        /// That they take.
        bytes: usize,
        /// Of the file.
        folder: PathBuf,
        /// The system's.
        reason: io::Error,
    },
    /// More images than the memory can hold.
    #[error(
        "{} need {} MiB of memory at this size, more than there is",
        counted(*images, "image"), grouped(*bytes as u64 >> 20)
    )]
    TooLarge {
        /// How many.
        images: usize,
        /// How much they need.
        bytes: usize,
    },
}

fn unknown_classes(part: &str, unknown: &[String], known: &[String]) -> String {
    let said: Vec<String> = unknown.iter().map(|class| with_twin(class, known)).collect();
    let only_here = listed(&said, SHOWN);
    format!("`{part}` has classes that `train` does not have: {only_here}; `train` has {}", listed(known, SHOWN))
}

/// The class, and the known one that only upper and lower case tell from it.
fn with_twin(class: &str, known: &[String]) -> String {
    match known.iter().find(|name| name.to_lowercase() == class.to_lowercase()) {
        Some(twin) => format!("{class} (only upper and lower case differ from {twin})"),
        None => class.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_classes_show_both_lists_and_twins() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect();
        let error =
            DataError::UnknownClasses { part: "val".into(), unknown: names("Daisy oak"), known: names("daisy rose") };
        assert_eq!(
            error.to_string(),
            "`val` has classes that `train` does not have: Daisy (only upper and lower case differ from daisy), oak; \
             `train` has daisy, rose"
        );
    }

    #[test]
    fn numbers_and_places_are_in_the_message() {
        let error = DataError::Label { path: "a.bin".into(), record: 7, label: 12, classes: 10 };
        assert_eq!(error.to_string(), "a.bin: record 7 has label 12, but there are only 10 classes (0 to 9)");
        let error = DataError::TooLarge { images: 1000, bytes: 5 << 30 };
        assert_eq!(error.to_string(), "1,000 images need 5,120 MiB of memory at this size, more than there is");
    }
}
