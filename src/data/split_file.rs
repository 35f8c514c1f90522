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
            pixels: format!("{:08x}", crc32fast::hash(images.image(index))),
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

    /// The images of each split, `train`, `val` and `test`, as positions in `images`.
    ///
    /// # Errors
    /// When an image is not among them, is of another class there, or is for something else.
    pub(super) fn positions(&self, images: &Images, classes: &[String]) -> Result<[Vec<usize>; 3], DataError> {
        let position: BTreeMap<&str, usize> =
            images.names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let mut positions = [const { Vec::new() }; 3];
        let mut problems = Vec::new();
        for Row { image, class, split, .. } in &self.rows {
            let index = position.get(image.as_str()).copied();
            let part = SPLITS.iter().position(|name| name == split);
            match (index, part) {
                (None, _) => problems.push(format!("{image} is not in the data")),
                (_, None) => problems.push(format!("{image} is for `{split}`; wanted train, val or test")),
                (Some(index), _) if classes[images.labels[index] as usize] != *class => {
                    let actual = &classes[images.labels[index] as usize];
                    problems.push(format!("{image} is of class {class} here, and of {actual} in the data"));
                }
                (Some(index), Some(part)) => positions[part].push(index),
            }
        }
        match problems.is_empty() {
            true => Ok(positions),
            false => Err(DataError::Split(listed(&problems, NAMED))),
        }
    }

    /// In what way `now` is not what this file says: sentence fragments, none if all is the same.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let by_name =
            |rows: &[Row]| rows.iter().map(|row| (row.image.clone(), row.clone())).collect::<BTreeMap<_, _>>();
        let (before, after) = (by_name(&self.rows), by_name(&now.rows));
        let names = |of: &BTreeMap<String, Row>, take: &dyn Fn(&Row) -> bool| {
            of.values().filter(|row| take(row)).map(|row| row.image.clone()).collect::<Vec<_>>()
        };
        let pair = |row: &Row| after.get(&row.image);
        [
            ("missing", names(&before, &|row| pair(row).is_none())),
            ("new", names(&after, &|row| !before.contains_key(&row.image))),
            (
                "of another class or split",
                names(&before, &|row| {
                    pair(row).is_some_and(|now| (&now.class, &now.split) != (&row.class, &row.split))
                }),
            ),
            ("changed", names(&before, &|row| pair(row).is_some_and(|now| now.pixels != row.pixels))),
        ]
        .into_iter()
        .filter(|(_, images)| !images.is_empty())
        .map(|(what, images)| format!("{} {what}: {}", images.len(), listed(&images, NAMED)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Images {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pixels = names.iter().flat_map(|name| name.as_bytes()[..1].to_vec()).collect();
        Images { channels: 1, height: 1, width: 1, pixels, labels: vec![1; names.len()], names }
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
        let before = file(&images(&["a", "b", "c"]), &images(&["d"]));
        assert_eq!(before.changes(&before), [""; 0]);
        let mut train = images(&["b", "c", "d", "n"]);
        train.pixels[1] = 0;
        assert_eq!(
            before.changes(&file(&train, &images(&[]))),
            ["1 missing: a", "1 new: n", "1 of another class or split: d", "1 changed: c"]
        );
    }
}
