//! The binary files of CIFAR-10 and CIFAR-100 (Krizhevsky 2009).

use super::{
    error::DataError,
    fill::from_planes,
    format::ImageFormat,
    images::Images,
    listing::{Listing, name},
    source::{Contents, Part},
    tally::Tally,
};
use crate::numbers::grouped;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Rows and columns of an image.
const SIDE: u32 = 32;
/// Bytes of an image: three planes.
const PIXELS: usize = 3 * 32 * 32;

/// One of the two record formats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Before the pixels; the last of them counts (the first of CIFAR-100 is the coarse label).
    label_bytes: usize,
    classes: usize,
    /// The text file with a class name per line.
    names: &'static str,
    part: fn(&str) -> Option<Part>,
}

const TEN: Kind = Kind {
    label_bytes: 1,
    classes: 10,
    names: "batches.meta.txt",
    part: |name| match name {
        "test_batch.bin" => Some(Part::Test),
        name if name.starts_with("data_batch_") && name.ends_with(".bin") => Some(Part::Train),
        _ => None,
    },
};

const HUNDRED: Kind = Kind {
    label_bytes: 2,
    classes: 100,
    names: "fine_label_names.txt",
    part: |name| match name {
        "test.bin" => Some(Part::Test),
        "train.bin" => Some(Part::Train),
        _ => None,
    },
};

/// Which of them the folder holds, if any.
pub(super) fn kind(root: &Listing) -> Option<Kind> {
    [TEN, HUNDRED].into_iter().find(|kind| root.files.iter().any(|file| (kind.part)(&name(file)).is_some()))
}

/// Reads all batches of the folder, in the order of their names.
pub(super) fn load(kind: Kind, root: &Listing, format: &ImageFormat, tally: &mut Tally) -> Result<Contents, DataError> {
    let classes = kind.class_names(root, tally)?;
    let mut files: BTreeMap<Part, Vec<(PathBuf, Vec<u8>)>> = BTreeMap::new();
    for path in &root.files {
        if let Some(part) = (kind.part)(&name(path)) {
            let bytes = fs::read(path).map_err(|reason| DataError::Read { path: path.clone(), reason })?;
            files.entry(part).or_default().push((path.clone(), bytes));
        }
    }
    if !files.contains_key(&Part::Train) {
        return Err(DataError::NoTrain { path: root.path.clone(), found: "a test batch".into() });
    }
    let mut parts = BTreeMap::new();
    for (part, files) in files {
        parts.insert(part, kind.images(&files, classes.len(), format, tally)?);
    }
    Ok(Contents { classes, parts })
}

impl Kind {
    fn class_names(&self, root: &Listing, tally: &mut Tally) -> Result<Vec<String>, DataError> {
        let Some(path) = root.file(self.names) else {
            tally.remarks.push(format!("no {}: classes are named 0 to {}", self.names, self.classes - 1));
            return Ok((0..self.classes).map(|class| class.to_string()).collect());
        };
        let text = fs::read_to_string(path).map_err(|reason| DataError::Read { path: path.clone(), reason })?;
        let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect();
        match names.len() {
            0 => Err(DataError::Malformed { path: path.clone(), problem: "no class name in it".into() }),
            _ => Ok(names),
        }
    }

