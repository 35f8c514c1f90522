//! Cutting a batch into chunks of images, always the same ones.

use rayon::prelude::*;

/// Chunks in a batch, whatever the number of threads: enough to balance a few threads, few enough
/// that partial sums stay small.
pub(crate) const CHUNKS: usize = 8;

/// Images in each chunk but the last.
pub(crate) fn images_per_chunk(images: usize) -> usize {
    images.div_ceil(CHUNKS).max(1)
}

/// Runs `work` on every chunk of `output`, where each image has `length` values: the chunk's first
/// image and its part of the output. Nothing is run for an output without room: nobody needs it.
pub(crate) fn for_each(images: usize, output: &mut [f32], length: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    // An empty output is one that nobody needs.
    if length == 0 || output.is_empty() {
        return;
    }
    let chunk = images_per_chunk(images);
    let output = &mut output[..images * length];
    output.par_chunks_mut(chunk * length).enumerate().for_each(|(index, part)| work(index * chunk, part));
}

/// Runs `work` on every chunk of images, each with a zeroed sum of `length` values, and adds the
/// sums to `total` in the order of the chunks.
pub(crate) fn sum_into(
    images: usize,
    partials: &mut Vec<f32>,
    total: &mut [f32],
    work: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync,
) {
    let (chunk, length) = (images_per_chunk(images), total.len());
    if length == 0 {
        return;
    }
    let count = images.div_ceil(chunk);
    partials.clear();
    partials.resize(count * length, 0.0);
    partials.par_chunks_mut(length).enumerate().for_each(|(index, partial)| {
        let first = index * chunk;
        work(first..(first + chunk).min(images), partial);
    });
    for partial in partials.chunks(length) {
        for (total, part) in total.iter_mut().zip(partial) {
            *total += part;
        }
    }
}
