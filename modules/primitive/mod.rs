//! The closed set of layers that blocks are made of. Only here stand shape, cost and tensors;
//! executors, exporters and pictures match on [`Primitive`] and derive the rest.

mod convolution;
mod custom;
mod window;

pub use convolution::Convolution;
pub use custom::{Custom, CustomOperation};
pub use window::{Padding, Window};

use crate::{
    activation::Activation,
    error::{Error, Result},
    shape::Shape,
    tensor::{Initial, TensorSpec},
};

/// One layer. Unless it says otherwise, it has one input and defines what PyTorch's layer of the
/// same name does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Primitive {
    /// `Conv2d`.
    Convolution(Convolution),
    /// `BatchNorm2d`, with learnt scale and bias.
    Norm(Norm),
    /// An activation function.
    Activation(Activation),
    /// `MaxPool2d`; the padding never wins.
    MaxPool {
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Whether a last window may hang over the end.
        ceil_mode: bool,
    },
    /// `AvgPool2d`; no dilation.
    AveragePool {
        /// Kernel, stride, padding.
        window: Window,
        /// Whether a last window may hang over the end.
        ceil_mode: bool,
        /// Whether padded pixels count in the divisor.
        count_include_pad: bool,
    },
    /// `AdaptiveAvgPool2d`: the mean of each of `output × output` parts of the image.
    AdaptiveAveragePool {
        /// Height and width of the result.
        output: usize,
    },
    /// `AdaptiveMaxPool2d`.
    AdaptiveMaxPool {
        /// Height and width of the result.
        output: usize,
    },
    /// `Linear`, with bias.
    Linear {
        /// Length of the result.
        out: usize,
    },
    /// `Flatten`: channels first, then rows, then columns.
    Flatten,
    /// `Dropout`: in training each value is zeroed with this probability, the others are scaled
    /// to keep the mean.
    Dropout {
        /// In `0.0..1.0`.
        probability: f64,
    },
    /// The first input times the second, which has one value per channel (`C×1×1`).
    Scale,
    /// The sum of the inputs. In training each input but the first is dropped, for a whole image
    /// at a time, with probability `drop`, else divided by `1 - drop` (stochastic depth, Huang
    /// et al. 2016, torchvision's mode `row`).
    Add {
        /// In `0.0..1.0`.
        drop: f64,
    },
    /// The inputs' channels, one after the other.
    Concat,
    /// Channels `start..start + length`.
    ChannelSlice {
        /// First channel.
        start: usize,
        /// Number of channels.
        length: usize,
    },
    /// Channel `g·n + i` moves to `i·groups + g`, where `n = channels / groups`
    /// (Zhang et al. 2018, ShuffleNet).
    ChannelShuffle {
        /// Number of groups.
        groups: usize,
    },
    /// `Conv1d` over the channels of a `C×1×1` input, one channel in and out, no bias, `kernel / 2`
    /// zeros at each end (Wang et al. 2020, ECA-Net).
    ChannelConvolution {
        /// Odd number of taps.
        kernel: usize,
    },
    /// `Upsample`: each pixel becomes `factor × factor` equal ones.
    Upsample {
        /// Whole enlargement.
        factor: usize,
    },
    /// An operation that nasgen does not have. Only the reference executor runs it.
    Custom(Custom),
}

/// Settings of batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Added to the variance.
    pub eps: f64,
    /// Share of the newest batch in the running statistics.
    pub momentum: f64,
}

impl Default for Norm {
    /// PyTorch's.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

impl Primitive {
    /// The shape that comes out, for the shapes that go in.
    pub fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        let input = match (self, inputs) {
            (Self::Custom(custom), _) => return custom.operation().output(inputs),
            (Self::Scale, [image, gate]) => return scale_output(*image, *gate),
            (Self::Add { .. }, [first, others @ ..]) if !others.is_empty() => return add_output(*first, others),
            (Self::Concat, [first, others @ ..]) => return concat_output(*first, others),
            (Self::Scale | Self::Add { .. } | Self::Concat, _) => {
                let message = format!("{} needs two inputs or more, got {}", self.name(), inputs.len());
                return Err(Error::row(message).help("give `from` a list of rows, such as [-1, -2]".to_owned()));
            }
            (_, [input]) => *input,
            _ => return Err(Error::row(format!("{} takes one input, got {}", self.name(), inputs.len()))),
        };
        self.single_output(input)
    }

    fn single_output(&self, input: Shape) -> Result<Shape> {
        match *self {
            Self::Convolution(convolution) => convolution.output(input),
            Self::MaxPool { window, ceil_mode } | Self::AveragePool { window, ceil_mode, .. } => {
                pool_output(input, &window, ceil_mode)
            }
            Self::AdaptiveAveragePool { output } | Self::AdaptiveMaxPool { output } => {
                self.image_size(input)?;
                Ok(Shape::image(input.channels(), output, output))
            }
            Self::Linear { out } => match input {
                Shape::Features(_) => Ok(Shape::Features(out)),
                Shape::Image { .. } => Err(Error::row(format!("Linear needs a vector, got an image of {input}"))
                    .help("put `[1, Flatten, []]` before it".to_owned())),
            },
            Self::Flatten => Ok(Shape::Features(usize::try_from(input.elements()).unwrap_or(usize::MAX))),
            Self::Norm(_) => self.image_size(input).map(|_| input),
            Self::Activation(_) | Self::Dropout { .. } => Ok(input),
            Self::ChannelSlice { start, length } if start + length <= input.channels() && length > 0 => {
                self.image_size(input).map(|_| input.with_channels(length))
            }
            Self::ChannelSlice { start, length } => {
                Err(Error::row(format!("channels {start}..{} do not exist in an input of {input}", start + length)))
            }
            Self::ChannelShuffle { groups } if groups > 0 && input.channels().is_multiple_of(groups) => {
                self.image_size(input).map(|_| input)
            }
            Self::ChannelShuffle { groups } => {
                Err(Error::row(format!("{} channels cannot be shuffled in {groups} groups", input.channels())))
            }
            Self::ChannelConvolution { .. } if input.size() == Some([1, 1]) => Ok(input),
            Self::ChannelConvolution { .. } => Err(Error::row(format!("channel convolution needs C×1×1, got {input}"))),
            Self::Upsample { factor } => {
                let [height, width] = self.image_size(input)?;
                Ok(Shape::image(input.channels(), height.saturating_mul(factor), width.saturating_mul(factor)))
            }
            Self::Scale | Self::Add { .. } | Self::Concat | Self::Custom(_) => unreachable!("handled by output()"),
        }
    }