    fn images(
        &self,
        files: &[(PathBuf, Vec<u8>)],
        classes: usize,
        format: &ImageFormat,
        tally: &mut Tally,
    ) -> Result<Images, DataError> {
        let (mut labels, mut records, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (path, bytes) in files {
            for (index, (label, pixels)) in self.records(path, bytes)?.enumerate() {
                if label as usize >= classes {
                    return Err(DataError::Label { path: path.clone(), record: index + 1, label, classes });
                }
                labels.push(label);
                records.push(pixels);
                names.push(format!("{}:{}", name(path), index + 1));
            }
        }
        from_planes(format, (SIDE, SIDE), &records, &labels, &names, tally)
    }

    /// Label and pixels of each record.
    fn records<'a>(&self, path: &Path, bytes: &'a [u8]) -> Result<impl Iterator<Item = (u32, &'a [u8])>, DataError> {
        let (label_bytes, record) = (self.label_bytes, self.label_bytes + PIXELS);
        if !bytes.len().is_multiple_of(record) {
            let wanted = format!("every record takes {}", grouped(record as u64));
            return Err(DataError::Size { path: path.to_owned(), bytes: bytes.len(), wanted });
        }
        Ok(bytes.chunks_exact(record).map(move |record| (u32::from(record[label_bytes - 1]), &record[label_bytes..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;
    use tempfile::TempDir;

    const FORMAT: ImageFormat = ImageFormat { channels: 3, height: 32, width: 32, fit: Fit::Letterbox };

    /// A record whose planes are of one value each: `value`, `value + 1`, `value + 2`.
    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        let planes = (0..3).flat_map(|plane| [value + plane; 1024]);
        labels.iter().copied().chain(planes).collect()
    }

    fn read(root: &TempDir) -> Result<(Contents, Tally), DataError> {
        let (root, mut tally) = (Listing::of(root.path())?, Tally::default());
        let kind = kind(&root).expect("the files of a test are named well");
        Ok((load(kind, &root, &FORMAT, &mut tally)?, tally))
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
        let root = TempDir::new().expect("a temporary folder");
        for (name, bytes) in files {
            fs::write(root.path().join(name), bytes).expect("a temporary file");
        }
        root
    }

    #[test]
    fn batches_are_joined_in_order_of_their_names() -> Result<(), DataError> {
        let root = folder(&[
            ("data_batch_2.bin", record(&[0], 50)),
            ("data_batch_1.bin", [record(&[1], 10), record(&[0], 20)].concat()),
            ("test_batch.bin", record(&[1], 99)),
            ("batches.meta.txt", b"cat\ndog\n\n".to_vec()),
            ("readme.html", vec![1]),
        ]);
        let (contents, tally) = read(&root)?;
        let train = &contents.parts[&Part::Train];
        assert_eq!(contents.classes, ["cat", "dog"]);
        assert_eq!(train.labels, [1, 0, 0]);
        assert_eq!((train.image(2)[0], train.image(2)[1024], train.image(2)[3071]), (50, 51, 52));
        assert_eq!(contents.parts[&Part::Test].labels, [1]);
        assert_eq!(tally.notes(&FORMAT), [""; 0]);
        Ok(())
    }

    #[test]
    fn of_a_hundred_classes_the_fine_label_counts() -> Result<(), DataError> {
        let root = folder(&[("train.bin", record(&[7, 99], 1)), ("test.bin", record(&[19, 3], 1))]);
        let (contents, tally) = read(&root)?;
        assert_eq!(contents.classes.len(), 100);
        assert_eq!(contents.parts[&Part::Train].labels, [99]);
        assert_eq!(contents.parts[&Part::Test].labels, [3]);
        assert_eq!(tally.remarks, ["no fine_label_names.txt: classes are named 0 to 99"]);
        Ok(())
    }

    #[test]
    fn a_cut_off_batch_is_an_error_with_its_sizes() {
        let root = folder(&[("data_batch_1.bin", record(&[1], 10)[..3000].to_vec())]);
        let error = read(&root).expect_err("73 bytes are missing").to_string();
        assert!(error.contains("data_batch_1.bin: it has 3,000 bytes, but every record takes 3,073"), "{error}");
    }

    #[test]
    fn a_label_beyond_the_classes_is_an_error_with_its_record() {
        let root = folder(&[("data_batch_1.bin", [record(&[9], 0), record(&[10], 0)].concat())]);
        let error = read(&root).expect_err("labels end with 9").to_string();
        assert!(error.ends_with("record 2 has label 10, but there are only 10 classes (0 to 9)"), "{error}");
    }

    #[test]
    fn without_training_batches_there_is_nothing_to_train() {
        let root = folder(&[("test_batch.bin", record(&[1], 10))]);
        assert!(matches!(read(&root), Err(DataError::NoTrain { .. })));
    }
}
