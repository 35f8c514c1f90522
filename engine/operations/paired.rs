//! Convolutions with few output channels, which would leave most of a register empty: a few neighbouring pixels of a
//! row are computed as if they were one with as many times the channels.

use super::{
    Convolve, Size,
    filter::{Filter, turn},
};
use crate::{chunks, kernels::Finish, lanes::WIDEST};
use nasgen_modules::{Convolution, Padding, Window};

/// How much of a register must be gained.
const GAIN: f64 = 1.2;

/// A convolution in one group at stride 1. Weights: taps × input channels × output channels.
pub(crate) struct Paired {
    input: Size,
    output: Size,
    forward: Neighbours,
    /// From gradients of outputs to those of inputs.
    backward: Neighbours,
    /// The weights turned around and with input and output channels exchanged.
    turned: Vec<f32>,
}

impl Paired {
    /// Whether it computes `convolution`, and faster than directly.
    pub(crate) fn suits(convolution: &Convolution, input: Size, output: Size) -> bool {
        let Window { kernel, stride, dilation, padding } = convolution.window;
        let is_possible = (stride, dilation, convolution.groups) == ([1, 1], [1, 1], 1)
            && padding.top < kernel[0]
            && padding.left < kernel[1];
        let weights = kernel[0] * kernel[1] * input.channels * output.channels;
        is_possible && weights <= output.values() && at_a_time(kernel[1], output) > 1
    }
}

/// Neighbouring pixels that are computed at a time.
fn at_a_time(kernel_width: usize, output: Size) -> usize {
    // How much of what registers could compute is wanted.
    let use_of_registers = |pixels: usize| {
        let columns = pixels * output.channels;
        let computed = columns.next_multiple_of(WIDEST / 2).max(WIDEST);
        columns as f64 / computed as f64 * kernel_width as f64 / (kernel_width + pixels - 1) as f64
    };
    let possible = (2..=4).filter(|pixels| output.width.is_multiple_of(*pixels));
    // The most of those that are equally good: fewer values are read for each.
    let best = possible.max_by(|a, b| use_of_registers(*a).total_cmp(&use_of_registers(*b)));
    best.filter(|pixels| use_of_registers(*pixels) >= GAIN * use_of_registers(1)).unwrap_or(1)
}

/// A convolution for several neighbouring pixels at a time.
struct Neighbours {
    convolve: Convolve,
    /// Height and width of the window.
    kernel: [usize; 2],
    /// Input and output channels.
    channels: [usize; 2],
    /// How many.
    pixels: usize,
    /// For a window that is wider by as many pixels as there are neighbours; zeros where one of them sees nothing.
    weights: Vec<f32>,
}

impl Neighbours {
    fn new(kernel: [usize; 2], [top, left]: [usize; 2], input: Size, output: Size) -> Self {
        let pixels = at_a_time(kernel[1], output);
        let padding = Padding { top, left, bottom: 0, right: 0 };
        let window =
            Window { kernel: [kernel[0], kernel[1] + pixels - 1], stride: [1, pixels], padding, dilation: [1, 1] };
        let channels = [input.channels, output.channels];
        let output = Size { width: output.width / pixels, channels: output.channels * pixels, ..output };
        let convolve = Convolve::new(&Convolution::new(output.channels, window), input, output);
        Self { convolve, kernel, channels, pixels, weights: Vec::new() }
    }

    /// Calls `work` with where each row of weights begins, and where the same weights for each of the neighbours do.
    fn for_each_row(&self, mut work: impl FnMut(usize, usize)) {
        let [inputs, outputs] = self.channels;
        let [height, width] = self.kernel;
        let wide = width + self.pixels - 1;
        for (row, column, input) in (0..height)
            .flat_map(|row| (0..width).flat_map(move |column| (0..inputs).map(move |input| (row, column, input))))
        {
            let from = ((row * width + column) * inputs + input) * outputs;
            for pixel in 0..self.pixels {
                let tap = row * wide + column + pixel;
                work(from, ((tap * inputs + input) * self.pixels + pixel) * outputs);
            }
        }
    }

    fn prepare(&mut self, weights: &[f32]) {
        let mut wide = std::mem::take(&mut self.weights);
        wide.clear();
        wide.resize(self.convolve.weights(), 0.0);
        let outputs = self.channels[1];
        self.for_each_row(|from, to| wide[to..to + outputs].copy_from_slice(&weights[from..from + outputs]));
        self.weights = wide;
    }

