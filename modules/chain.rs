//! Writes down layers one after the other.

use crate::{
    activation::Activation,
    error::{Error, Result},
    layers::{Layers, Source},
    primitive::{Convolution, Norm, Primitive, Window},
    shape::Shape,
};

/// A value in the middle of a block, to which a chain can return.
#[derive(Clone, Copy, Debug)]
pub struct Point(Source);

/// Layers under construction. Each method appends to the value at hand; the first thing that does
/// not fit is kept and returned by [`Chain::finish`].
///
/// Layers with weights take a label, which becomes part of their tensors' names.
#[derive(Clone, Debug)]
pub struct Chain {
    layers: Layers,
    at: Source,
    norm: Norm,
    last_label: String,
    error: Option<Error>,
}

impl Chain {
    pub(crate) fn new(inputs: Vec<Shape>, norm: Norm) -> Self {
        let layers = Layers::identity(inputs);
        Self { layers, at: Source::Input(0), norm, last_label: "input".into(), error: None }
    }

    /// The layers, or the first thing that did not fit.
    pub fn finish(self) -> Result<Layers> {
        self.error.map_or(Ok(self.layers), Err)
    }

    /// Any layer, on the value at hand.
    #[must_use]
    pub fn layer(self, label: &str, primitive: impl Into<Primitive>) -> Self {
        let at = self.at;
        self.node(label.to_owned(), primitive.into(), vec![at])
    }

    /// A convolution.
    #[must_use]
    pub fn convolution(self, label: &str, convolution: Convolution) -> Self {
        self.layer(label, convolution)
    }

    /// A 1×1 convolution without bias.
    #[must_use]
    pub fn pointwise(self, label: &str, out: usize) -> Self {
        self.convolution(label, Convolution::new(out, Window::centered(1, 1)))
    }

    /// A convolution of each channel by itself, without bias.
    #[must_use]
    pub fn depthwise(self, label: &str, window: Window) -> Self {
        let channels = self.shape().channels();
        self.convolution(label, Convolution::new(channels, window).groups(channels))
    }

    /// Batch normalisation with the network's settings, named after the layer before it.
    #[must_use]
    pub fn norm(self) -> Self {
        let (label, norm) = (self.follower("norm"), self.norm);
        let at = self.at;
        self.node(label, Primitive::Norm(norm), vec![at])
    }

    /// An activation, or none.
    #[must_use]
    pub fn activation(self, activation: impl Into<Option<Activation>>) -> Self {
        match activation.into() {
            None => self,
            Some(activation) => {
                let (label, at) = (self.follower("activation"), self.at);
                self.node(label, Primitive::Activation(activation), vec![at])
            }
        }
    }

    /// Squeeze and excite (Hu et al. 2018): global average, 1×1 to `squeeze` channels, `inner`,
    /// 1×1 back, `outer`, and the value at hand times the result. The 1×1 have biases.
    #[must_use]
    pub fn gate(self, squeeze: usize, inner: Activation, outer: Activation) -> Self {
        self.gate_labelled("gate", squeeze, inner, outer)
    }

    pub(crate) fn gate_labelled(self, label: &str, squeeze: usize, inner: Activation, outer: Activation) -> Self {
        let (image, channels) = (self.here(), self.shape().channels());
        let with_bias = |out| Convolution::new(out, Window::centered(1, 1)).bias(true);
        self.layer(&format!("{label}.pool"), Primitive::AdaptiveAveragePool { output: 1 })
            .convolution(&format!("{label}.squeeze"), with_bias(squeeze))
            .activation(inner)
            .convolution(&format!("{label}.excite"), with_bias(channels))
            .activation(outer)
            .scale(&format!("{label}.scale"), image)
    }

    /// Efficient channel attention (Wang et al. 2020): global average, a convolution over the
    /// channels, `outer`, and the value at hand times the result.
    #[must_use]
    pub fn channel_attention(self, kernel: usize, outer: Activation) -> Self {
        self.attention_labelled("attention", kernel, outer)
    }

    pub(crate) fn attention_labelled(self, label: &str, kernel: usize, outer: Activation) -> Self {
        let image = self.here();
        self.layer(&format!("{label}.pool"), Primitive::AdaptiveAveragePool { output: 1 })
            .layer(&format!("{label}.convolution"), Primitive::ChannelConvolution { kernel })
            .activation(outer)
            .scale(&format!("{label}.scale"), image)
    }

    fn scale(self, label: &str, image: Point) -> Self {
        let gate = self.at;
        self.node(label.to_owned(), Primitive::Scale, vec![image.0, gate])
    }

    /// Adds the value at `trunk`; the value at hand is the branch, dropped with probability
    /// `drop` in training.
    #[must_use]
    pub fn add(self, trunk: Point, drop: f64) -> Self {
        let branch = self.at;
        self.node("add".into(), Primitive::Add { drop }, vec![trunk.0, branch])
    }

    /// The channels of `points`, one after the other.
    #[must_use]
    pub fn concat(self, points: &[Point]) -> Self {
        self.node("concat".into(), Primitive::Concat, points.iter().map(|point| point.0).collect())
    }

    /// A layer that reads `points`, in that order.
    #[must_use]
    pub fn join(self, label: &str, primitive: Primitive, points: &[Point]) -> Self {
        self.node(label.to_owned(), primitive, points.iter().map(|point| point.0).collect())
    }

    /// All layers of another block, on the value at hand, with `label.` before their labels.
    #[must_use]
    pub fn block(mut self, label: &str, layers: &Layers) -> Self {
        if self.error.is_none() {
            self.at = self.layers.splice(label, layers, &[self.at]);
            label.clone_into(&mut self.last_label);
        }
        self
    }

    /// Whether all layers so far fit.
    pub(crate) fn check(self) -> Result<Self> {
        match self.error {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.layers.nodes().len()
    }

    /// A layer that reads all inputs of the block.
    #[must_use]
    pub fn over_inputs(self, label: &str, primitive: Primitive) -> Self {
        let inputs = (0..self.layers.inputs().len()).map(Source::Input).collect();
        self.node(label.to_owned(), primitive, inputs)
    }

    /// Goes on with what `more` appends, if `condition` holds.
    #[must_use]
    pub fn when(self, condition: bool, more: impl FnOnce(Self) -> Self) -> Self {
        if condition { more(self) } else { self }
    }

    /// Remembers the value at hand.
    pub fn here(&self) -> Point {
        Point(self.at)
    }

    /// Goes on from `point`.
    #[must_use]
    pub fn from(self, point: Point) -> Self {
        Self { at: point.0, ..self }
    }

    /// Shape of the value at hand.
    pub fn shape(&self) -> Shape {
        self.layers.shape(self.at)
    }

    pub(crate) fn follower(&self, what: &str) -> String {
        format!("{}.{what}", self.last_label)
    }

    fn node(mut self, label: String, primitive: Primitive, inputs: Vec<Source>) -> Self {
        if self.error.is_some() {
            return self;
        }
        if !matches!(primitive, Primitive::Norm(_) | Primitive::Activation(_)) {
            self.last_label.clone_from(&label);
        }
        match self.layers.push(label, primitive, inputs) {
            Ok(at) => self.at = at,
            Err(error) => self.error = Some(error),
        }
        self
    }
}
