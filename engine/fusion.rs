//! Which layers are computed together.

use crate::activation::is_elementwise;
use nasgen_modules::{Activation, Layers, Node, Norm, Primitive, Source};

/// What is computed together with a convolution, a fully connected layer or a norm, with the indices of the nodes.
#[derive(Clone, Copy)]
pub(crate) struct After {
    /// The norm; the layer itself where that is one.
    pub(crate) norm: Option<(usize, Norm)>,
    pub(crate) activation: Option<(usize, Activation)>,
    pub(crate) sum: Option<Sum>,
}

/// A sum with something that was computed before.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) node: usize,
    pub(crate) other: Source,
    pub(crate) drop: f64,
}

impl After {
    /// What is computed together with the layer at `index`: each time what alone reads the result so far. `None` for
    /// layers that have no followers.
    pub(crate) fn of(layers: &Layers, index: usize) -> Option<Self> {
        let norm = match layers.nodes()[index].primitive {
            Primitive::Norm(norm) => Some((index, norm)),
            Primitive::Convolution(_) => only_reader(layers, index).and_then(|(norm, node)| match node.primitive {
                Primitive::Norm(settings) => Some((norm, settings)),
                _ => None,
            }),
            Primitive::Linear { .. } => None,
            _ => return None,
        };
        let activation =
            only_reader(layers, norm.map_or(index, |(norm, _)| norm)).and_then(|(index, node)| match node.primitive {
                Primitive::Activation(activation) if is_elementwise(activation) => Some((index, activation)),
                _ => None,
            });
        let last = activation.map(|(node, _)| node).or(norm.map(|(node, _)| node))?;
        let sum = if norm.is_some_and(|(norm, _)| norm != index) { sum_after(layers, last, index) } else { None };
        Some(Self { norm, activation, sum })
    }

    /// The nodes that are computed together with the first one.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = usize> {
        let Self { norm, activation, sum } = *self;
        [norm.map(|(node, _)| node), activation.map(|(node, _)| node), sum.map(|sum| sum.node)].into_iter().flatten()
    }
}

/// The sum of two that alone reads a node's result, if the other is known before the node at `first` is computed.
fn sum_after(layers: &Layers, index: usize, first: usize) -> Option<Sum> {
    let (node, sum) = only_reader(layers, index)?;
    let (Primitive::Add { drop }, [one, two]) = (sum.primitive, &sum.inputs[..]) else { return None };
    // What comes first is never dropped.
    let other = match (*one, *two) {
        (other, branch) if branch == Source::Node(index) => other,
        (branch, other) if branch == Source::Node(index) && drop == 0.0 => other,
        _ => return None,
    };
    let is_known = match other {
        Source::Input(_) => true,
        Source::Node(node) => node < first,
    };
    is_known.then_some(Sum { node, other, drop })
}

/// The node that alone reads a node's result, which is not that of the network.
fn only_reader(layers: &Layers, index: usize) -> Option<(usize, &Node)> {
    if layers.output_source() == Source::Node(index) {
        return None;
    }
    let reads = |(_, node): &(usize, &Node)| node.inputs.contains(&Source::Node(index));
    let mut readers = layers.nodes().iter().enumerate().filter(reads);
    readers.next().filter(|_| readers.next().is_none())
}
