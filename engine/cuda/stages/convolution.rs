//! Convolutions and fully connected layers, with the norm, the activation and the residual sum after them.

use super::{Backward, COUNTERS, Chance, Norm, Scene, Stage, Target, joining::give, width};
use crate::cuda::{
    geometry::{Geometry, Parts, THREADS, Tiles},
    tape::{Place, arguments},
};

/// A convolution with what follows it.
pub(crate) struct Convolve {
    pub(crate) geometry: Geometry,
    /// Taps × channels in × channels out.
    pub(crate) weights: Place,
    pub(crate) of_weights: Place,
    /// The bias and its gradient.
    pub(crate) bias: Option<[Place; 2]>,
    /// Its activation is the norm's own.
    pub(crate) norm: Option<Norm>,
    /// Where no norm stands before it.
    pub(crate) activation: i32,
    /// How a residual sum drops the branch that ends here.
    pub(crate) residual: Option<Chance>,
}

/// What a convolution ends in: `End` in the kernels.
#[derive(Clone, Copy)]
struct End {
    scale: Option<Place>,
    shift: Option<Place>,
    residual: Option<Place>,
    before: Option<Place>,
    activation: i32,
}

impl Convolve {
    fn values(&self) -> usize {
        self.geometry.output.values()
    }

    fn filter(&self, scene: &mut Scene<'_>, input: Place, output: Place, end: End) {
        let Self { geometry, weights, .. } = self;
        let (Geometry { output: size, groups, .. }, words) = (*geometry, geometry.words(scene.images));
        let pixels = scene.images * size.pixels();
        let End { scale, shift, residual, before, activation } = end;
        let arguments = arguments![input, *weights, scale, shift, residual, before, output, activation, words];
        if geometry.is_depthwise() {
            let kernel = format!("depthwise_{}", width(size.channels));
            return scene.writer.for_each(kernel, pixels * size.channels.div_ceil(4), arguments);
        }
        let wide = self.is_wide();
        let tiles = Tiles::of(pixels, size.channels / groups, groups, wide);
        let kernel = format!("convolve_{}_{}", tiles.name, if wide { 4 } else { 1 });
        scene.writer.launch(kernel, [tiles.down, tiles.across, groups], tiles.threads, arguments);
    }

    /// Whether four channels of a group are loaded together, on both sides.
    fn is_wide(&self) -> bool {
        let Geometry { input, output, groups, .. } = self.geometry;
        (input.channels / groups).is_multiple_of(4) && (output.channels / groups).is_multiple_of(4)
    }

    fn give_data(&self, scene: &mut Scene<'_>, of_output: Place, Target { place, add }: Target) {
        let Self { geometry, weights, .. } = self;
        let Geometry { input, output, groups, .. } = *geometry;
        let pixels = scene.images * input.pixels();
        let arguments = arguments![of_output, *weights, place, add, geometry.words(scene.images)];
        if geometry.is_depthwise() {
            let kernel = format!("depthwise_data_{}", width(input.channels));
            return scene.writer.for_each(kernel, pixels * input.channels.div_ceil(4), arguments);
        }
        let wide = (output.channels / groups).is_multiple_of(4);
        let tiles = Tiles::of(pixels, input.channels / groups, groups, wide);
        let kernel = format!("convolve_data_{}_{}", tiles.name, if wide { 4 } else { 1 });
        scene.writer.launch(kernel, [tiles.down, tiles.across, groups], tiles.threads, arguments);
    }

