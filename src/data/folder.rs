//! Folders of images: a folder per class, with or without folders per part above them.

use super::{
    error::DataError,
    fill::fill,
    format::ImageFormat,
    images::Images,
    listing::{Listing, ending, is_image, name},
    picture::Picture,
    source::{Contents, Part},
    tally::{NAMED, Tally, counted, listed},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The names of folders that hold one part of the data, in lower case.
const PARTS: [(&str, Part); 7] = [
    ("train", Part::Train),
    ("training", Part::Train),
    ("val", Part::Validation),
    ("valid", Part::Validation),
    ("validation", Part::Validation),
    ("test", Part::Test),
    ("testing", Part::Test),
];

/// A class folder with at least one image file.
struct Class {
    name: String,
    files: Vec<PathBuf>,
}

/// Which part of the data a folder of this name holds.
pub(super) fn part(folder: &Path) -> Option<Part> {
    let name = name(folder).to_lowercase();
    PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part)
}

/// Reads `CLASS/IMAGE` or `PART/CLASS/IMAGE`. The classes are those of the training images.
pub(super) fn load(root: &Listing, format: &ImageFormat, tally: &mut Tally) -> Result<Contents, DataError> {
    let (mut parts, mut names) = (BTreeMap::new(), Vec::new());
    // `Part::Train` comes first.
    for (part, folder) in by_part(root, tally)? {
        let classes = classes(&folder, root, tally)?;
        if part == Part::Train {
            names = classes.iter().map(|class| class.name.clone()).collect();
        }
        let labels = labels(&folder, &classes, &names)?;
        let files = labels.into_iter().zip(classes).flat_map(|(label, class)| class.files.into_iter().map(move |file| (label, file)));
        parts.insert(part, images(root, files.collect(), format, tally)?);
    }
    Ok(Contents { classes: names, parts })
}

/// The folders that hold class folders.
fn by_part(root: &Listing, tally: &mut Tally) -> Result<BTreeMap<Part, Listing>, DataError> {
    let mut parts: BTreeMap<Part, Listing> = BTreeMap::new();
    let mut others = Vec::new();
    for folder in &root.folders {
        let Some(part) = part(folder) else {
            others.push(name(folder));
            continue;
        };
        if let Some(first) = parts.insert(part, Listing::of(folder)?) {
            return Err(DataError::Ambiguous { first: first.path, second: folder.clone(), part: part.adjective() });
        }
    }
    match parts.get(&Part::Train) {
        Some(train) if !train.folders.is_empty() => {
            if !others.is_empty() {
                tally.remarks.push(format!("not read: {}", listed(&others, NAMED)));
            }
            Ok(parts)
        }
        // A class may be named `test`, but folders that are all named like parts are parts.
        _ if !others.is_empty() || parts.is_empty() => Ok(BTreeMap::from([(Part::Train, root.clone())])),
        Some(train) => Err(DataError::Unsorted(train.path.clone())),
        None => {
            let found: Vec<String> = parts.values().map(|part| format!("`{}`", name(&part.path))).collect();
            Err(DataError::NoTrain { path: root.path.clone(), found: found.join(" and ") })
        }
    }
}

/// The class folders of one part, sorted by name.
fn classes(part: &Listing, root: &Listing, tally: &mut Tally) -> Result<Vec<Class>, DataError> {
    let mut classes = Vec::new();
    let mut without_images = Vec::new();
    for folder in &part.folders {
        let listing = Listing::of(folder)?;
        let (files, others): (Vec<_>, Vec<_>) = listing.files.into_iter().partition(|file| is_image(file));
        others.iter().for_each(|file| *tally.other_files.entry(kind(file)).or_default() += 1);
        tally.too_deep.extend(listing.folders.iter().map(|folder| below(root, folder)));
        match files.is_empty() {
            true => without_images.push(below(root, folder)),
            false => classes.push(Class { name: name(folder), files }),
        }
    }
    Ok(classes)
}
