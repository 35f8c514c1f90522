//! Where a block stands.

use crate::{
    chain::Chain,
    error::{Error, Result},
    primitive::{Norm, Padding},
    shape::Shape,
};

/// Where one copy of a block stands in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Shapes that reach the block, per image; more than one for a row with several `from`.
    pub inputs: Vec<Shape>,
    /// Which of the row's copies this is.
    pub copy: Copies,
    /// A row of a spec, or a cell of a space.
    pub role: Role,
    /// What holds for the whole network.
    pub network: NetworkRules,
}

/// What a spec says about all its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkRules {
    /// Factor on the channels of the blocks that obey it.
    pub width_multiply: f64,
    /// Channels are multiples of this.
    pub channel_divisor: usize,
    /// Which multiple.
    pub rounding: Rounding,
    /// Settings of every norm.
    pub norm: Norm,
    /// Whether an explicit padding of 0 is read as `null` (`kernel / 2`), as the Python project does;
    /// `None` is no, and that the file did not say so.
    pub legacy_padding: Option<bool>,
}

impl Default for NetworkRules {
    fn default() -> Self {
        Self {
            width_multiply: 1.0,
            channel_divisor: 8,
            rounding: Rounding::Nearest,
            norm: Norm::default(),
            legacy_padding: None,
        }
    }
}

/// How channels become a multiple of the divisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// The nearest, but at least 0.9 of what was asked for (MobileNet's rule): 50 → 48.
    Nearest,
    /// The next above (kindle's rule): 50 → 56.
    Up,
}

/// The part that a block plays, which decides the stride it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A row: the stride is drawn.
    Row,
    /// A normal cell: stride 1.
    NormalCell,
    /// A reduction cell: stride 2.
    ReductionCell,
}

/// One of the copies that `repeat` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Copies {
    /// The only copy.
    pub const ONE: Self = Self { index: 0, count: 1 };

    /// Whether this is the first copy.
    pub const fn is_first(self) -> bool {
        self.index == 0
    }

    /// Whether this is the last copy.
    pub const fn is_last(self) -> bool {
        self.index + 1 == self.count
    }
}

impl Site {
    /// A single row after one value of shape `input`, in a network without special rules.
    pub fn row(input: Shape) -> Self {
        Self { inputs: vec![input], copy: Copies::ONE, role: Role::Row, network: NetworkRules::default() }
    }

    /// The input, for blocks that have one.
    pub fn input(&self) -> Shape {
        self.inputs[0]
    }

    /// `channels` times the width multiple, rounded by the network's rule.
    pub fn channels(&self, channels: usize) -> usize {
        let NetworkRules { width_multiply, channel_divisor, rounding, .. } = self.network;
        round_channels(channels as f64 * width_multiply, channel_divisor, rounding)
    }

    /// `stride` on the first copy, 1 on the others.
    pub fn stride_on_first(&self, stride: usize) -> usize {
        if self.copy.is_first() { stride } else { 1 }
    }

    /// `stride` on the last copy, 1 on the others.
    pub fn stride_on_last(&self, stride: usize) -> usize {
        if self.copy.is_last() { stride } else { 1 }
    }

    /// The padding that a spec's `padding` means: `null` is `kernel / 2`.
    pub fn padding(&self, padding: Option<usize>, kernel: usize) -> Padding {
        let legacy_zero = self.network.legacy_padding == Some(true) && padding == Some(0);
        Padding::all(padding.filter(|_| !legacy_zero).unwrap_or(kernel / 2))
    }

    /// Whether a block that strides by `stride` here and gives `output` adds its input: only where
    /// it does not stride, even if a shape of one pixel stays the same.
    pub fn adds_input(&self, stride: usize, output: Shape) -> bool {
        stride == 1 && output == self.input()
    }

    /// Begins the block's layers at its input.
    pub fn chain(&self) -> Chain {
        Chain::new(self.inputs.clone(), self.network.norm)
    }

    /// The stride of a cell, which is given; `None` for a row, whose stride is drawn.
    pub fn cell_stride(&self) -> Option<usize> {
        match self.role {
            Role::Row => None,
            Role::NormalCell => Some(1),
            Role::ReductionCell => Some(2),
        }
    }

    /// An error for a block that cannot play the part of a reduction cell.
    pub fn must_not_reduce(&self, block: &str) -> Result<()> {
        match self.role {
            Role::ReductionCell => Err(Error::row(format!("{block} has no stride, so it cannot be a reduction cell"))),
            Role::Row | Role::NormalCell => Ok(()),
        }
    }

    /// An error for a block that cannot be a cell at all.
    pub fn must_be_row(&self, block: &str) -> Result<()> {
        match self.role {
            Role::Row => Ok(()),
            Role::NormalCell | Role::ReductionCell => Err(Error::row(format!("{block} cannot be a cell"))),
        }
    }

    /// An error for a block that a row cannot repeat.
    pub fn must_be_single(&self, block: &str) -> Result<()> {
        match self.copy.count {
            1 => Ok(()),
            count => Err(Error::row(format!("{block} cannot be repeated, got repeat {count}"))),
        }
    }
}

/// `channels` as a positive multiple of `divisor`.
pub fn round_channels(channels: f64, divisor: usize, rounding: Rounding) -> usize {
    let step = divisor as f64;
    let rounded = match rounding {
        Rounding::Up => (channels / step).ceil() * step,
        Rounding::Nearest => {
            let nearest = ((channels + step / 2.0) / step).floor() * step;
            if nearest < 0.9 * channels { nearest + step } else { nearest }
        }
    };
    rounded.max(step) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_round_as_in_mobilenet_and_as_in_kindle() {
        let nearest = |channels| round_channels(channels, 8, Rounding::Nearest);
        assert_eq!([1.0, 11.0, 12.0, 50.0, 52.0].map(nearest), [8, 16, 16, 48, 56]);
        assert_eq!(nearest(18.0 * 0.5), 16, "8 would be below 0.9 of 9");
        assert_eq!(round_channels(50.0, 8, Rounding::Up), 56);
        assert_eq!(round_channels(50.0, 1, Rounding::Up), 50);
    }

    #[test]
    fn null_padding_keeps_the_size_and_an_explicit_zero_is_zero() {
        let mut site = Site::row(Shape::image(3, 8, 8));
        assert_eq!(site.padding(None, 5), Padding::all(2));
        assert_eq!(site.padding(Some(0), 5), Padding::all(0));
        site.network.legacy_padding = Some(true);
        assert_eq!(site.padding(Some(0), 5), Padding::all(2));
    }
}
