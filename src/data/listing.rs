//! What lies in a folder, as far as a user sees it.

use super::error::DataError;
use nasgen_modules::nearest;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Endings of the files that are read as images, in lower case.
const IMAGE_ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// The visible contents of one folder, sorted by name. Links count as what they point to.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) path: PathBuf,
    pub(super) folders: Vec<PathBuf>,
    pub(super) files: Vec<PathBuf>,
}

impl Listing {
    pub(super) fn of(path: &Path) -> Result<Self, DataError> {
        let failed = |reason| DataError::Read { path: path.to_owned(), reason };
        let entries: io::Result<Vec<PathBuf>> =
            fs::read_dir(path).map_err(failed)?.map(|entry| Ok(entry?.path())).collect();
        let mut entries = entries.map_err(failed)?;
        entries.retain(|entry| !is_hidden(&name(entry)));
        entries.sort();
        let (folders, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_dir());
        // Reading from a pipe or a socket would wait for ever.
        let files = others.into_iter().filter(|entry| !entry.exists() || entry.is_file()).collect();
        Ok(Self { path: path.to_owned(), folders, files })
    }

    /// The files that are read as images.
    pub(super) fn images(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().filter(|file| is_image(file))
    }

    /// The file of that name, if there is one.
    pub(super) fn file(&self, wanted: &str) -> Option<&PathBuf> {
        self.files.iter().find(|file| name(file) == wanted)
    }
}

/// The last part of a path, for people.
pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The ending of a file's name in lower case, without the dot.
pub(super) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

pub(super) fn is_image(path: &Path) -> bool {
    IMAGE_ENDINGS.contains(&ending(path).as_str())
}

/// Names with a leading dot, and what macOS adds to archives.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

/// How a path that leads to no data was read, and the nearest folder beside it.
pub(super) fn hint(path: &Path) -> String {
    let rule = if path.is_relative() { " (paths are relative to the current directory)" } else { "" };
    match nearest_sibling(path) {
        Some(sibling) => format!("{rule}; did you mean `{}`?", sibling.display()),
        None => rule.to_owned(),
    }
}

fn nearest_sibling(path: &Path) -> Option<PathBuf> {
    let own = name(path);
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let siblings: Vec<String> = Listing::of(folder).ok()?.folders.iter().map(|sibling| name(sibling)).collect();
    let near = nearest(&own, siblings.iter().map(String::as_str).filter(|sibling| *sibling != own))?;
    Some(path.with_file_name(near))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(folders: &[&str], files: &[&str]) -> io::Result<TempDir> {
        let root = TempDir::new()?;
        folders.iter().try_for_each(|name| fs::create_dir(root.path().join(name)))?;
        files.iter().try_for_each(|name| fs::write(root.path().join(name), []))?;
        Ok(root)
    }

    #[test]
    fn hidden_entries_are_not_listed_and_the_rest_is_sorted() -> Result<(), Box<dyn std::error::Error>> {
        let root = folder(&["b", "a", ".git", "__MACOSX"], &["z.JPG", "y.txt", "._y.jpg", "x.webp"])?;
        let listing = Listing::of(root.path())?;
        let names = |paths: &[PathBuf]| paths.iter().map(|path| name(path)).collect::<Vec<_>>();
        assert_eq!(names(&listing.folders), ["a", "b"]);
        assert_eq!(names(&listing.files), ["x.webp", "y.txt", "z.JPG"]);
        assert_eq!(listing.images().map(|path| name(path)).collect::<Vec<_>>(), ["x.webp", "z.JPG"]);
        assert!(listing.file("y.txt").is_some() && listing.file("a").is_none());
        Ok(())
    }

    #[test]
    fn hints_name_the_rule_for_relative_paths_and_the_nearest_folder() -> io::Result<()> {
        let root = folder(&["flowers", "birds"], &["flower.zip"])?;
        let wrong = root.path().join("flower");
        assert_eq!(hint(&wrong), format!("; did you mean `{}`?", root.path().join("flowers").display()));
        assert_eq!(hint(&root.path().join("spaceships")), "");
        assert_eq!(hint(Path::new("no-such-folder/x")), " (paths are relative to the current directory)");
        Ok(())
    }
}
