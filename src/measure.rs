//! What a network costs, without its layers being written down: for looking at very many of them.

use crate::{
    network::{MAX_LAYERS, MAX_MACS, MAX_PARAMS, earlier_row, features, strides, unread_input, unused_row},
    spec::{ModelSpec, Row},
};
use nasgen_modules::{Copies, NetworkRules, Role, Shape, Site};
use std::collections::HashMap;

/// The numbers of a network that [`crate::network::Network::plan`] would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Parameters.
    pub params: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Copies of blocks that halve the image.
    pub downsamplings: usize,
    /// The smaller side of the smallest image before the global pool.
    pub smallest_feature: usize,
}

/// Measures networks whose rows name the same blocks. A copy of a row is measured once for each input that reaches it: the same blocks
/// come again and again in the networks of one space.
#[derive(Default)]
pub struct Scale {
    known: Vec<(NetworkRules, HashMap<Standing, Option<MeasuredCopy>>)>,
}

/// A copy of a row where it stands. The copies between the first and the last of a row are alike, as
/// [`nasgen_modules::ModuleGenerator::layers`] promises.
#[derive(PartialEq, Eq, Hash)]
struct Standing {
    block: String,
    arguments: String,
    inputs: Vec<Value>,
    is_first: bool,
    is_last: bool,
}

/// What comes out of a row, or of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Value {
    shape: Shape,
    /// Whether the image was pooled as a whole on the way.
    is_pooled: bool,
}

#[derive(Clone, Copy)]
struct MeasuredCopy {
    output: Value,
    params: u64,
    macs: u64,
    layers: usize,
    strides: bool,
    smallest_feature: usize,
}

impl Scale {
    /// The numbers of `spec` for images of shape `input`; `None` where it cannot be planned.
    pub fn measure(&mut self, spec: &ModelSpec, input: Shape) -> Option<Measured> {
        let image = Value { shape: input, is_pooled: false };
        let smallest_feature = input.size().map_or(0, |[height, width]| height.min(width));
        let mut network = Measured { params: 0, macs: 0, downsamplings: 0, smallest_feature };
        let (mut layers, mut outputs) = (0, Vec::new());
        for (index, row) in spec.rows.iter().enumerate() {
            let value = |from: &i64| match earlier_row(*from, index)? {
                None => Some(image),
                Some(earlier) => outputs.get(earlier).copied(),
            };
            let mut inputs = row.from.iter().map(value).collect::<Option<Vec<Value>>>()?;
            let count = spec.copies(row);
            let mut copy = 0;
            while copy < count {
                let copies = Copies { index: copy, count };
                let measured = self.copy(spec, row, &inputs, copies)?;
                // Copies that are alike and change nothing about the image give the same again.
                let settled = inputs == [measured.output] && !copies.is_first() && !copies.is_last();
                let alike = if settled { count - 1 - copy } else { 1 };
                let times = |number: u64| number.saturating_mul(alike as u64);
                network.params = network.params.saturating_add(times(measured.params));
                network.macs = network.macs.saturating_add(times(measured.macs));
                network.downsamplings += usize::from(measured.strides) * alike;
                network.smallest_feature = network.smallest_feature.min(measured.smallest_feature);
                layers += measured.layers * alike;
                let elements = measured.output.shape.elements();
                if network.params > MAX_PARAMS
                    || network.macs > MAX_MACS
                    || layers > MAX_LAYERS
                    || elements > MAX_PARAMS
                {
                    return None;
                }
                inputs = vec![measured.output];
                copy += alike;
            }
            outputs.push(inputs[0]);
        }
        if unused_row(&spec.rows).is_none() { Some(network) } else { None }
    }

    fn copy(&mut self, spec: &ModelSpec, row: &Row, inputs: &[Value], copy: Copies) -> Option<MeasuredCopy> {
        let rules = spec.rules(row);
        let known = match self.known.iter().position(|(known, _)| *known == rules) {
            Some(index) => index,
            None => {
                self.known.push((rules, HashMap::new()));
                self.known.len() - 1
            }
        };
        let standing = Standing {
            block: row.block.clone(),
            arguments: serde_json::Value::from(row.arguments.clone()).to_string(),
            inputs: inputs.to_vec(),
            is_first: copy.is_first(),
            is_last: copy.is_last(),
        };
        let measured = self.known[known].1.entry(standing).or_insert_with(|| {
            let shapes = inputs.iter().map(|value| value.shape).collect();
            let site = Site { inputs: shapes, copy, role: Role::Row, network: rules };
            measure_copy(row, &site, inputs)
        });
        *measured
    }
}

fn measure_copy(row: &Row, site: &Site, inputs: &[Value]) -> Option<MeasuredCopy> {
    let layers = row.module.layers(site).ok()?;
    if unread_input(&layers) {
        return None;
    }
    let pooled: Vec<bool> = inputs.iter().map(|value| value.is_pooled).collect();
    let (is_pooled, smallest_feature) = features(&layers, &pooled);
    Some(MeasuredCopy {
        output: Value { shape: layers.output(), is_pooled },
        params: layers.params(),
        macs: layers.macs(),
        layers: layers.nodes().len(),
        strides: layers.nodes().iter().any(|node| strides(&node.primitive)),
        smallest_feature: smallest_feature.unwrap_or(usize::MAX),
    })
}
