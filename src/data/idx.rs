//! IDX files, the format of MNIST (LeCun, Cortes and Burges), plain or gzipped.

use super::{
    error::DataError,
    fill::from_planes,
    format::ImageFormat,
    images::Images,
    listing::{Listing, ending, name},
    source::{Contents, Part},
    tally::{Tally, counted},
};
use crate::numbers::grouped;
use flate2::read::MultiGzDecoder;
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Beginnings of the names of the files of a part.
const PREFIXES: [(&str, Part); 4] =
    [("train", Part::Train), ("val", Part::Validation), ("t10k", Part::Test), ("test", Part::Test)];

/// An IDX file: the sizes of its dimensions, and all bytes behind the header.
struct Table {
    path: PathBuf,
    sizes: Vec<usize>,
    values: Vec<u8>,
}

/// Whether the folder holds images as IDX files.
pub(super) fn is_idx(root: &Listing) -> bool {
    root.files.iter().any(|file| part(file, "images", 3).is_some())
}

/// Reads all parts of the folder. Classes are the numbers up to the highest training label.
pub(super) fn load(root: &Listing, format: &ImageFormat, tally: &mut Tally) -> Result<Contents, DataError> {
    let files = by_part(root, "images", 3);
    if !files.contains_key(&Part::Train) {
        let found = files.keys().map(|part| part.adjective()).collect::<Vec<_>>().join(" and ") + " images";
        return Err(DataError::NoTrain { path: root.path.clone(), found });
    }
    let label_files = by_part(root, "labels", 1);
    let (mut parts, mut classes) = (BTreeMap::new(), 0);
    for (part, path) in files {
        let labels = label_files.get(&part).ok_or_else(|| no_labels(path))?;
        let (pictures, labels) = (Table::read(path, 3)?, Table::read(labels, 1)?);
        // `Part::Train` comes first.
        if part == Part::Train {
            classes = labels.values.iter().max().map_or(0, |label| usize::from(*label) + 1);
        }
        parts.insert(part, images(&pictures, &labels, classes, format, tally)?);
    }
    Ok(Contents { classes: (0..classes).map(|class| class.to_string()).collect(), parts })
}

/// What a file is for, if its name is one of `what` in `dimensions` dimensions:
/// `t10k-images-idx3-ubyte`, `train-labels.idx1-ubyte.gz`.
fn part(path: &Path, what: &str, dimensions: u8) -> Option<Part> {
    let name = name(path);
    let name = name.strip_suffix(".gz").unwrap_or(&name).strip_suffix(&format!("idx{dimensions}-ubyte"))?;
    let name = name.strip_suffix(['-', '.'])?.strip_suffix(what)?;
    PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, part)| *part)
}

/// The first file of each part: a plain one rather than the same one gzipped.
fn by_part<'a>(root: &'a Listing, what: &str, dimensions: u8) -> BTreeMap<Part, &'a PathBuf> {
    root.files.iter().rev().filter_map(|file| Some((part(file, what, dimensions)?, file))).collect()
}

fn no_labels(images: &Path) -> DataError {
    let labels = name(images).replace("images", "labels").replace("idx3", "idx1");
    DataError::Malformed {
        path: images.to_owned(),
        problem: format!("the labels of these images, {labels}, are missing"),
    }
}

fn images(
    pictures: &Table,
    labels: &Table,
    classes: usize,
    format: &ImageFormat,
    tally: &mut Tally,
) -> Result<Images, DataError> {
    let [count, height, width] = pictures.sizes[..] else { unreachable!("a table of three dimensions") };
    if labels.values.len() != count {
        let problem = format!("{} for {}", counted(labels.values.len(), "label"), counted(count, "image"));
        return Err(DataError::Malformed { path: labels.path.clone(), problem });
    }
    if let Some(index) = labels.values.iter().position(|label| usize::from(*label) >= classes) {
        let label = labels.values[index].into();
        return Err(DataError::Label { path: labels.path.clone(), record: index + 1, label, classes });
    }
    let records: Vec<&[u8]> = pictures.values.chunks_exact(height * width).collect();
    let labels: Vec<u32> = labels.values.iter().map(|label| u32::from(*label)).collect();
    let file = name(&pictures.path);
    let names: Vec<String> = (1..=count).map(|number| format!("{file}:{number}")).collect();
    from_planes(format, (width as u32, height as u32), &records, &labels, &names, tally)
}

