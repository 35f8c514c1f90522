//! Pixels of many images, in memory or, where that has no room for them, in a file.

use super::error::DataError;
use std::{borrow::Cow, fs, fs::File, io::Write, path::PathBuf, sync::Arc};

/// Where decoded images may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of memory that they may take. What a part of the data needs beyond goes to a file.
    pub memory: u64,
    /// The folder of that file. It is made when it is needed; the file has no name and ends with the process.
    pub folder: PathBuf,
}

impl Default for Room {
    /// As much memory as they need.
    fn default() -> Self {
        Self { memory: u64::MAX, folder: PathBuf::new() }
    }
}

impl Room {
    /// Takes `count` images of `image_len` bytes in; what they take of the memory is no longer free.
    pub(super) fn take(&mut self, count: usize, image_len: usize) -> Result<Filling, DataError> {
        let bytes = count.saturating_mul(image_len);
        let target = match self.memory.checked_sub(bytes as u64) {
            Some(left) => {
                let mut pixels = Vec::new();
                pixels.try_reserve_exact(bytes).map_err(|_| DataError::TooLarge { images: count, bytes })?;
                self.memory = left;
                Target::Memory(pixels)
            }
            None => Target::File(self.file().map_err(|reason| self.no_file(bytes, reason))?),
        };
        Ok(Filling { target, count: 0, image_len, room: self.clone(), bytes })
    }

    fn file(&self) -> std::io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        tempfile::tempfile_in(&self.folder)
    }

    fn no_file(&self, bytes: usize, reason: std::io::Error) -> DataError {
        DataError::NoRoom { bytes, folder: self.folder.clone(), reason }
    }
}

/// Images on their way in.
#[derive(Debug)]
pub(super) struct Filling {
    target: Target,
    count: usize,
    image_len: usize,
    /// For messages: where they go, and how many bytes all of them take.
    room: Room,
    bytes: usize,
}

#[derive(Debug)]
enum Target {
    Memory(Vec<u8>),
    File(File),
}

impl Filling {
    /// Adds one image.
    pub(super) fn push(&mut self, pixels: &[u8]) -> Result<(), DataError> {
        self.count += 1;
        match &mut self.target {
            Target::Memory(all) => {
                all.extend_from_slice(pixels);
                Ok(())
            }
            Target::File(file) => file.write_all(pixels).map_err(|reason| self.room.no_file(self.bytes, reason)),
        }
    }

    /// All that were added.
    pub(super) fn finish(self) -> Pixels {
        let store = match self.target {
            Target::Memory(pixels) => Store::Memory(pixels),
            Target::File(file) => Store::File(file),
        };
        Pixels::of(store, self.count, self.image_len)
    }
}

/// The pixels of some images. Copies and parts share them: they cost a few bytes an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Pixels {
    image_len: usize,
    stores: Vec<Arc<Store>>,
    places: Vec<Place>,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File(File),
}

/// Where one image is.
#[derive(Clone, Copy, Debug)]
struct Place {
    store: u32,
    /// Images before it in that store.
    row: u32,
}

impl Pixels {
    /// Images of `image_len` bytes, one after the other.
    pub(super) fn in_memory(pixels: Vec<u8>, image_len: usize) -> Self {
        let count = pixels.len().checked_div(image_len).unwrap_or(0);
        Self::of(Store::Memory(pixels), count, image_len)
    }

    fn of(store: Store, count: usize, image_len: usize) -> Self {
        let places = (0..count as u32).map(|row| Place { store: 0, row }).collect();
        Self { image_len, stores: vec![Arc::new(store)], places }
    }

    /// Those of image `index`.
    ///
    /// # Panics
    /// If there is no such image, or the disk fails to give back what was written to it.
    pub(super) fn image(&self, index: usize) -> Cow<'_, [u8]> {
        let Place { store, row } = self.places[index];
        let begin = row as usize * self.image_len;
        match &*self.stores[store as usize] {
            Store::Memory(pixels) => Cow::Borrowed(&pixels[begin..][..self.image_len]),
            Store::File(file) => {
                let mut pixels = vec![0; self.image_len];
                let read = read_at(file, &mut pixels, begin as u64);
                read.expect("the disk gives back the decoded images that were written to it");
                Cow::Owned(pixels)
            }
        }
    }

    /// The images at `indices`, in that order.
    pub(super) fn subset(&self, indices: &[usize]) -> Self {
        let places = indices.iter().map(|index| self.places[*index]).collect();
        Self { image_len: self.image_len, stores: self.stores.clone(), places }
    }

    /// Adds images of the same size at the end.
    pub(super) fn append(&mut self, more: Self) {
        let stores = self.stores.len() as u32;
        self.image_len = more.image_len;
        self.stores.extend(more.stores);
        self.places.extend(more.places.into_iter().map(|place| Place { store: place.store + stores, ..place }));
    }

    /// Bytes of the images that are in memory, and of those that are in a file.
    pub(super) fn bytes(&self) -> [u64; 2] {
        let mut images = [0; 2];
        for place in &self.places {
            images[usize::from(matches!(*self.stores[place.store as usize], Store::File(_)))] += 1;
        }
        images.map(|images: u64| images * self.image_len as u64)
    }
}

/// Equal images in the same order, wherever they are.
impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        self.places.len() == other.places.len()
            && (0..self.places.len()).all(|index| self.image(index) == other.image(index))
    }
}

impl Eq for Pixels {}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => (bytes, at) = (&mut bytes[read..], at + read as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(room: &mut Room, images: &[[u8; 2]]) -> Pixels {
        let mut filling = room.take(images.len(), 2).unwrap();
        images.iter().for_each(|image| filling.push(image).unwrap());
        filling.finish()
    }

    #[test]
    fn what_the_memory_has_no_room_for_is_in_a_file_and_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut room = Room { memory: 7, folder: folder.path().join("not/yet/there") };
        let images = [[1, 2], [3, 4], [5, 6]];
        let [memory, file] = [(); 2].map(|()| filled(&mut room, &images));
        assert_eq!((memory.bytes(), file.bytes(), room.memory), ([6, 0], [0, 6], 1));
        assert_eq!(memory, file);
        let mut both = memory.subset(&[2, 0]);
        both.append(file.subset(&[1]));
        let all: Vec<u8> = (0..3).flat_map(|index| both.image(index).into_owned()).collect();
        assert_eq!((all, both.bytes()), (vec![5, 6, 1, 2, 3, 4], [4, 2]));
        assert_ne!(both, memory);
        // Nothing has a name, so nothing can be left behind.
        assert_eq!(fs::read_dir(&room.folder).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_that_names_it() {
        let mut room = Room { memory: 0, folder: "/dev/null/images".into() };
        let error = room.take(1_000, 1 << 20).unwrap_err().to_string();
        assert!(error.starts_with("1.05 GB of decoded images do not fit the memory, and "), "{error}");
        assert!(error.contains("`/dev/null/images`"), "{error}");
    }
}
