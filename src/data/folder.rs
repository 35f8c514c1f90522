//! Folders of images: a folder per class, with or without folders per part above them.

use super::{
    error::DataError,
    fill::fill,
    format::ImageFormat,
    images::Images,
    listing::{Listing, ending, is_image, name},
    picture::Picture,
    source::{Contents, Part},
    tally::{Tally, counted},
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
    part_named(&name(folder))
}

/// The part of the data that goes by this name.
pub(super) fn part_named(name: &str) -> Option<Part> {
    let name = name.to_lowercase();
    PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part)
}

/// Reads `CLASS/IMAGE` or `PART/CLASS/IMAGE`. The classes are those of the training images.
pub(super) fn load(root: &Listing, format: &ImageFormat, tally: &mut Tally) -> Result<Contents, DataError> {
    let (mut parts, mut known) = (BTreeMap::new(), Vec::new());
    // `Part::Train` comes first.
    for (part, folder) in parts_of(root, tally)? {
        let classes = classes(&folder, root, tally)?;
        if part == Part::Train {
            known = names(&classes);
        }
        let files = labelled(&folder, classes, &known)?;
        parts.insert(part, images(root, files, format, tally)?);
    }
    Ok(Contents { classes: known, parts })
}

/// The folders that hold class folders, by what they are for.
fn parts_of(root: &Listing, tally: &mut Tally) -> Result<BTreeMap<Part, Listing>, DataError> {
    let (parts, others) = sorted_out(root)?;
    match parts.get(&Part::Train) {
        Some(train) if !train.folders.is_empty() => {
            tally.remark(&others, |folders| format!("not read beside `{}`: {folders}", name(&train.path)));
            Ok(parts)
        }
        // A class may be named `train` or `test`; but where all folders are, they are parts.
        _ if !others.is_empty() || parts.is_empty() => Ok(BTreeMap::from([(Part::Train, root.clone())])),
        Some(train) => Err(DataError::Unsorted(train.path.clone())),
        None => {
            let found: Vec<String> = parts.values().map(|part| format!("`{}`", name(&part.path))).collect();
            Err(DataError::NoTrain { path: root.path.clone(), found: found.join(" and ") })
        }
    }
}

/// The folders named like parts, and the names of the others.
fn sorted_out(root: &Listing) -> Result<(BTreeMap<Part, Listing>, Vec<String>), DataError> {
    let (mut parts, mut others) = (BTreeMap::<Part, Listing>::new(), Vec::new());
    for folder in &root.folders {
        let Some(part) = part(folder) else {
            others.push(name(folder));
            continue;
        };
        if let Some(first) = parts.insert(part, Listing::of(folder)?) {
            return Err(DataError::Ambiguous { first: first.path, second: folder.clone(), part: part.adjective() });
        }
    }
    Ok((parts, others))
}

/// The class folders of one part, sorted by name.
fn classes(part: &Listing, root: &Listing, tally: &mut Tally) -> Result<Vec<Class>, DataError> {
    let (mut classes, mut empty, mut inner) = (Vec::new(), Vec::new(), Vec::new());
    for folder in &part.folders {
        let listing = Listing::of(folder)?;
        inner.extend(listing.folders.iter().map(|folder| below(root, folder)));
        let (files, others): (Vec<_>, Vec<_>) = listing.files.into_iter().partition(|file| is_image(file));
        others.iter().for_each(|file| tally.add_other(&ending(file)));
        match files.is_empty() {
            true => empty.push(below(root, folder)),
            false => classes.push(Class { name: name(folder), files }),
        }
    }
    let loose: Vec<String> = part.images().map(|file| below(root, file)).collect();
    tally.remark(&loose, |files| format!("{} in no class folder: {files}", counted(loose.len(), "image")));
    tally.remark(&empty, |folders| format!("no class, as no image is directly in it: {folders}"));
    tally.remark(&inner, |folders| format!("not read, as in the folder of a class: {folders}"));
    Ok(classes)
}

/// All files of one part with their labels, sorted by class, then by name.
fn labelled(part: &Listing, classes: Vec<Class>, known: &[String]) -> Result<Vec<(u32, PathBuf)>, DataError> {
    let unknown: Vec<String> = names(&classes).into_iter().filter(|class| !known.contains(class)).collect();
    if !unknown.is_empty() {
        return Err(DataError::UnknownClasses { part: name(&part.path), unknown, known: known.to_vec() });
    }
    let label = |class: &Class| known.iter().position(|name| *name == class.name).unwrap_or_default() as u32;
    Ok(classes
        .into_iter()
        .flat_map(|class| {
            let label = label(&class);
            class.files.into_iter().map(move |file| (label, file))
        })
        .collect())
}

/// Reads the files; those that cannot be read are left out and noted.
fn images(
    root: &Listing,
    files: Vec<(u32, PathBuf)>,
    format: &ImageFormat,
    tally: &mut Tally,
) -> Result<Images, DataError> {
    let (labels, files): (Vec<u32>, Vec<PathBuf>) = files.into_iter().unzip();
    let names: Vec<String> = files.iter().map(|file| below(root, file)).collect();
    let (images, failed) = fill(format, &files, &labels, &names, |file| Picture::read(file).ok(), tally)?;
    tally.unreadable.extend(failed.into_iter().map(|index| names[index].clone()));
    Ok(images)
}

fn names(classes: &[Class]) -> Vec<String> {
    classes.iter().map(|class| class.name.clone()).collect()
}