impl Table {
    /// Reads a table of bytes of that many dimensions, none of them 0 but the first.
    fn read(path: &Path, dimensions: u8) -> Result<Self, DataError> {
        let mut values = unpacked(path)?;
        let sizes = sizes(path, &values, dimensions)?;
        let header = 4 + 4 * sizes.len();
        values.drain(..header);
        Ok(Self { path: path.to_owned(), sizes, values })
    }
}

/// The sizes that the header of an IDX file of bytes announces, and that the file has.
fn sizes(path: &Path, bytes: &[u8], dimensions: u8) -> Result<Vec<usize>, DataError> {
    let malformed = |problem| DataError::Malformed { path: path.to_owned(), problem };
    let magic = [0, 0, 8, dimensions];
    let header = 4 + 4 * usize::from(dimensions);
    if !bytes.starts_with(&magic) || bytes.len() < header {
        let begin = &bytes[..bytes.len().min(4)];
        return Err(malformed(format!(
            "it begins with {begin:02x?}, not with a header of {header} bytes, {magic:02x?}…"
        )));
    }
    let sizes: Vec<usize> = bytes[4..header].chunks_exact(4).map(big_endian).collect();
    if sizes[1..].contains(&0) {
        return Err(malformed(format!("images of {} pixels", text(&sizes[1..]))));
    }
    let announced = sizes.iter().try_fold(1, |product: usize, size| product.checked_mul(*size));
    if announced != Some(bytes.len() - header) {
        let wanted = format!("its header announces {} after the first {header}", text(&sizes));
        return Err(DataError::Size { path: path.to_owned(), bytes: bytes.len(), wanted });
    }
    Ok(sizes)
}

