//! A network as a PyTorch module that a person can read and change. Its `state_dict` has nasgen's names of tensors.

use crate::{network::Network, spec::emit_inline};
use nasgen_modules::{Activation, Layers, Node, Padding, Primitive, Source, Window};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
};

/// The text of a Python file with a class `Network`; `title` becomes the first line of its documentation.
///
/// # Errors
/// When it has an operation that PyTorch does not have.
pub fn pytorch_module(network: &Network, title: &str) -> Result<String, String> {
    let rows: BTreeMap<String, String> = network
        .rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let arguments = emit_inline(&Value::Array(row.arguments.clone()));
            let repeat = if row.repeat > 1 { format!("{} × ", row.repeat) } else { String::new() };
            (format!("backbone.{index}."), format!("{index}: {repeat}{} {arguments} -> {}", row.module, row.output))
        })
        .collect();
    module(&network.layers, title, &rows)
}

/// The same of layers that are no whole network.
///
/// # Errors
/// As [`pytorch_module`].
pub fn pytorch_layers(layers: &Layers, title: &str) -> Result<String, String> {
    module(layers, title, &BTreeMap::new())
}

/// A node that holds tensors, or state, is a layer of the module; others are functions in `forward`.
struct Written {
    /// How the layer is made.
    layer: Option<String>,
    /// What `forward` computes.
    value: String,
}

fn module(layers: &Layers, title: &str, rows: &BTreeMap<String, String>) -> Result<String, String> {
    let names = Names::of(layers);
    let (mut init, mut forward) = (String::new(), String::new());
    let mut row = "";
    for (index, node) in layers.nodes().iter().enumerate() {
        if let Some((prefix, comment)) = rows.iter().find(|(prefix, _)| node.label.starts_with(prefix.as_str()))
            && row != prefix
        {
            for text in [&mut init, &mut forward] {
                put(text, format_args!("\n        # {comment}"));
            }
            row = prefix;
        }
        let inputs: Vec<String> = node.inputs.iter().map(|source| names.value(*source)).collect();
        let written = written(node, &inputs, layers)?;
        if let Some(layer) = written.layer {
            put(&mut init, format_args!("        add({:?}, {layer})", node.label));
        }
        put(&mut forward, format_args!("        {} = {}", names.of_node(index), written.value));
    }
    let arguments: Vec<String> = (0..layers.inputs().len()).map(|index| names.value(Source::Input(index))).collect();
    let shapes: Vec<String> = layers.inputs().iter().map(ToString::to_string).collect();
    let drops = layers.nodes().iter().any(|node| matches!(node.primitive, Primitive::Add { drop } if drop > 0.0));
    Ok(format!(
        "\"\"\"{}\n\nWritten by nasgen {}. Images of {} go in as a batch, {} comes out.\nWeights that nasgen trained: \
         `Network().load_state_dict(safetensors.torch.load_file(\"best.safetensors\"))`.\n\"\"\"\n\n\
         import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n\n{}\
         class Network(nn.Module):\n    def __init__(self):\n        super().__init__()\n\n        \
         def add(name, layer):\n            \"\"\"Makes `layer` the submodule `name`, whose parts are divided by dots.\"\"\"\n            \
         place = self\n            *parents, last = name.split(\".\")\n            for parent in parents:\n                \
         if parent not in place._modules:\n                    place.add_module(parent, nn.Module())\n                \
         place = getattr(place, parent)\n            place.add_module(last, layer)\n\n{}\n    \
         def forward(self, {}):\n        at = self.get_submodule\n{}        return {}\n",
        documented(title),
        env!("CARGO_PKG_VERSION"),
        shapes.join(" and "),
        layers.output(),
        if drops { DROP } else { "" },
        init.trim_start_matches('\n'),
        arguments.join(", "),
        forward,
        names.value(layers.output_source()),
    ))
}

const DROP: &str = "\
def drop_images(x, probability, training):
    \"\"\"Stochastic depth (Huang et al. 2016): whole images are zeroed, the others scaled to keep the mean.\"\"\"
    if not training:
        return x
    kept = torch.empty([x.shape[0]] + [1] * (x.ndim - 1), device=x.device).bernoulli_(1 - probability)
    return x * kept / (1 - probability)


";

/// A title that cannot end the documentation.
fn documented(title: &str) -> String {
    title.replace('\\', "/").replace('"', "'")
}

