//! Where images come from.

use super::{
    cifar,
    download::{DownloadError, Published, Transfer},
    error::DataError,
    folder,
    format::ImageFormat,
    idx,
    images::{Dataset, Images},
    listing::{self, Listing},
    manifest,
    pixels::Room,
    synthetic,
    tally::{Tally, counted, some},
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt, fs,
    io::ErrorKind,
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
    /// A CSV table `path,label[,split]`; paths are relative to its folder.
    Manifest(PathBuf),
    /// A data set that everybody knows: see [`Source::located`].
    Published(Published),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "synthetic" => Self::Synthetic,
            path if path.to_lowercase().ends_with(".csv") => Self::Manifest(path.into()),
            text => Published::named(text).map_or_else(|| Self::Folder(text.into()), Self::Published),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synthetic => f.write_str("synthetic"),
            Self::Folder(path) | Self::Manifest(path) => path.display().fmt(f),
            Self::Published(published) => published.fmt(f),
        }
    }
}

impl Source {
    /// Reads all images, in `format`, into `room`. The result is a function of the source and the
    /// format alone.
    ///
    /// # Errors
    ///
    /// If there is no training image or only one class, or if files contradict themselves or each
    /// other. Single images that cannot be read are left out, with a note.
    pub fn load(&self, format: &ImageFormat, room: &Room) -> Result<Dataset, DataError> {
        format.check()?;
        match self {
            Self::Synthetic => Ok(synthetic::load(format)),
            Self::Folder(path) => load_folder(path, format, room),
            Self::Manifest(path) => {
                let mut tally = Tally::with(room.clone());
                let contents = manifest::load(path, format, &mut tally)?;
                finished(path, contents, format, tally)
            }
            Self::Published(published) => Err(DataError::NotDownloaded(published.name)),
        }
    }

