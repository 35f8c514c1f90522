//! Where images come from.

use super::{
    cifar,
    error::DataError,
    folder,
    format::ImageFormat,
    idx,
    images::{Dataset, Images},
    listing::{self, Listing},
    synthetic,
    tally::{NAMED, Tally, counted, listed},
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// How many folders that hold nothing but one folder are gone through.
const DEPTH: usize = 3;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The built-in set: ten shapes in random colours, 2,000 training and 500 test images, the
    /// same for every seed.
    Synthetic,
    /// A folder: class folders of images with or without `train`, `val`, `test` above them,
    /// CIFAR-10/100 binary files, or IDX files as MNIST has them.
    Folder(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "synthetic" => Self::Synthetic,
            path => Self::Folder(path.into()),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synthetic => f.write_str("synthetic"),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

impl Source {
    /// Reads all images into memory, in `format`. The result is a function of the source and the
    /// format alone.
    ///
    /// # Errors
    ///
    /// If there is no training image or only one class, or if files contradict themselves or each
    /// other. Single images that cannot be read are left out, with a note.
    pub fn load(&self, format: &ImageFormat) -> Result<Dataset, DataError> {
        format.check()?;
        match self {
            Self::Synthetic => Ok(synthetic::load(format)),
            Self::Folder(path) => load_folder(path, format),
        }
    }
}

/// What images are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    /// In sentences: `12 test images`.
    pub(super) fn adjective(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// What a reader makes of a folder.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) classes: Vec<String>,
    pub(super) parts: BTreeMap<Part, Images>,
}

fn load_folder(path: &Path, format: &ImageFormat) -> Result<Dataset, DataError> {
    match fs::metadata(path) {
        Err(_) => return Err(DataError::NoFolder { path: path.to_owned(), hint: listing::hint(path) }),
        Ok(found) if !found.is_dir() => return Err(DataError::NotAFolder(path.to_owned())),
        Ok(_) => {}
    }
    let root = unwrapped(Listing::of(path)?)?;
    let mut tally = Tally::default();
    let contents = if let Some(kind) = cifar::kind(&root) {
        cifar::load(kind, &root, format, &mut tally)?
    } else if idx::is_idx(&root) {
        idx::load(&root, format, &mut tally)?
    } else {
        folder::load(&root, format, &mut tally)?
    };
    finished(path, &root, contents, format, tally)
}

/// Goes through folders that hold nothing but one other, as archives unpack to.
fn unwrapped(mut root: Listing) -> Result<Listing, DataError> {
    for _ in 0..DEPTH {
        let [only] = &root.folders[..] else { break };
        if cifar::kind(&root).is_some() || idx::is_idx(&root) || root.images().next().is_some() {
            break;
        }
        let inner = Listing::of(only)?;
        if folder::part(only).is_some() || inner.images().next().is_some() {
            break;
        }
        root = inner;
    }
    Ok(root)
}

fn finished(
    path: &Path,
    root: &Listing,
    contents: Contents,
    format: &ImageFormat,
    mut tally: Tally,
) -> Result<Dataset, DataError> {
    let Contents { classes, mut parts } = contents;
    let train = parts.remove(&Part::Train).filter(|train| !train.is_empty()).ok_or_else(|| DataError::NoImages {
        path: path.to_owned(),
        found: instead(root, &tally),
        hint: listing::hint(path),
    })?;
    if let [class] = &classes[..] {
        return Err(DataError::OneClass { path: path.to_owned(), class: class.clone() });
    }
    remark_gaps(Part::Train, &train, &classes, &mut tally);
    parts.iter().for_each(|(part, images)| remark_gaps(*part, images, &classes, &mut tally));
    parts.retain(|_, images| !images.is_empty());
    let (validation, test) = (parts.remove(&Part::Validation), parts.remove(&Part::Test));
    Ok(Dataset { name: name(path), classes, train, validation, test, notes: tally.notes(format) })
}

/// What a folder without training images holds instead.
fn instead(root: &Listing, tally: &Tally) -> String {
    let unreadable = &tally.unreadable;
    if !unreadable.is_empty() {
        return format!(": {}: {}", counted(unreadable.len(), "unreadable image"), listed(unreadable, NAMED));
    }
    match root.images().count() {
        0 => ": looked for class folders of jpg, png, bmp or webp files, for CIFAR binary files and IDX files".into(),
        loose => format!(": {} in no class folder (wanted: `CLASS/IMAGE`)", counted(loose, "image")),
    }
}

/// Says which classes have no image in a part of the data.
fn remark_gaps(part: Part, images: &Images, classes: &[String], tally: &mut Tally) {
    let part = part.adjective();
    if images.is_empty() {
        return tally.remarks.push(format!("there are no {part} images"));
    }
    let counts = images.class_counts(classes.len());
    let missing: Vec<String> =
        classes.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(class, _)| class.clone()).collect();
    if !missing.is_empty() {
        let count = if missing.len() == 1 { "class has".into() } else { format!("{} classes have", missing.len()) };
        tally.remarks.push(format!("{count} no {part} images: {}", listed(&missing, NAMED)));
    }
}

/// The name of the folder at `path`, also if that is `.`.
fn name(path: &Path) -> String {
    let full = fs::canonicalize(path);
    let name = listing::name(full.as_deref().unwrap_or(path));
    if name.is_empty() { path.display().to_string() } else { name }
}