    fn give_weights(&self, scene: &mut Scene<'_>, input: Place, of_output: Place) {
        let Self { geometry, of_weights, .. } = self;
        let Geometry { input: from, output: to, window, groups } = *geometry;
        let (pixels, words) = (scene.images * to.pixels(), geometry.words(scene.images));
        if geometry.is_depthwise() {
            let Parts { lanes, slabs, parts } = Parts::of(pixels, to.channels);
            let partials = scene.writer.buffer(parts * window.taps() * to.channels);
            let side = match window.kernel {
                [side, other] if side == other && [3, 5, 7].contains(&side) => side,
                _ => 0,
            };
            let arguments = arguments![input, of_output, *of_weights, partials, scene.counters, lanes, words];
            return scene.writer.launch(format!("depthwise_weights_{side}"), [slabs, parts, 1], THREADS, arguments);
        }
        let wide = self.is_wide();
        let rows = window.taps() * from.channels / groups;
        let tiles = Tiles::of(rows, to.channels / groups, groups, wide);
        let splits = tiles.splits(groups, pixels);
        debug_assert!(splits == 1 || tiles.down * tiles.across * groups <= COUNTERS);
        let partials = (splits > 1).then(|| scene.writer.buffer(splits * rows * to.channels));
        let kernel = format!("convolve_weights_{}_{}", tiles.name, if wide { 4 } else { 1 });
        let grid = [tiles.down, tiles.across, groups * splits];
        let arguments = arguments![input, of_output, *of_weights, partials, scene.counters, words];
        scene.writer.launch(kernel, grid, tiles.threads, arguments);
    }

    /// The gradient before a bias and its activation; gives the bias its own. `before` is there with an activation.
    fn give_bias(&self, scene: &mut Scene<'_>, of_output: Place, before: Option<Place>) -> Place {
        if self.bias.is_none() && before.is_none() {
            return of_output;
        }
        let (channels, pixels) = (self.geometry.output.channels, scene.images * self.geometry.output.pixels());
        let Parts { lanes, slabs, parts } = Parts::of(pixels, channels);
        let of_before = before.map(|_| scene.writer.buffer(scene.images * self.values()));
        let partials = scene.writer.buffer(parts * channels);
        let of_bias = self.bias.map(|[_, of_bias]| of_bias);
        let arguments = arguments![
            of_output,
            before,
            of_before,
            of_bias,
            partials,
            scene.counters,
            self.activation,
            pixels,
            channels,
            lanes
        ];
        scene.writer.launch("bias_gradient", [slabs, parts, 1], THREADS, arguments);
        of_before.unwrap_or(of_output)
    }
}

impl Stage for Convolve {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        let input = inputs[0];
        let residual = self.residual.map(|_| inputs[1]);
        let bias = self.bias.map(|[bias, _]| bias);
        let plain = End { scale: None, shift: bias, residual: None, before: None, activation: -1 };
        let Some(norm) = &self.norm else {
            let saves = scene.training && self.activation >= 0;
            let before = saves.then(|| scene.writer.buffer(scene.images * self.values()));
            self.filter(scene, input, output, End { before, activation: self.activation, ..plain });
            return before.into_iter().collect();
        };
        if !scene.training && bias.is_none() {
            let [scale, shift] = norm.scale_and_shift().map(Some);
            self.filter(
                scene,
                input,
                output,
                End { scale, shift, residual, before: None, activation: norm.activation },
            );
            return Vec::new();
        }
        let filtered = scene.writer.buffer(scene.images * self.values());
        self.filter(scene, input, filtered, plain);
        norm.forward(scene, filtered, residual, self.residual.unwrap_or(Chance::NEVER), output);
        vec![filtered]
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Backward { inputs, saved, of_output, of_inputs, .. } = *backward;
        let of_filtered = match &self.norm {
            None => self.give_bias(scene, of_output, saved.first().copied()),
            Some(norm) => {
                let chance = self.residual.unwrap_or(Chance::NEVER);
                let place = scene.writer.buffer(scene.images * self.values());
                norm.backward(scene, of_output, saved[0], chance, Target { place, add: false });
                self.give_bias(scene, place, None)
            }
        };
        // In the order of the inputs: where both are one value, the second is added to the first.
        if let Some(target) = of_inputs[0] {
            self.give_data(scene, of_filtered, target);
        }
        if let Some(target) = of_inputs.get(1).copied().flatten() {
            give(scene, of_output, target, Chance::NEVER, self.values());
        }
        self.give_weights(scene, inputs[0], of_filtered);
    }
}
