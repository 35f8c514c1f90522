//! Labelled images: from where they are to the batches that a network takes.
//!
//! A [`Source`] is loaded once into memory as 8-bit images of the network's size ([`Dataset`]);
//! everything random that follows is a function of a seed: which training images validate
//! ([`stratified`]), in which order an epoch goes through them ([`permutation`]) and how each is
//! shifted and mirrored ([`training_batch`]). What was changed or skipped on the way in is said in
//! [`Dataset::notes`]. A user's folder is only ever read.

mod ahead;
pub mod augment;
mod batch;
mod cifar;
mod download;
mod error;
mod fill;
mod folder;
mod format;
mod idx;
mod images;
mod listing;
mod manifest;
mod mosaic;
mod normalisation;
mod order;
mod partition;
mod picture;
mod pixels;
mod preview;
mod source;
mod split;
mod split_file;
mod survey;
mod synthetic;
mod tally;

pub use ahead::ahead;
pub use batch::{
    Augmentation, Batch, Mixed, Part, Placed, Placement, evaluation_batch, mirrored_batch, placed_batch, placements,
    training_batch,
};
pub use download::{DownloadError, Published, RemoteFile, Transfer};
pub use error::DataError;
pub use format::{Fit, ImageFormat, UnknownFit};
pub use images::{Dataset, Images};
pub use mosaic::{Mosaic, augmented_mosaic, mosaic, picture};
pub use normalisation::Normalisation;
pub use order::{balanced_order, permutation};
pub use partition::Partition;
pub use picture::{image_files, read_image};
pub use pixels::Room;
pub use preview::preview;
pub use source::Source;
pub use split::{Subset, folds, stratified};
pub use split_file::SplitFile;
pub use survey::{ClassCounts, Found, Survey};