    /// Where the images are on this machine: a published set is downloaded to `cache` if it is not there yet,
    /// as [`Published::download`] does it.
    ///
    /// # Errors
    /// When that fails.
    pub fn located(
        &self,
        cache: &Path,
        mirrors: &[String],
        watch: &mut dyn FnMut(&Transfer<'_>),
    ) -> Result<Self, DownloadError> {
        match self {
            Self::Published(published) => published.download(cache, mirrors, watch).map(Self::Folder),
            here => Ok(here.clone()),
        }
    }

    /// The same source, wherever the program is started.
    #[must_use]
    pub fn absolute(self) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        match self {
            Self::Synthetic => Self::Synthetic,
            Self::Folder(path) => Self::Folder(absolute(path)),
            Self::Manifest(path) => Self::Manifest(absolute(path)),
            Self::Published(published) => Self::Published(published),
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

fn load_folder(path: &Path, format: &ImageFormat, room: &Room) -> Result<Dataset, DataError> {
    check_folder(path)?;
    let root = unwrapped(Listing::of(path)?)?;
    let mut tally = Tally::with(room.clone());
    let contents = if let Some(kind) = cifar::kind(&root) {
        cifar::load(kind, &root, format, &mut tally)?
    } else if idx::is_idx(&root) {
        idx::load(&root, format, &mut tally)?
    } else {
        folder::load(&root, format, &mut tally)?
    };
    finished(path, contents, format, tally)
}

fn check_folder(path: &Path) -> Result<(), DataError> {
    let path = path.to_owned();
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(DataError::NotAFolder(path)),
        Err(reason) if matches!(reason.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(DataError::NoFolder { hint: listing::hint(&path), path })
        }
        Err(reason) => Err(DataError::Read { path, reason }),
    }
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

/// Checks that there is something to learn from, and sums up.
fn finished(path: &Path, contents: Contents, format: &ImageFormat, mut tally: Tally) -> Result<Dataset, DataError> {
    let Contents { classes, mut parts } = contents;
    let train = parts.remove(&Part::Train).filter(|train| !train.is_empty()).ok_or_else(|| DataError::NoImages {
        path: path.to_owned(),
        found: instead(&tally),
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
fn instead(tally: &Tally) -> String {
    let unreadable = &tally.unreadable;
    if !unreadable.is_empty() {
        return format!(": {}: {}", counted(unreadable.len(), "unreadable image"), some(unreadable));
    }
    if !tally.remarks.is_empty() {
        return format!(": {}", tally.remarks.join("; "));
    }
    ": looked for class folders of jpg, png, bmp or webp files, for CIFAR binary files and for IDX files".into()
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
    tally.remark(&missing, |classes| format!("no {part} images of {classes}"));
}

/// The name of the folder at `path`, also if that is `.`.
fn name(path: &Path) -> String {
    let full = fs::canonicalize(path);
    let name = listing::name(full.as_deref().unwrap_or(path));
    if name.is_empty() { path.display().to_string() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;
    use image::{GrayImage, Luma};
    use tempfile::TempDir;

    const FORMAT: ImageFormat = ImageFormat { channels: 3, height: 2, width: 2, fit: Fit::Letterbox };

    fn folder(files: &[&str]) -> TempDir {
        let root = TempDir::new().expect("a temporary folder");
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a temporary folder");
            match file.ends_with("broken.png") || file.ends_with(".csv") {
                true => fs::write(&path, "text").expect("a temporary file"),
                false => GrayImage::from_pixel(4, 2, Luma([9])).save(&path).expect("a temporary image"),
            }
        }
        root
    }

    fn loaded(path: PathBuf) -> Result<Dataset, DataError> {
        Source::Folder(path).load(&FORMAT, &Room::default())
    }

    fn load_error(path: PathBuf) -> String {
        loaded(path).expect_err("unusable data").to_string()
    }

    #[test]
    fn sources_are_read_as_they_are_written() {
        for text in ["synthetic", "data/flowers", "./synthetic", "mnist", "./mnist"] {
            let Ok(source) = text.parse::<Source>();
            assert_eq!(source.to_string(), text);
            assert_eq!(source == Source::Synthetic, text == "synthetic");
            assert_eq!(matches!(source, Source::Published(_)), text == "mnist");
        }
    }

    #[test]
    fn a_folder_becomes_a_data_set_with_notes() -> Result<(), DataError> {
        let root = folder(&["x/train/a/1.png", "x/train/b/1.png", "x/val/a/1.png"]);
        fs::create_dir(root.path().join("x/test")).expect("a temporary folder");
        let data = loaded(root.path().join("x"))?;
        assert_eq!((data.name.as_str(), data.classes.join(" ").as_str()), ("x", "a b"));
        assert_eq!(data.train.image(0)[..], [9, 9, 0, 0].repeat(3));
        assert!(data.validation.is_some() && data.test.is_none());
        assert_eq!(
            data.notes,
            [
                "3 grey images converted to colour",
                "3 images resized from 4×2 to 2×2 (letterbox)",
                "no validation images of b",
                "there are no test images",
            ]
        );
        Ok(())
    }

    #[test]
    fn archives_folders_in_folders_are_gone_through() -> Result<(), DataError> {
        let root = folder(&["x/y/a/1.png", "x/y/b/1.png"]);
        assert_eq!(loaded(root.path().to_owned())?.classes, ["a", "b"]);
        let root = folder(&["train/a/1.png", "train/b/1.png"]);
        assert_eq!(loaded(root.path().to_owned())?.classes, ["a", "b"]);
        let root = TempDir::new().expect("a temporary folder");
        let inner = root.path().join("cifar-10-batches-bin");
        fs::create_dir(&inner).expect("a temporary folder");
        fs::write(inner.join("data_batch_1.bin"), vec![1; 3073]).expect("a temporary file");
        assert_eq!(loaded(root.path().to_owned())?.classes.len(), 10);
        Ok(())
    }

    #[test]
    fn missing_folders_are_named_with_their_neighbour() {
        let root = folder(&["flowers/a/1.png", "list.csv"]);
        let (right, wrong) = (root.path().join("flowers"), root.path().join("flower"));
        let wanted = format!("no folder `{}`; did you mean `{}`?", wrong.display(), right.display());
        assert_eq!(load_error(wrong), wanted);
        let relative = load_error("no-such-folder".into());
        assert_eq!(relative, "no folder `no-such-folder` (paths are relative to the current directory)");
        assert!(matches!(loaded(root.path().join("list.csv")), Err(DataError::NotAFolder(_))));
    }

    #[test]
    fn folders_without_readable_images_say_what_they_hold() {
        let said = |files: &[&str]| {
            let root = folder(files);
            load_error(root.path().to_owned()).replace(&root.path().display().to_string(), "ROOT")
        };
        let nothing = "no readable training image in `ROOT`";
        assert!(said(&[]).starts_with(&format!("{nothing}: looked for class folders of jpg")));
        assert_eq!(said(&["1.png"]), format!("{nothing}: 1 image in no class folder: 1.png"));
        let broken = ["a/broken.png", "b/broken.png"];
        assert_eq!(said(&broken), format!("{nothing}: 2 unreadable images: a/broken.png, b/broken.png"));
        let deep = said(&["a/x/1.png", "b/x/1.png"]);
        assert!(deep.ends_with("not read, as in the folder of a class: a/x, b/x"), "{deep}");
    }

    #[test]
    fn one_class_is_too_few() {
        let root = folder(&["a/1.png"]);
        let error = load_error(root.path().to_owned());
        assert!(
            error.ends_with("has only one class, `a`: at least two are needed, each in a folder of its own"),
            "{error}"
        );
    }

    #[test]
    fn formats_that_no_image_has_are_errors() {
        let format = ImageFormat { channels: 4, ..FORMAT };
        assert!(matches!(Source::Synthetic.load(&format, &Room::default()), Err(DataError::Channels(4))));
    }
}