/// A path without the folder that all are in.
fn below(root: &Listing, path: &Path) -> String {
    path.strip_prefix(&root.path).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;
    use image::{GrayImage, Luma, Rgb, RgbImage};
    use std::fs;
    use tempfile::TempDir;

    const FORMAT: ImageFormat = ImageFormat { channels: 1, height: 1, width: 1, fit: Fit::Letterbox };

    /// A folder with these files: images of one grey value, the length of their name, or text.
    fn folder(files: &[&str]) -> TempDir {
        let root = TempDir::new().expect("a temporary folder");
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a temporary folder");
            match is_image(&path) && !file.contains("broken") {
                true => GrayImage::from_pixel(1, 1, Luma([file.len() as u8])).save(&path).expect("a temporary image"),
                false => fs::write(&path, "text").expect("a temporary file"),
            }
        }
        root
    }

    fn read(root: &TempDir) -> Result<(Contents, Vec<String>), DataError> {
        let (listing, mut tally) = (Listing::of(root.path())?, Tally::default());
        let contents = load(&listing, &FORMAT, &mut tally)?;
        Ok((contents, tally.notes(&FORMAT)))
    }

    fn read_error(files: &[&str]) -> String {
        let root = folder(files);
        let error = read(&root).expect_err("the folder is unusable").to_string();
        error.replace(&root.path().display().to_string(), "ROOT")
    }

    #[test]
    fn class_folders_are_sorted_and_so_are_their_images() -> Result<(), DataError> {
        let root = folder(&["b/22.png", "b/1.PNG", "a/333.png", "a/readme.txt", "a/.hidden.png", ".git/x.png"]);
        let (contents, notes) = read(&root)?;
        let train = &contents.parts[&Part::Train];
        assert_eq!(contents.classes, ["a", "b"]);
        assert_eq!(train.labels, [0, 1, 1]);
        assert_eq!(train.all_pixels(), [9, 7, 8]);
        assert_eq!(notes, ["1 file of other kinds skipped: 1 .txt"]);
        Ok(())
    }

    #[test]
    fn parts_go_by_several_names() -> Result<(), DataError> {
        for validation in ["val", "valid", "validation", "Val"] {
            let root = folder(&["train/a/1.png", "train/b/1.png", &format!("{validation}/b/22.png"), "test/a/1.png"]);
            let (contents, notes) = read(&root)?;
            assert_eq!(contents.parts[&Part::Validation].labels, [1]);
            assert_eq!(contents.parts[&Part::Test].labels, [0]);
            assert_eq!(notes, [""; 0]);
        }
        Ok(())
    }

    #[test]
    fn unreadable_images_are_left_out_and_named() -> Result<(), DataError> {
        let (contents, notes) = read(&folder(&["a/1.png", "a/broken.png", "a/z333.png", "b/22.png", "b/broken.jpg"]))?;
        let train = &contents.parts[&Part::Train];
        assert_eq!((&train.labels[..], train.all_pixels()), (&[0, 0, 1][..], vec![7, 10, 8]));
        assert_eq!(notes, ["2 unreadable images skipped: a/broken.png, b/broken.jpg"]);
        Ok(())
    }

    #[test]
    fn what_is_not_read_is_said() -> Result<(), DataError> {
        let files =
            ["train/a/1.png", "train/b/1.png", "train/b/old/1.png", "train/1.png", "train/c/x.txt", "old/a/1.png"];
        let (contents, notes) = read(&folder(&files))?;
        assert_eq!(contents.classes, ["a", "b"]);
        assert_eq!(
            notes,
            [
                "1 file of other kinds skipped: 1 .txt",
                "not read beside `train`: old",
                "1 image in no class folder: train/1.png",
                "no class, as no image is directly in it: train/c",
                "not read, as in the folder of a class: train/b/old",
            ]
        );
        Ok(())
    }

    #[test]
    fn a_class_may_be_named_like_a_part() -> Result<(), DataError> {
        assert_eq!(read(&folder(&["train/1.png", "plane/1.png"]))?.0.classes, ["plane", "train"]);
        Ok(())
    }

    #[test]
    fn classes_that_only_validation_has_are_an_error() {
        let error = read_error(&["train/a/1.png", "train/b/1.png", "val/A/1.png", "val/b/1.png"]);
        let want = "`val` has classes that `train` does not have: A (only upper and lower case differ from a); \
                    `train` has a, b";
        assert_eq!(error, want);
    }

    #[test]
    fn parts_without_training_images_or_classes_are_errors() {
        assert_eq!(
            read_error(&["val/a/1.png", "test/a/1.png"]),
            "`ROOT` has `val` and `test`, but no training images (`train`)"
        );
        assert_eq!(
            read_error(&["train/1.png", "test/2.png"]),
            "`ROOT/train` has no class folders: wanted `train/CLASS/IMAGE`"
        );
        let both = read_error(&["train/a/1.png", "val/a/1.png", "valid/a/1.png"]);
        assert_eq!(both, "`ROOT/val` and `ROOT/valid` are both validation images: which of them is meant?");
    }

    #[test]
    fn the_content_of_a_file_counts_more_than_its_ending() -> Result<(), Box<dyn std::error::Error>> {
        let root = folder(&["a/1.png", "b/1.png"]);
        RgbImage::from_pixel(1, 1, Rgb([255, 0, 0])).save(root.path().join("a/2.png"))?;
        fs::rename(root.path().join("a/2.png"), root.path().join("a/2.jpg"))?;
        let (contents, notes) = read(&root)?;
        assert_eq!(contents.parts[&Part::Train].all_pixels(), [7, 76, 7]);
        assert_eq!(notes, ["1 colour image converted to grey"]);
        Ok(())
    }
}
