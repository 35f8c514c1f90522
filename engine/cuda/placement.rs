//! Images of a batch that are made on the device, from bytes that lie there.

/// One image that is there, moved and mirrored: `Placement` in the kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::NoUninit)]
#[repr(C)]
pub struct Placement {
    /// Its number among those that are held.
    pub image: i32,
    /// 1 if left and right are exchanged, else 0.
    pub mirrored: i32,
    /// By how many rows the window is moved down; what it then uncovers is black.
    pub down: i32,
    /// By how many columns to the right.
    pub right: i32,
}

/// An image of a batch: `Placed` in the kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::NoUninit)]
#[repr(C)]
pub struct Placed {
    /// The image itself.
    pub own: Placement,
    /// Another one, for mixing.
    pub partner: Placement,
    /// 0: nothing of the partner; 1: all pixels are mixed; 2: the window is the partner's.
    pub mixing: i32,
    /// Of the image itself, where all pixels are mixed.
    pub share: f32,
    /// First row, first column, end row, end column of the window.
    pub window: [i32; 4],
}

/// The images of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Images × channels × height × width, normalised.
    Values(&'a [f32]),
    /// Of the set of held images with this number.
    Placed(usize, &'a [Placed]),
}

impl<'a> From<&'a [f32]> for Content<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::Values(values)
    }
}
