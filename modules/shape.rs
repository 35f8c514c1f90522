//! The shape of one image's data between layers; the batch is never part of it.

use std::fmt;

/// What passes between two layers, for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A feature map: channels × height × width.
    Image {
        /// Number of channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A flat vector.
    Features(usize),
}

impl Shape {
    /// The feature map `channels × height × width`.
    pub const fn image(channels: usize, height: usize, width: usize) -> Self {
        Self::Image { channels, height, width }
    }

    /// Channels of a feature map, length of a vector.
    pub const fn channels(self) -> usize {
        match self {
            Self::Image { channels, .. } => channels,
            Self::Features(length) => length,
        }
    }

    /// Height and width; `None` for a vector.
    pub const fn size(self) -> Option<[usize; 2]> {
        match self {
            Self::Image { height, width, .. } => Some([height, width]),
            Self::Features(_) => None,
        }
    }

    /// The same feature map with other channels; a vector of that length.
    pub const fn with_channels(self, channels: usize) -> Self {
        match self {
            Self::Image { height, width, .. } => Self::Image { channels, height, width },
            Self::Features(_) => Self::Features(channels),
        }
    }

    /// Number of values, saturating.
    pub fn elements(self) -> u64 {
        self.dims().into_iter().fold(1, |product, side| product.saturating_mul(side as u64))
    }

    /// `[channels, height, width]` or `[length]`.
    pub fn dims(self) -> Vec<usize> {
        match self {
            Self::Image { channels, height, width } => vec![channels, height, width],
            Self::Features(length) => vec![length],
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides: Vec<String> = self.dims().iter().map(usize::to_string).collect();
        f.write_str(&sides.join("×"))
    }
}
