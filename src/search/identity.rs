//! What a training is the same as: equal identities give equal results.

use crate::network::Network;
use nasgen_modules::Layers;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A network by what it computes: its layers, how they are joined and the image that they get, not what they
/// are called. Two specs that come to the same layers are the same network.
pub fn network_identity(network: &Network) -> String {
    hash(&graph(&network.layers))
}

/// A training: the network, or the values of a space without one, with everything else that its result
/// depends on.
pub(super) fn training_identity(computed: &str, settings: &Value, context: &str) -> String {
    hash(&format!("{computed}\n{settings}\n{context}"))
}

fn graph(layers: &Layers) -> String {
    let mut text = format!("{:?} {:?}\n", layers.inputs(), layers.output_source());
    for node in layers.nodes() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:?} {:?}", node.primitive, node.inputs);
    }
    text
}

/// 128 bits of SHA-256, in hexadecimal.
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{ModelSpec, SourceText};
    use nasgen_modules::{Blocks, Shape};

    fn identity(rows: &str) -> String {
        let text = format!("backbone:\n{rows}  - [1, Flatten, []]\n  - [1, Linear, [10]]\n");
        let source = SourceText { name: "cfg.yml".into(), text };
        let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap();
        network_identity(&Network::plan(&spec, Shape::image(3, 8, 8)).unwrap())
    }

    #[test]
    fn networks_are_the_same_by_what_they_compute() {
        let twice = identity("  - [2, Conv, [16, 3, 1]]\n");
        assert_eq!(twice, identity("  - [1, Conv, [16, 3, 1]]\n  - [1, Conv, {out: 16, kernel: 3, stride: 1}]\n"));
        assert_ne!(twice, identity("  - [2, Conv, [16, 5, 1]]\n"));
        assert_ne!(twice, identity("  - [3, Conv, [16, 3, 1]]\n"));
    }
}
