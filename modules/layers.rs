//! The layers of a block, or of a whole network, as data: a graph in topological order.

use crate::{error::Result, primitive::Primitive, shape::Shape, tensor::TensorSpec};

/// Where a layer's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An input of the graph.
    Input(usize),
    /// The output of the node at this index.
    Node(usize),
}

/// One layer in its graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph; the first part of its tensors' names.
    pub label: String,
    /// What it computes.
    pub primitive: Primitive,
    /// Where its inputs come from: only from earlier nodes.
    pub inputs: Vec<Source>,
    /// Shape of its output, for one image.
    pub output: Shape,
}

/// A graph of layers with known shapes. Nothing is allocated yet: parameters, multiply-adds and
/// memory follow from this description, and so do the weights and every executor.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    inputs: Vec<Shape>,
    nodes: Vec<Node>,
    output: Source,
}

impl Layers {
    /// No layer at all: what comes out is the first input.
    pub fn identity(inputs: Vec<Shape>) -> Self {
        Self { inputs, nodes: Vec::new(), output: Source::Input(0) }
    }

    /// Shapes of the inputs.
    pub fn inputs(&self) -> &[Shape] {
        &self.inputs
    }

    /// The layers, in an order in which they can be computed.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Which value is the result.
    pub fn output_source(&self) -> Source {
        self.output
    }

    /// Shape of the result.
    pub fn output(&self) -> Shape {
        self.shape(self.output)
    }

    /// Shape of a value in the graph.
    pub fn shape(&self, source: Source) -> Shape {
        match source {
            Source::Input(index) => self.inputs[index],
            Source::Node(index) => self.nodes[index].output,
        }
    }

    /// Shapes that reach a node.
    pub fn input_shapes(&self, node: &Node) -> Vec<Shape> {
        node.inputs.iter().map(|source| self.shape(*source)).collect()
    }

    /// Appends a layer and makes it the result.
    pub fn push(&mut self, label: String, primitive: Primitive, inputs: Vec<Source>) -> Result<Source> {
        let shapes: Vec<Shape> = inputs.iter().map(|source| self.shape(*source)).collect();
        let output = primitive.output(&shapes)?;
        self.nodes.push(Node { label, primitive, inputs, output });
        self.output = Source::Node(self.nodes.len() - 1);
        Ok(self.output)
    }

    /// Appends all layers of `other`, fed by `inputs`, with `prefix` and a dot before their
    /// labels; the result is that of `other`.
    pub fn splice(&mut self, prefix: &str, other: &Self, inputs: &[Source]) -> Source {
        let offset = self.nodes.len();
        let moved = |source: Source| match source {
            Source::Input(index) => inputs[index],
            Source::Node(index) => Source::Node(index + offset),
        };
        self.nodes.extend(other.nodes.iter().map(|node| Node {
            label: format!("{prefix}.{}", node.label),
            inputs: node.inputs.iter().map(|source| moved(*source)).collect(),
            ..node.clone()
        }));
        self.output = moved(other.output);
        self.output
    }

    /// The same graph with stochastic depth (Huang et al. 2016) that grows with the depth: of L residual sums the
    /// l-th, counted from 1, drops its branch with probability `rate` · l / L; one that has a probability of its
    /// own keeps it. A residual sum is one of two values of which the first is on the way to the second. `None`
    /// where there is no such sum.
    #[must_use]
    pub fn with_stochastic_depth(mut self, rate: f64) -> Option<Self> {
        let sums: Vec<usize> = (0..self.nodes.len()).filter(|node| self.is_residual_sum(*node)).collect();
        for (index, node) in sums.iter().enumerate() {
            if let Primitive::Add { drop } = &mut self.nodes[*node].primitive
                && *drop == 0.0
            {
                *drop = rate * (index + 1) as f64 / sums.len() as f64;
            }
        }
        (!sums.is_empty()).then_some(self)
    }

    fn is_residual_sum(&self, node: usize) -> bool {
        let Node { primitive: Primitive::Add { .. }, inputs, .. } = &self.nodes[node] else { return false };
        let [trunk, branch] = inputs[..] else { return false };
        let mut ahead = vec![branch];
        let mut seen = vec![false; self.nodes.len()];
        while let Some(source) = ahead.pop() {
            if let Source::Node(node) = source
                && !std::mem::replace(&mut seen[node], true)
            {
                if self.nodes[node].inputs.contains(&trunk) {
                    return true;
                }
                ahead.extend(&self.nodes[node].inputs);
            }
        }
        false
    }

    /// Every tensor, in the order of the layers, with `label.` before its name.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let named = |node: &Node| {
            let tensors = node.primitive.tensors(&self.input_shapes(node));
            let name = |tensor: &TensorSpec| format!("{}.{}", node.label, tensor.name);
            tensors.into_iter().map(|tensor| TensorSpec { name: name(&tensor), ..tensor }).collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(named).collect()
    }

    /// Number of learnt values; running statistics do not count.
    pub fn params(&self) -> u64 {
        let tensors = self.nodes.iter().flat_map(|node| node.primitive.tensors(&self.input_shapes(node)));
        let parameters = tensors.filter(TensorSpec::is_parameter);
        parameters.fold(0, |sum, tensor| sum.saturating_add(tensor.elements()))
    }

    /// Multiply-adds for one image: convolutions and linear layers.
    pub fn macs(&self) -> u64 {
        let node_macs = |node: &Node| node.primitive.macs(&self.input_shapes(node), node.output);
        self.nodes.iter().map(node_macs).fold(0, u64::saturating_add)
    }

    /// Values that all layers together put out for one image: what training must keep, at most.
    pub fn activation_elements(&self) -> u64 {
        self.nodes.iter().map(|node| node.output.elements()).fold(0, u64::saturating_add)
    }

    /// The most values that are needed at one time to run one image through, each kept from the
    /// layer that makes it to the last that reads it.
    pub fn peak_elements(&self) -> u64 {
        let mut last_use = vec![0; self.nodes.len()];
        let mut last_input_use = vec![0; self.inputs.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for source in &node.inputs {
                match source {
                    Source::Input(input) => last_input_use[*input] = index,
                    Source::Node(node) => last_use[*node] = index,
                }
            }
        }
        if let Source::Node(result) = self.output {
            last_use[result] = self.nodes.len();
        }
        let alive_at = |now: usize| {
            let inputs = self.inputs.iter().zip(&last_input_use).filter(|(_, last)| **last >= now);
            let nodes = self.nodes[..=now].iter().zip(&last_use).filter(|(_, last)| **last >= now);
            let shapes = inputs.map(|(shape, _)| *shape).chain(nodes.map(|(node, _)| node.output));
            shapes.map(Shape::elements).fold(0, u64::saturating_add)
        };
        let input: u64 = self.inputs.iter().map(|shape| shape.elements()).fold(0, u64::saturating_add);
        (0..self.nodes.len()).map(alive_at).max().unwrap_or(input)
    }
}