fn big_endian(word: &[u8]) -> usize {
    word.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// `10 × 28 × 28`
fn text(sizes: &[usize]) -> String {
    sizes.iter().map(|size| grouped(*size as u64)).collect::<Vec<_>>().join(" × ")
}

fn unpacked(path: &Path) -> Result<Vec<u8>, DataError> {
    let read = || {
        let bytes = fs::read(path)?;
        if ending(path) != "gz" {
            return Ok(bytes);
        }
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked)?;
        Ok(unpacked)
    };
    read().map_err(|reason| DataError::Read { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;
    use flate2::{Compression, write::GzEncoder};
    use std::io::{self, Write};
    use tempfile::TempDir;

    const FORMAT: ImageFormat = ImageFormat { channels: 1, height: 2, width: 3, fit: Fit::Letterbox };

    fn table(sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let sizes_bytes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes_bytes).chain(values.iter().copied()).collect()
    }

    fn gzipped(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes)?;
        encoder.finish()
    }

    /// Two training images of 2×3 with labels 2 and 0.
    fn folder(suffix: &str) -> io::Result<TempDir> {
        let root = TempDir::new()?;
        let images: Vec<u8> = (1..=12).collect();
        fs::write(root.path().join(format!("train-images{suffix}idx3-ubyte")), table(&[2, 2, 3], &images))?;
        fs::write(root.path().join(format!("train-labels{suffix}idx1-ubyte")), table(&[2], &[2, 0]))?;
        Ok(root)
    }

    fn read(root: &TempDir) -> Result<Contents, DataError> {
        let root = Listing::of(root.path())?;
        assert!(is_idx(&root));
        load(&root, &FORMAT, &mut Tally::default())
    }

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn images_and_labels_are_read_under_both_names() -> Outcome {
        for suffix in ["-", "."] {
            let contents = read(&folder(suffix)?)?;
            assert_eq!(contents.classes, ["0", "1", "2"]);
            assert_eq!(contents.parts[&Part::Train].image(1)[..], [7, 8, 9, 10, 11, 12]);
            assert_eq!(contents.parts[&Part::Train].labels, [2, 0]);
        }
        Ok(())
    }

    #[test]
    fn gzipped_files_are_unpacked_in_memory() -> Outcome {
        let root = folder("-")?;
        fs::write(root.path().join("t10k-images-idx3-ubyte.gz"), gzipped(&table(&[1, 1, 3], &[4, 5, 6]))?)?;
        fs::write(root.path().join("t10k-labels-idx1-ubyte.gz"), gzipped(&table(&[1], &[1]))?)?;
        let contents = read(&root)?;
        assert_eq!(contents.parts[&Part::Test].image(0)[..], [4, 5, 6, 0, 0, 0]);
        assert_eq!(fs::read_dir(root.path())?.count(), 4);
        Ok(())
    }

    #[test]
    fn files_of_the_wrong_size_are_errors_with_both_sizes() -> Outcome {
        let root = folder("-")?;
        fs::write(root.path().join("train-images-idx3-ubyte"), table(&[2, 2, 3], &[0; 11]))?;
        let error = read(&root).expect_err("a byte is missing").to_string();
        assert!(error.contains("has 27 bytes, but its header announces 2 × 2 × 3 after the first 16"), "{error}");
        fs::write(root.path().join("train-images-idx3-ubyte"), table(&[u32::MAX; 3], &[0; 11]))?;
        assert!(matches!(read(&root), Err(DataError::Size { bytes: 27, .. })));
        Ok(())
    }

    #[test]
    fn other_files_under_these_names_are_errors() -> Outcome {
        for bytes in [vec![], b"PK".to_vec(), table(&[2, 6], &[0; 12]), table(&[2, 0, 3], &[])] {
            let root = folder("-")?;
            fs::write(root.path().join("train-images-idx3-ubyte"), bytes)?;
            assert!(matches!(read(&root), Err(DataError::Malformed { .. })));
        }
        let root = folder("-")?;
        fs::write(root.path().join("t10k-images-idx3-ubyte.gz"), b"not gzip")?;
        fs::write(root.path().join("t10k-labels-idx1-ubyte.gz"), b"not gzip")?;
        let error = read(&root).expect_err("not gzip").to_string();
        assert!(error.contains("t10k-images-idx3-ubyte.gz`: ") && error.ends_with("unexpected end of file"), "{error}");
        Ok(())
    }

    #[test]
    fn labels_must_be_there_for_every_image_and_known_from_training() -> Outcome {
        let root = folder("-")?;
        fs::write(root.path().join("test-images-idx3-ubyte"), table(&[1, 1, 1], &[0]))?;
        let error = read(&root).expect_err("no labels").to_string();
        assert!(error.ends_with("the labels of these images, test-labels-idx1-ubyte, are missing"), "{error}");
        fs::write(root.path().join("test-labels-idx1-ubyte"), table(&[1], &[3]))?;
        let error = read(&root).expect_err("a label beyond the classes").to_string();
        assert!(error.ends_with("record 1 has label 3, but there are only 3 classes (0 to 2)"), "{error}");
        fs::write(root.path().join("test-labels-idx1-ubyte"), table(&[2], &[1, 1]))?;
        let error = read(&root).expect_err("a label too many").to_string();
        assert!(error.ends_with("2 labels for 1 image"), "{error}");
        Ok(())
    }

    #[test]
    fn test_images_alone_are_nothing_to_train_on() -> Outcome {
        let root = TempDir::new()?;
        fs::write(root.path().join("t10k-images-idx3-ubyte"), [])?;
        let error = read(&root).expect_err("no training images").to_string();
        assert!(error.ends_with("has test images, but no training images (`train`)"), "{error}");
        Ok(())
    }
}
