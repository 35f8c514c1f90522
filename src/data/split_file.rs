//! Which image is for what, as a file.

use super::{error::DataError, images::Images, tally::listed};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// How many images a message names before it only counts.
const NAMED: usize = 5;

/// What images can be for.
const SPLITS: [&str; 3] = ["train", "val", "test"];

/// A run's `split.csv`: a line for every image, with what it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitFile {
    rows: Vec<Row>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// [`Images::names`].
    image: String,
    class: String,
    /// `train`, `val` or `test`.
    split: String,
    /// CRC-32 of the pixels that the network gets, in hexadecimal.
    pixels: String,
}

impl SplitFile {
    /// The images of each split, by the split's name.
    pub fn of(splits: &[(&str, &Images)], classes: &[String]) -> Self {
        let row = |split: &str, images: &Images, index: usize| Row {
            image: images.names[index].clone(),
            class: classes[images.labels[index] as usize].clone(),
            split: split.to_owned(),
            pixels: format!("{:08x}", checksum(&images.image(index))),
        };
        let rows =
            splits.iter().flat_map(|(split, images)| (0..images.len()).map(move |index| row(split, images, index)));
        Self { rows: rows.collect() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it cannot be read, or is no such file.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let malformed = |error: csv::Error| DataError::Malformed { path: path.to_owned(), problem: error.to_string() };
        let rows = csv::Reader::from_path(path).map_err(malformed)?.into_deserialize().collect::<Result<_, _>>();
        Ok(Self { rows: rows.map_err(malformed)? })
    }

    /// The file's text.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = self.rows.iter().try_for_each(|row| writer.serialize(row));
        let bytes = written.ok().and_then(|()| writer.into_inner().ok());
        String::from_utf8(bytes.expect("memory takes all that is written")).expect("rows of strings are a string")
    }

    /// How many images of each of `classes` each split has, of those splits that have some.
    pub fn counts(&self, classes: &[String]) -> Vec<(&'static str, Vec<usize>)> {
        let of_split = |split: &'static str| {
            let of_class =
                |class: &String| self.rows.iter().filter(|row| row.split == split && row.class == *class).count();
            (split, classes.iter().map(of_class).collect::<Vec<usize>>())
        };
        SPLITS.into_iter().map(of_split).filter(|(_, counts)| counts.iter().any(|count| *count > 0)).collect()
    }

    /// How many of `images` were training images: of the same name, with the same pixels.
    pub fn learnt(&self, images: &Images) -> usize {
        let learnt: BTreeMap<&str, &str> = self
            .rows
            .iter()
            .filter(|row| row.split == SPLITS[0])
            .map(|row| (row.image.as_str(), row.pixels.as_str()))
            .collect();
        let is_learnt = |index: &usize| {
            let pixels = learnt.get(images.names[*index].as_str());
            pixels.is_some_and(|pixels| *pixels == format!("{:08x}", checksum(&images.image(*index))))
        };
        (0..images.len()).filter(is_learnt).count()
    }

    /// The classes that its images have, by name.
    pub fn classes(&self) -> Vec<String> {
        let classes: std::collections::BTreeSet<&String> = self.rows.iter().map(|row| &row.class).collect();
        classes.into_iter().cloned().collect()
    }

    /// The images of each split, `train`, `val` and `test`, as positions in `images`.
    pub(super) fn positions(
        &self,
        images: &Images,
        classes: &[String],
        same_pixels: bool,
    ) -> Result<[Vec<usize>; 3], DataError> {
        let position: BTreeMap<&str, usize> =
            images.names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let mut positions = [const { Vec::new() }; 3];
        let (mut missing, mut moved, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for row in &self.rows {
            let Some(part) = SPLITS.iter().position(|name| *name == row.split) else {
                return Err(DataError::Split(format!(
                    "{} is for `{}`; wanted train, val or test",
                    row.image, row.split
                )));
            };
            let Some(index) = position.get(row.image.as_str()).copied() else {
                missing.push(row.image.clone());
                continue;
            };
            let class = &classes[images.labels[index] as usize];
            if *class != row.class {
                moved.push(format!("{} ({class}, not {})", row.image, row.class));
            } else if same_pixels && format!("{:08x}", checksum(&images.image(index))) != row.pixels {
                changed.push(row.image.clone());
            }
            positions[part].push(index);
        }
        let problems = [("not in the data", missing), ("of another class", moved), ("changed", changed)];
        let problems = problems.into_iter().filter(|(_, images)| !images.is_empty());
        let problems = problems.map(|(what, images)| format!("{} {what}: {}", images.len(), listed(&images, NAMED)));
        match problems.collect::<Vec<_>>().join("; ") {
            none if none.is_empty() => Ok(positions),
            problems => Err(DataError::Split(problems)),
        }
    }
}

pub(super) fn checksum(pixels: &[u8]) -> u32 {
    crc32fast::hash(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Images {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pixels = names.iter().flat_map(|name| name.as_bytes()[..1].to_vec()).collect();
        Images::in_memory([1, 1, 1], pixels, vec![1; names.len()], names)
    }

    fn file(train: &Images, val: &Images) -> SplitFile {
        SplitFile::of(&[("train", train), ("val", val)], &["cat".into(), "dog, \"big\"".into()])
    }

    #[test]
    fn a_file_comes_back_as_it_was_written_whatever_is_in_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.csv");
        let written = file(&images(&["a,b/1.png", "q\"uote.png", "ümlaut.png"]), &images(&["x"]));
        std::fs::write(&path, written.to_csv()).unwrap();
        assert_eq!(SplitFile::read(&path).unwrap(), written);
        assert!(written.to_csv().starts_with("image,class,split,pixels\n\"a,b/1.png\",\"dog, \"\"big\"\"\",train,"));
        std::fs::write(&path, "image,class\na,b\n").unwrap();
        assert!(SplitFile::read(&path).unwrap_err().to_string().contains("split.csv"));
    }

    #[test]
    fn every_kind_of_change_is_named() {
        let classes = ["cat".into(), "dog, \"big\"".into()];
        let before = file(&images(&["a", "b", "c"]), &images(&["d"]));
        let same = images(&["d", "c", "b", "a", "new"]);
        assert_eq!(before.positions(&same, &classes, true).unwrap(), [vec![3, 2, 1], vec![0], vec![]]);
        let mut now = images(&["d", "x", "b", "a", "new"]);
        now.names[1] = "c".into();
        now.labels[2] = 0;
        now.names[3] = "z".into();
        assert_eq!(
            before.positions(&now, &classes, true).unwrap_err().to_string(),
            "the split does not fit the data: 1 not in the data: a; 1 of another class: b (cat, not dog, \"big\"); \
             1 changed: c"
        );
        now.names[3] = "a".into();
        now.labels[2] = 1;
        assert!(before.positions(&now, &classes, false).is_ok());
    }
}
