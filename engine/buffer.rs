//! Memory that begins at a cache line.

/// A cache line.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Room for values, which keeps what it held when it grows or is used for fewer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// Zeros.
    pub(crate) fn of(length: usize) -> Self {
        let mut buffer = Self::default();
        buffer.grow(length);
        buffer
    }

    /// Makes room for `length` values.
    pub(crate) fn grow(&mut self, length: usize) {
        let lines = length.div_ceil(16);
        if self.0.len() < lines {
            self.0 = vec![Line::default(); lines];
        }
    }

    /// The first `length` values.
    pub(crate) fn part(&self, length: usize) -> &[f32] {
        &bytemuck::cast_slice(&self.0)[..length]
    }

    /// The first `length` values.
    pub(crate) fn part_mut(&mut self, length: usize) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.0)[..length]
    }
}
