//! The layers that a definition can name, with their arguments.

use crate::activation::Activation;

/// A layer that a definition can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Layer::meaning` says it")]
pub enum Layer {
    Convolution,
    Pointwise,
    Depthwise,
    Norm,
    Activation,
    MaxPool,
    AveragePool,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    Flatten,
    Dropout,
    Upsample,
    Shuffle,
    Slice,
    Gate,
    Attention,
}

/// What an argument of a layer is where a definition does not say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerDefault {
    /// It must be said.
    Required,
    /// A number.
    Number(f64),
    /// False.
    No,
    /// Null.
    Null,
    /// An activation.
    Function(Activation),
}

impl Layer {
    /// Every layer, with its name in a definition.
    pub const ALL: [(&str, Self); 17] = [
        ("convolution", Self::Convolution),
        ("pointwise", Self::Pointwise),
        ("depthwise", Self::Depthwise),
        ("norm", Self::Norm),
        ("activation", Self::Activation),
        ("max_pool", Self::MaxPool),
        ("average_pool", Self::AveragePool),
        ("global_average_pool", Self::GlobalAveragePool),
        ("global_max_pool", Self::GlobalMaxPool),
        ("linear", Self::Linear),
        ("flatten", Self::Flatten),
        ("dropout", Self::Dropout),
        ("upsample", Self::Upsample),
        ("shuffle", Self::Shuffle),
        ("slice", Self::Slice),
        ("gate", Self::Gate),
        ("attention", Self::Attention),
    ];

    /// What it does, in a line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Convolution => "a convolution",
            Self::Pointwise => "a 1×1 convolution",
            Self::Depthwise => "a convolution of each channel by itself",
            Self::Norm => "batch normalisation",
            Self::Activation => "an activation function; its name alone does as well",
            Self::MaxPool => "the greatest value in each window",
            Self::AveragePool => "the mean of each window",
            Self::GlobalAveragePool => "the mean of each channel, in `output × output` parts",
            Self::GlobalMaxPool => "the greatest value of each channel, in `output × output` parts",
            Self::Linear => "a linear layer with bias, on a vector",
            Self::Flatten => "an image as a vector",
            Self::Dropout => "zeroes values in training",
            Self::Upsample => "each pixel becomes `factor × factor` equal ones",
            Self::Shuffle => "mixes the channels of groups (ShuffleNet)",
            Self::Slice => "the channels from `start`, from 0, on, `length` of them",
            Self::Gate => "squeeze and excite: each channel times a learnt factor, by way of `squeeze` channels",
            Self::Attention => "the same by a convolution over the channels (ECA-Net); `kernel` is odd",
        }
    }

    /// Its arguments in order, with what each is when it is not given.
    pub fn arguments(self) -> &'static [(&'static str, LayerDefault)] {
        use LayerDefault::{Function, No, Null, Number, Required};
        match self {
            Self::Convolution => &[
                ("out", Required),
                ("kernel", Required),
                ("stride", Number(1.0)),
                ("padding", Null),
                ("groups", Number(1.0)),
                ("dilation", Number(1.0)),
                ("bias", No),
            ],
            Self::Pointwise => &[("out", Required), ("bias", No)],
            Self::Depthwise => &[
                ("kernel", Required),
                ("stride", Number(1.0)),
                ("padding", Null),
                ("dilation", Number(1.0)),
                ("bias", No),
            ],
            Self::Norm | Self::Flatten => &[],
            Self::Activation => &[("function", Required)],
            Self::MaxPool | Self::AveragePool => &[("kernel", Required), ("stride", Null), ("padding", Number(0.0))],
            Self::GlobalAveragePool | Self::GlobalMaxPool => &[("output", Number(1.0))],
            Self::Linear => &[("out", Required)],
            Self::Dropout => &[("probability", Required)],
            Self::Upsample => &[("factor", Number(2.0))],
            Self::Shuffle => &[("groups", Required)],
            Self::Slice => &[("start", Required), ("length", Required)],
            Self::Gate => &[
                ("squeeze", Required),
                ("inner", Function(Activation::ReLU)),
                ("outer", Function(Activation::Sigmoid)),
            ],
            Self::Attention => &[("kernel", Required), ("outer", Function(Activation::Sigmoid))],
        }
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, layer)| *layer == self).map_or("", |(name, _)| name)
    }
}

impl LayerDefault {
    /// The value as a definition would say it; `None` if it must be said.
    pub fn written(self) -> Option<String> {
        match self {
            Self::Required => None,
            Self::Number(number) => Some(number.to_string()),
            Self::No => Some("false".into()),
            Self::Null => Some("null".into()),
            Self::Function(activation) => Some(activation.name()),
        }
    }
}
