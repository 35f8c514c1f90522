//! What was done to the images on the way in, as sentences for the user.

use super::{format::ImageFormat, picture::Picture, pixels::Room};
use crate::numbers::{grouped, short};
use std::collections::BTreeMap;

/// How many names a note lists before it only counts.
const NAMED: usize = 5;

/// What a picture was before it took the network's format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// (width, height)
    size: (u32, u32),
    colour: bool,
}

impl Origin {
    pub(super) fn of(picture: &Picture) -> Self {
        Self { size: picture.size(), colour: picture.is_colour() }
    }
}

/// Counts over all splits of a data set.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    from_grey: usize,
    from_colour: usize,
    /// Images by the (width, height) they were resized from.
    resized: BTreeMap<(u32, u32), usize>,
    /// Files with the ending of an image that no image could be read from.
    pub(super) unreadable: Vec<String>,
    /// Files among the images, by an ending that is not read.
    other_files: BTreeMap<String, usize>,
    /// Whatever else the reader has to say.
    pub(super) remarks: Vec<String>,
    /// What is left for decoded images.
    pub(super) room: Room,
    /// Bytes of decoded images that went to a file.
    pub(super) on_disk: u64,
}

impl Tally {
    /// Nothing counted yet, and all of `room` left.
    pub(super) fn with(room: Room) -> Self {
        Self { room, ..Self::default() }
    }

    /// Counts one picture that was brought into `format`.
    pub(super) fn add(&mut self, origin: Origin, format: &ImageFormat) {
        self.from_grey += usize::from(!origin.colour && format.channels == 3);
        self.from_colour += usize::from(origin.colour && format.channels == 1);
        if origin.size != (format.width as u32, format.height as u32) {
            *self.resized.entry(origin.size).or_default() += 1;
        }
    }

    /// Counts one file among the images that is no image by its ending.
    pub(super) fn add_other(&mut self, ending: &str) {
        let kind = if ending.is_empty() { "without ending".to_owned() } else { format!(".{ending}") };
        *self.other_files.entry(kind).or_default() += 1;
    }

    /// Says something about `names`, of which it is given the first few, unless there are none.
    pub(super) fn remark(&mut self, names: &[String], sentence: impl FnOnce(String) -> String) {
        if !names.is_empty() {
            self.remarks.push(sentence(some(names)));
        }
    }

    /// One sentence per thing that happened.
    pub(super) fn notes(self, format: &ImageFormat) -> Vec<String> {
        let converted = |count: usize, from, to| {
            (count > 0).then(|| format!("{} converted to {to}", counted(count, &format!("{from} image"))))
        };
        let unreadable = &self.unreadable;
        let skipped = || format!("{} skipped: {}", counted(unreadable.len(), "unreadable image"), some(unreadable));
        [
            converted(self.from_grey, "grey", "colour"),
            converted(self.from_colour, "colour", "grey"),
            resized(&self.resized, format),
            (!unreadable.is_empty()).then(skipped),
            other_files(&self.other_files),
            on_disk(self.on_disk, &self.room),
        ]
        .into_iter()
        .flatten()
        .chain(self.remarks)
        .collect()
    }
}

fn resized(sizes: &BTreeMap<(u32, u32), usize>, format: &ImageFormat) -> Option<String> {
    let area = |&(width, height): &(u32, u32)| u64::from(width) * u64::from(height);
    let (smallest, largest) =
        (sizes.keys().min_by_key(|size| area(size))?, sizes.keys().max_by_key(|size| area(size))?);
    let text = |(width, height): &(u32, u32)| format!("{width}×{height}");
    let from = match sizes.len() {
        1 => text(smallest),
        count => format!("{} sizes between {} and {}", grouped(count as u64), text(smallest), text(largest)),
    };
    let images = counted(sizes.values().sum(), "image");
    Some(format!("{images} resized from {from} to {}×{} ({})", format.width, format.height, format.fit))
}

fn on_disk(bytes: u64, room: &Room) -> Option<String> {
    let folder = room.folder.display();
    (bytes > 0).then(|| {
        format!(
            "decoded images are more than the memory has room for: {}B wait in a temporary file in {folder}",
            short(bytes)
        )
    })
}

fn other_files(endings: &BTreeMap<String, usize>) -> Option<String> {
    let count = endings.values().sum();
    let endings: Vec<String> =
        endings.iter().map(|(ending, count)| format!("{} {ending}", grouped(*count as u64))).collect();
    (count > 0).then(|| format!("{} of other kinds skipped: {}", counted(count, "file"), some(&endings)))
}

/// Some names, at most [`NAMED`].
pub(super) fn some(names: &[String]) -> String {
    listed(names, NAMED)
}

/// At most `most` of the names: `a, b, c, d, e and 7 more`.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {} more", grouped(more as u64)),
    }
}

/// `1 image`, `1,234 images`
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;

    const COLOUR: ImageFormat = ImageFormat { channels: 3, height: 32, width: 48, fit: Fit::Crop };

    fn tally(sizes: &[(u32, u32)], colour: bool, format: &ImageFormat) -> Vec<String> {
        let mut tally = Tally::default();
        sizes.iter().for_each(|&size| tally.add(Origin { size, colour }, format));
        tally.notes(format)
    }

    #[test]
    fn what_fits_needs_no_note() {
        assert_eq!(tally(&[(48, 32); 3], true, &COLOUR), [""; 0]);
    }

    #[test]
    fn conversions_are_counted() {
        assert_eq!(tally(&[(48, 32); 1234], false, &COLOUR), ["1,234 grey images converted to colour"]);
        let grey = ImageFormat { channels: 1, ..COLOUR };
        assert_eq!(tally(&[(48, 32)], true, &grey), ["1 colour image converted to grey"]);
    }

    #[test]
    fn resizes_say_from_what() {
        assert_eq!(tally(&[(28, 28); 2], true, &COLOUR), ["2 images resized from 28×28 to 48×32 (crop)"]);
        let mixed = tally(&[(640, 480), (10, 90), (48, 32), (100, 100)], true, &COLOUR);
        assert_eq!(mixed, ["3 images resized from 3 sizes between 10×90 and 640×480 to 48×32 (crop)"]);
    }

    #[test]
    fn skipped_files_are_named_up_to_five() {
        let unreadable = (1..=7).map(|i| format!("{i}.jpg")).collect();
        let other_files = BTreeMap::from([(".heic".into(), 1200), (".txt".into(), 1)]);
        let notes = Tally { unreadable, other_files, ..Tally::default() }.notes(&COLOUR);
        assert_eq!(
            notes,
            [
                "7 unreadable images skipped: 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg and 2 more",
                "1,201 files of other kinds skipped: 1,200 .heic, 1 .txt",
            ]
        );
    }
}
