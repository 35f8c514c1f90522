//! A network as TensorBoard's graph.

use super::message::Message;
use nasgen_modules::{Layers, Shape, Source};

/// A `GraphDef`: one node for each layer, in groups by row, copy and part of the block.
pub fn graph(layers: &Layers) -> Vec<u8> {
    let name = |source: &Source| match source {
        Source::Input(_) => "images".to_owned(),
        Source::Node(node) => path(&layers.nodes()[*node].label),
    };
    let mut graph = Message::new();
    for shape in layers.inputs() {
        graph = graph.message(1, node("images", "input", &[], *shape));
    }
    for layer in layers.nodes() {
        let inputs: Vec<String> = layer.inputs.iter().map(name).collect();
        graph = graph.message(1, node(&path(&layer.label), &layer.primitive.name(), &inputs, layer.output));
    }
    // Any producer from 1.0 on.
    graph.message(4, Message::new().number(1, 22)).as_bytes().to_vec()
}

/// TensorBoard groups by slashes. A group and a node cannot have one name: `expand.norm` follows `expand`.
fn path(label: &str) -> String {
    let mut parts = label.splitn(4, '.');
    let place: Vec<&str> = parts.by_ref().take(3).collect();
    let within = parts.next().map(|within| within.replace('.', "_"));
    place.into_iter().chain(within.as_deref()).collect::<Vec<_>>().join("/")
}

fn node(name: &str, operation: &str, inputs: &[String], shape: Shape) -> Message {
    let mut node = Message::new().text(1, name).text(2, &operation.replace(' ', "_"));
    for input in inputs {
        node = node.text(3, input);
    }
    // -1 stands for the batch: a varint of all bits.
    let sides = [u64::MAX].into_iter().chain(shape.dims().into_iter().map(|side| side as u64));
    let dimensions = sides.fold(Message::new(), |shape, side| shape.message(2, Message::new().number(1, side)));
    let list = Message::new().message(7, dimensions);
    let value = Message::new().message(1, list);
    node.message(5, Message::new().text(1, "_output_shapes").message(2, value))
}