    fn image_size(&self, input: Shape) -> Result<[usize; 2]> {
        input.size().ok_or_else(|| Error::row(format!("{} needs an image, got a vector of {input}", self.name())))
    }

    /// Multiply-adds for one image: convolutions, linear layers, and what a custom operation says; all
    /// else counts 0.
    pub fn macs(&self, inputs: &[Shape], output: Shape) -> u64 {
        match *self {
            Self::Convolution(convolution) => convolution.macs(inputs[0], output),
            Self::Linear { out } => inputs[0].elements().saturating_mul(out as u64),
            Self::ChannelConvolution { kernel } => output.elements().saturating_mul(kernel as u64),
            Self::Custom(custom) => custom.operation().macs(inputs, output),
            _ => 0,
        }
    }

    /// The tensors that this layer owns, named within it.
    pub fn tensors(&self, inputs: &[Shape]) -> Vec<TensorSpec> {
        match *self {
            Self::Convolution(convolution) => convolution.tensors(inputs[0]),
            Self::Norm(_) => {
                let channels = inputs[0].channels();
                vec![
                    TensorSpec::vector("weight", channels, Initial::Constant(1.0)),
                    TensorSpec::vector("bias", channels, Initial::Constant(0.0)),
                    TensorSpec::statistic("running_mean", channels, 0.0),
                    TensorSpec::statistic("running_var", channels, 1.0),
                ]
            }
            Self::Linear { out } => {
                // PyTorch's default for Linear: uniform within 1/√inputs, weight and bias alike.
                let inputs = inputs[0].channels();
                let initial = Initial::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
                vec![TensorSpec::weight(vec![out, inputs], initial), TensorSpec::vector("bias", out, initial)]
            }
            Self::ChannelConvolution { kernel } => {
                let initial = Initial::Uniform { bound: 1.0 / (kernel as f64).sqrt() };
                vec![TensorSpec::weight(vec![1, 1, kernel], initial)]
            }
            Self::Custom(custom) => custom.operation().tensors(inputs),
            _ => Vec::new(),
        }
    }

    /// A short name for messages and pictures.
    pub fn name(&self) -> String {
        match self {
            Self::Convolution(_) => "convolution".into(),
            Self::Norm(_) => "norm".into(),
            Self::Activation(activation) => activation.name(),
            Self::MaxPool { .. } => "max pool".into(),
            Self::AveragePool { .. } => "average pool".into(),
            Self::AdaptiveAveragePool { .. } => "global average pool".into(),
            Self::AdaptiveMaxPool { .. } => "global max pool".into(),
            Self::Linear { .. } => "linear".into(),
            Self::Flatten => "flatten".into(),
            Self::Dropout { .. } => "dropout".into(),
            Self::Scale => "scale".into(),
            Self::Add { .. } => "add".into(),
            Self::Concat => "concat".into(),
            Self::ChannelSlice { .. } => "channel slice".into(),
            Self::ChannelShuffle { .. } => "channel shuffle".into(),
            Self::ChannelConvolution { .. } => "channel convolution".into(),
            Self::Upsample { .. } => "upsample".into(),
            Self::Custom(custom) => custom.operation().name(),
        }
    }
}

fn pool_output(input: Shape, window: &Window, ceil_mode: bool) -> Result<Shape> {
    let Some(size) = input.size() else {
        return Err(Error::row(format!("a pool needs an image, got a vector of {input}")));
    };
    let Padding { top, bottom, left, right } = window.padding;
    // Else a window could lie wholly in the padding and have no maximum (PyTorch's rule too).
    if top.max(bottom) > window.kernel[0] / 2 || left.max(right) > window.kernel[1] / 2 {
        return Err(Error::row(format!(
            "a pool's padding must be at most half its kernel, got padding {} for kernel {}",
            top.max(left),
            window.kernel[0],
        )));
    }
    let [height, width] = window.positions(size, ceil_mode)?;
    Ok(Shape::image(input.channels(), height, width))
}

fn scale_output(image: Shape, gate: Shape) -> Result<Shape> {
    if image.size().is_some() && gate == Shape::image(image.channels(), 1, 1) {
        return Ok(image);
    }
    Err(Error::row(format!("scale needs an image and one value per channel, got {image} and {gate}")))
}

fn add_output(first: Shape, others: &[Shape]) -> Result<Shape> {
    match others.iter().find(|other| **other != first) {
        None => Ok(first),
        Some(other) => Err(Error::row(format!("addition needs equal shapes, got {first} and {other}"))),
    }
}

fn concat_output(first: Shape, others: &[Shape]) -> Result<Shape> {
    let mut channels = first.channels();
    for other in others {
        if other.size() != first.size() {
            return Err(Error::row(format!("concatenation needs equal heights and widths, got {first} and {other}")));
        }
        channels = channels.saturating_add(other.channels());
    }
    Ok(first.with_channels(channels))
}
