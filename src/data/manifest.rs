//! A table of images: `path,label[,split]`.

use super::{
    error::DataError,
    fill::fill,
    folder::part_named,
    format::ImageFormat,
    picture::Picture,
    source::{Contents, Part},
    tally::Tally,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What the columns may be called, in lower case.
const COLUMNS: [(&str, &[&str]); 3] = [
    ("path", &["path", "image", "file", "filename"]),
    ("label", &["label", "class"]),
    ("split", &["split", "part", "subset"]),
];

/// One row.
struct Row {
    path: PathBuf,
    name: String,
    label: String,
    part: Part,
}

/// Reads the images of the table at `path`, whose paths are relative to its folder. The classes are
/// those of the training images; without a column for the split all are training images.
pub(super) fn load(path: &Path, format: &ImageFormat, tally: &mut Tally) -> Result<Contents, DataError> {
    let rows = rows(path)?;
    let of = |part: Part| rows.iter().filter(move |row| row.part == part);
    let classes: BTreeSet<&str> = of(Part::Train).map(|row| row.label.as_str()).collect();
    let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
    let mut parts = BTreeMap::new();
    for part in [Part::Train, Part::Validation, Part::Test] {
        let members: Vec<&Row> = of(part).collect();
        let unknown: BTreeSet<&str> = members.iter().map(|row| row.label.as_str()).collect();
        let unknown: Vec<String> =
            unknown.into_iter().filter(|label| !classes.iter().any(|class| class == label)).map(Into::into).collect();
        if !unknown.is_empty() {
            return Err(DataError::UnknownClasses { part: part.adjective().into(), unknown, known: classes });
        }
        if members.is_empty() {
            continue;
        }
        let label = |row: &&Row| classes.binary_search(&row.label).unwrap_or_default() as u32;
        let labels: Vec<u32> = members.iter().map(label).collect();
        let names: Vec<String> = members.iter().map(|row| row.name.clone()).collect();
        let read = |row: &&Row| Picture::read(&row.path).ok();
        let (images, failed) = fill(format, &members, &labels, &names, read, tally)?;
        tally.unreadable.extend(failed.into_iter().map(|index| names[index].clone()));
        parts.insert(part, images);
    }
    Ok(Contents { classes, parts })
}

fn rows(path: &Path) -> Result<Vec<Row>, DataError> {
    let malformed = |problem: String| DataError::Malformed { path: path.to_owned(), problem };
    let mut reader = csv::Reader::from_path(path).map_err(|error| malformed(error.to_string()))?;
    let header = reader.headers().map_err(|error| malformed(error.to_string()))?.clone();
    let column = |index: usize| {
        let (_, names) = COLUMNS[index];
        header.iter().position(|name| names.contains(&name.trim().to_lowercase().as_str()))
    };
    let (Some(of_path), Some(of_label)) = (column(0), column(1)) else {
        let got = header.iter().collect::<Vec<_>>().join(",");
        return Err(malformed(format!("wanted a first line such as path,label or path,label,split, got {got}")));
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let row = |(index, record): (usize, Result<csv::StringRecord, csv::Error>)| {
        let record = record.map_err(|error| malformed(error.to_string()))?;
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        let part = match column(2).map(cell) {
            None | Some("") => Part::Train,
            Some(name) => part_named(name).ok_or_else(|| {
                malformed(format!("line {}: wanted train, val or test as split, got `{name}`", index + 2))
            })?,
        };
        if cell(of_path).is_empty() || cell(of_label).is_empty() {
            return Err(malformed(format!("line {}: path or label is missing", index + 2)));
        }
        let name = cell(of_path).to_owned();
        Ok(Row { path: folder.join(&name), name, label: cell(of_label).to_owned(), part })
    };
    let rows: Vec<Row> = reader.records().enumerate().map(row).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    match rows.iter().find(|row| !seen.insert(&row.name)) {
        Some(twice) => Err(malformed(format!("{} stands in it twice", twice.name))),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;
    use image::{GrayImage, Luma};

    fn read(table: &str) -> Result<(Contents, Vec<String>), DataError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, value) in [("a.png", 1), ("b, c.png", 2), ("d.png", 3)] {
            GrayImage::from_pixel(1, 1, Luma([value])).save(folder.path().join(name)).expect("a temporary image");
        }
        std::fs::write(folder.path().join("list.csv"), table).expect("a temporary file");
        let format = ImageFormat { channels: 1, height: 1, width: 1, fit: Fit::Stretch };
        let mut tally = Tally::default();
        let contents = load(&folder.path().join("list.csv"), &format, &mut tally)?;
        Ok((contents, tally.notes(&format)))
    }

    #[test]
    fn paths_are_below_the_tables_folder_and_splits_are_optional() {
        let (contents, notes) = read("Image,Class\na.png,dog\n\"b, c.png\",cat\nmissing.png,cat\n").unwrap();
        assert_eq!(contents.classes, ["cat", "dog"]);
        let train = &contents.parts[&Part::Train];
        assert_eq!((train.all_pixels(), &train.labels[..]), (vec![1, 2], &[1, 0][..]));
        assert_eq!(train.names, ["a.png", "b, c.png"]);
        assert_eq!(notes, ["1 unreadable image skipped: missing.png"]);
        let (contents, _) = read("label,split,path\ndog,train,a.png\ncat,,d.png\ndog,valid,\"b, c.png\"\n").unwrap();
        assert_eq!(contents.parts[&Part::Validation].labels, [1]);
        assert_eq!(contents.parts[&Part::Train].len(), 2);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (table, message) in [
            ("a.png,dog\n", "wanted a first line such as path,label"),
            ("path,label,split\na.png,dog,trian\n", "line 2: wanted train, val or test as split, got `trian`"),
            ("path,label\na.png,\n", "line 2: path or label is missing"),
            ("path,label\na.png,dog\na.png,cat\n", "a.png stands in it twice"),
            ("path,label\na.png,dog,3\n", "line: 2"),
            ("path,label,split\na.png,dog,train\nd.png,Dog,val\n", "only upper and lower case differ from dog"),
        ] {
            let error = read(table).expect_err("unusable").to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
