//! Parts of an image that several threads compute at a time.

use super::{Size, filter::Filter};
use nasgen_modules::{Convolution, Padding, Window};
use std::ops::Range;

/// Some rows of a filter's output, computed from the rows of the input that they see: a filter of its own.
pub(crate) struct Band<F> {
    pub(crate) filter: F,
    /// Its values in the input image.
    pub(crate) input: Range<usize>,
    /// Its values in the output image.
    pub(crate) output: Range<usize>,
}

/// Cuts what `convolution` computes into up to `count` bands of about as many rows: an even number of them, because
/// some filters compute rows in pairs. No bands where one of them would see nothing but padding.
pub(crate) fn bands<F: Filter>(convolution: &Convolution, input: Size, output: Size, count: usize) -> Vec<Band<F>> {
    let rows = output.height.div_ceil(count).next_multiple_of(2);
    let band = |first: usize| {
        let last = (first + rows).min(output.height);
        let (seen, padding) = seen(&convolution.window, input.height, first..last)?;
        let window = Window { padding, ..convolution.window };
        let part = |size: Size, rows: &Range<usize>| Size { height: rows.len(), ..size };
        let values = |size: Size, rows: Range<usize>| {
            let row = size.width * size.channels;
            rows.start * row..rows.end * row
        };
        Some(Band {
            filter: F::new(&Convolution { window, ..*convolution }, part(input, &seen), part(output, &(first..last))),
            input: values(input, seen),
            output: values(output, first..last),
        })
    };
    (0..output.height).step_by(rows).map(band).collect::<Option<_>>().unwrap_or_default()
}

/// The rows of the input, `height` in all, that some rows of the output see, and the padding around them.
fn seen(window: &Window, height: usize, rows: Range<usize>) -> Option<(Range<usize>, Padding)> {
    let reach = (window.kernel[0] - 1) * window.dilation[0] + 1;
    // Counted from the first row of the padding on.
    let (start, end) = (rows.start * window.stride[0], (rows.end - 1) * window.stride[0] + reach);
    let image = window.padding.top..window.padding.top + height;
    let (first, last) = (start.max(image.start), end.min(image.end));
    let padding = Padding { top: first - start, bottom: end.saturating_sub(last), ..window.padding };
    (first < last).then(|| (first - image.start..last - image.start, padding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernels::{Bend, Finish},
        operations::{Convolve, Depthwise, Paired, Winograd},
    };
    use nasgen_modules::randomness::Stream;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let stream = Stream::new(seed, "bands");
        (0..count as u64).map(|index| stream.uniform(index) * 2.0 - 1.0).collect()
    }

    /// Windows with the sizes that they see; the whole output may be one row or many.
    fn windows() -> impl Iterator<Item = (Window, [usize; 2])> {
        let square = |kernel, stride, padding| Window::square(kernel, stride, Padding::all(padding));
        let uneven = Padding { top: 2, bottom: 0, left: 1, right: 1 };
        let windows = [
            square(1, 1, 0),
            square(1, 2, 0),
            square(3, 1, 1),
            square(3, 2, 1),
            square(5, 1, 2),
            square(5, 3, 4),
            Window { dilation: [2, 2], ..square(3, 1, 2) },
            Window { padding: uneven, ..square(3, 1, 1) },
            Window { kernel: [1, 3], padding: Padding { top: 0, bottom: 0, left: 1, right: 1 }, ..square(3, 1, 1) },
        ];
        windows.into_iter().flat_map(|window| [[3, 4], [7, 5], [16, 9], [33, 6]].map(|size| (window, size)))
    }

    fn check<F: Filter>(convolution: &Convolution, input: Size, output: Size) {
        let mut whole = F::new(convolution, input, output);
        let weights = numbers(whole.weights(), 1);
        whole.prepare_forward(&weights);
        let image = numbers(input.values(), 2);
        let bias = numbers(output.channels, 3);
        let mut expected = vec![0.0; output.values()];
        let finish = Finish::on(&bias, Bend::ReLU);
        whole.apply(&weights, &image, &mut expected, finish);
        for count in [1, 2, 3, 4, 40] {
            let what = format!("{:?} on {input:?}, {count} bands", convolution.window);
            let bands = bands::<F>(convolution, input, output, count);
            let mut actual = Vec::new();
            for mut band in bands {
                assert_eq!(band.output.start, actual.len(), "{what}");
                band.filter.prepare_forward(&weights);
                actual.resize(band.output.end, f32::NAN);
                band.filter.apply(&weights, &image[band.input], &mut actual[band.output], finish);
            }
            assert!(actual == expected, "{what}");
        }
    }

    #[test]
    fn bands_give_the_bits_of_the_whole() {
        for (window, [height, width]) in windows() {
            let side = |axis: usize, size: usize, before: usize, after: usize| {
                let reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
                (size + before + after).checked_sub(reach).map(|rest| rest / window.stride[axis] + 1)
            };
            let Padding { top, bottom, left, right } = window.padding;
            let (Some(rows), Some(columns)) = (side(0, height, top, bottom), side(1, width, left, right)) else {
                continue;
            };
            let size = |height, width, channels| Size { height, width, channels };
            let dense = Convolution::new(17, window);
            check::<Convolve>(&dense, size(height, width, 5), size(rows, columns, 17));
            check::<Convolve>(&Convolution::new(6, window).groups(2), size(height, width, 4), size(rows, columns, 6));
            if window.stride == [1, 1] && window.dilation == [1, 1] && window.padding.top < window.kernel[0] {
                let few = Convolution::new(3, window);
                check::<Paired>(&few, size(height, width, 5), size(rows, columns, 3));
            }
            check::<Depthwise>(&Convolution::new(6, window).groups(6), size(height, width, 6), size(rows, columns, 6));
            if window.kernel == [3, 3] && window.dilation == [1, 1] {
                check::<Winograd>(&dense, size(height, width, 5), size(rows, columns, 17));
            }
        }
    }
}