    fn apply(&self, images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        chunks::with_room(self.pixels * self.channels[1], |room| {
            self.convolve.apply(&self.weights, images, output, finish.repeated(room, self.channels[1]));
        });
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        let outputs = self.channels[1];
        chunks::with_room(self.convolve.weights(), |wide| {
            wide.fill(0.0);
            self.convolve.weight_gradient(images, of_output, wide);
            self.for_each_row(|to, from| {
                let parts = of_weights[to..to + outputs].iter_mut().zip(&wide[from..from + outputs]);
                parts.for_each(|(sum, part)| *sum += part);
            });
        });
    }
}

impl Filter for Paired {
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let Window { kernel, padding, .. } = convolution.window;
        let turned = [kernel[0] - 1 - padding.top, kernel[1] - 1 - padding.left];
        Self {
            input,
            output,
            forward: Neighbours::new(kernel, [padding.top, padding.left], input, output),
            backward: Neighbours::new(kernel, turned, output, input),
            turned: Vec::new(),
        }
    }

    fn input(&self) -> Size {
        self.input
    }

    fn output(&self) -> Size {
        self.output
    }

    fn weights(&self) -> usize {
        self.forward.kernel.iter().chain(&self.forward.channels).product()
    }

    fn images_at_a_time(&self) -> usize {
        self.forward.convolve.images_at_a_time().max(self.backward.convolve.images_at_a_time())
    }

    fn prepare_forward(&mut self, weights: &[f32]) {
        self.forward.prepare(weights);
    }

    fn apply(&self, _: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        self.forward.apply(images, output, finish);
    }

    fn prepare_backward(&mut self, weights: &[f32]) {
        let [inputs, outputs] = self.forward.channels;
        turn(weights, inputs * outputs, outputs, &mut self.turned);
        self.backward.prepare(&self.turned);
    }

    fn input_gradient(&self, _: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        self.backward.apply(of_output, of_input, Finish::added(add));
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        self.forward.weight_gradient(images, of_output, of_weights);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::filter::tests::check_against_direct;

    #[test]
    fn it_computes_what_the_direct_convolution_does() {
        for [height, width] in [[1, 1], [3, 3], [5, 4], [4, 6], [7, 8], [6, 9]] {
            for (kernel, [top, bottom, left, right]) in
                [([3, 3], [1, 1, 1, 1]), ([5, 5], [2, 1, 3, 4]), ([1, 3], [0, 0, 0, 0]), ([2, 5], [1, 0, 2, 2])]
            {
                for [channels, out] in [[1, 1], [3, 6], [8, 8], [17, 5], [4, 24]] {
                    let (rows, columns) = (height + top + bottom, width + left + right);
                    if rows < kernel[0] || columns < kernel[1] {
                        continue;
                    }
                    let padding = Padding { top, bottom, left, right };
                    let window = Window { kernel, stride: [1, 1], padding, dilation: [1, 1] };
                    let output = Size { height: rows - kernel[0] + 1, width: columns - kernel[1] + 1, channels: out };
                    let convolution = Convolution::new(out, window);
                    check_against_direct::<Paired>(&convolution, Size { height, width, channels }, output);
                }
            }
        }
    }

    #[test]
    fn it_is_chosen_where_registers_are_filled_better() {
        let pixels = |kernel_width, width, channels| at_a_time(kernel_width, Size { height: 9, width, channels });
        assert_eq!([pixels(3, 32, 8), pixels(5, 28, 6), pixels(3, 32, 5), pixels(5, 33, 5)], [2, 4, 2, 3]);
        // Full registers, windows of one pixel, and rows that cannot be cut.
        assert_eq!([pixels(3, 32, 16), pixels(3, 32, 12), pixels(1, 32, 8), pixels(3, 31, 8)], [1, 1, 1, 1]);
        let size = |channels| Size { height: 32, width: 32, channels };
        let suits = |convolution: Convolution, inputs| Paired::suits(&convolution, size(inputs), size(convolution.out));
        let window = Window::centered(3, 1);
        assert!(suits(Convolution::new(8, window), 8) && suits(Convolution::new(6, window), 3));
        assert!(!suits(Convolution::new(8, window).groups(2), 8) && !suits(Convolution::new(32, window), 8));
        assert!(!suits(Convolution::new(8, Window { dilation: [2, 2], ..window }), 8));
    }
}