fn put(text: &mut String, line: impl Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// What values are called: `x` flows on; one that is read later has its own name.
struct Names {
    kept: Vec<bool>,
    inputs: usize,
}

impl Names {
    fn of(layers: &Layers) -> Self {
        let nodes = layers.nodes();
        let is_read_later = |index: usize| {
            let source = Source::Node(index);
            let readers = nodes.iter().enumerate().filter(|(_, node)| node.inputs.contains(&source));
            let is_result = layers.output_source() == source;
            readers.clone().any(|(reader, _)| reader != index + 1) || is_result && readers.count() > 0
        };
        // A node that does not read the one before it would overwrite `x` while that is still needed.
        let overwrites =
            |index: usize| index + 1 < nodes.len() && !nodes[index + 1].inputs.contains(&Source::Node(index));
        let kept = (0..nodes.len()).map(|index| is_read_later(index) || overwrites(index)).collect();
        Self { kept, inputs: layers.inputs().len() }
    }

    fn of_node(&self, index: usize) -> String {
        if self.kept[index] { format!("x{index}") } else { "x".into() }
    }

    fn value(&self, source: Source) -> String {
        match source {
            Source::Input(_) if self.inputs == 1 => "images".into(),
            Source::Input(index) => format!("images{index}"),
            Source::Node(index) => self.of_node(index),
        }
    }
}

fn written(node: &Node, inputs: &[String], layers: &Layers) -> Result<Written, String> {
    let x = inputs[0].as_str();
    let shape = layers.input_shapes(node)[0];
    let layer = |layer: String, x: &str| Written { layer: Some(layer), value: format!("at({:?})({x})", node.label) };
    let function = |value: String| Written { layer: None, value };
    Ok(match node.primitive {
        Primitive::Convolution(convolution) => {
            let (padding, x) = padding(&convolution.window, x, "");
            let Window { kernel, stride, dilation, .. } = convolution.window;
            let groups =
                if convolution.groups > 1 { format!(", groups={}", convolution.groups) } else { String::new() };
            let dilation = if dilation == [1, 1] { String::new() } else { format!(", dilation={}", pair(dilation)) };
            let text = format!(
                "nn.Conv2d({}, {}, {}, stride={}, padding={padding}{dilation}{groups}, bias={})",
                shape.channels(),
                convolution.out,
                pair(kernel),
                pair(stride),
                truth(convolution.bias),
            );
            layer(text, &x)
        }
        Primitive::Norm(norm) => {
            let text = format!("nn.BatchNorm2d({}, eps={}, momentum={})", shape.channels(), norm.eps, norm.momentum);
            layer(text, x)
        }
        Primitive::Linear { out } => layer(format!("nn.Linear({}, {out})", shape.channels()), x),
        Primitive::ChannelConvolution { kernel } => {
            let text = format!("nn.Conv1d(1, 1, {kernel}, padding={}, bias=False)", kernel / 2);
            let along = format!("{x}.flatten(2).transpose(1, 2)");
            let Written { layer, value } = layer(text, &along);
            Written { layer, value: format!("{value}.transpose(1, 2).unsqueeze(-1)") }
        }
        Primitive::Activation(activation) => function(activated(activation, x)),
        Primitive::MaxPool { window, ceil_mode } => {
            let (padding, x) = padding(&window, x, ", value=float(\"-inf\")");
            function(format!(
                "F.max_pool2d({x}, {}, stride={}, padding={padding}, dilation={}, ceil_mode={})",
                pair(window.kernel),
                pair(window.stride),
                pair(window.dilation),
                truth(ceil_mode),
            ))
        }
        Primitive::AveragePool { window, ceil_mode, count_include_pad } => {
            let (padding, x) = padding(&window, x, "");
            if padding == "0" && window.padding != Padding::default() && !count_include_pad {
                return Err(format!("`{}`: PyTorch has no average pool whose padding differs by side", node.label));
            }
            function(format!(
                "F.avg_pool2d({x}, {}, stride={}, padding={padding}, ceil_mode={}, count_include_pad={})",
                pair(window.kernel),
                pair(window.stride),
                truth(ceil_mode),
                truth(count_include_pad),
            ))
        }
        Primitive::AdaptiveAveragePool { output } => function(format!("F.adaptive_avg_pool2d({x}, {output})")),
        Primitive::AdaptiveMaxPool { output } => function(format!("F.adaptive_max_pool2d({x}, {output})")),
        Primitive::Flatten => function(format!("{x}.flatten(1)")),
        Primitive::Dropout { probability } => function(format!("F.dropout({x}, {probability}, self.training)")),
        Primitive::Scale => function(inputs.join(" * ")),
        Primitive::Add { drop } if drop > 0.0 => {
            let others = inputs[1..].iter().map(|input| format!(" + drop_images({input}, {drop}, self.training)"));
            function(format!("{x}{}", others.collect::<String>()))
        }
        Primitive::Add { .. } => function(inputs.join(" + ")),
        Primitive::Concat => function(format!("torch.cat([{}], 1)", inputs.join(", "))),
        Primitive::ChannelSlice { start, length } => function(format!("{x}[:, {start}:{}]", start + length)),
        Primitive::ChannelShuffle { groups } => {
            function(format!("{x}.unflatten(1, ({groups}, -1)).transpose(1, 2).flatten(1, 2)"))
        }
        Primitive::Upsample { factor } => {
            function(format!("F.interpolate({x}, scale_factor={factor}, mode=\"nearest\")"))
        }
        Primitive::Custom(_) => {
            let name = node.primitive.name();
            return Err(format!("`{}` is the custom operation {name}, which PyTorch does not have", node.label));
        }
    })
}

/// PyTorch's `padding`, and the value with what it cannot say already around it.
fn padding(window: &Window, x: &str, value: &str) -> (String, String) {
    let Padding { top, bottom, left, right } = window.padding;
    if top == bottom && left == right {
        return (pair([top, left]), x.to_owned());
    }
    ("0".into(), format!("F.pad({x}, ({left}, {right}, {top}, {bottom}){value})"))
}

/// One number where both sides have it.
fn pair([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("({height}, {width})") }
}

fn truth(truth: bool) -> &'static str {
    if truth { "True" } else { "False" }
}

fn activated(activation: Activation, x: &str) -> String {
    match activation {
        Activation::ReLU => format!("F.relu({x})"),
        Activation::ReLU6 => format!("F.relu6({x})"),
        Activation::Hardswish => format!("F.hardswish({x})"),
        Activation::SiLU => format!("F.silu({x})"),
        Activation::Sigmoid => format!("torch.sigmoid({x})"),
        Activation::Hardsigmoid => format!("F.hardsigmoid({x})"),
        Activation::GELU => format!("F.gelu({x})"),
        Activation::LeakyReLU => format!("F.leaky_relu({x})"),
        Activation::ELU => format!("F.elu({x})"),
        Activation::Mish => format!("F.mish({x})"),
        Activation::Tanh => format!("torch.tanh({x})"),
        Activation::Softmax => format!("F.softmax({x}, 1)"),
    }
}
