//! What other libraries call the tensors of the networks in `model_configs/`.
//!
//! A [`Naming`] is a table: which modules a network has, in the order in which an image passes them.
//! Both sides have the same layers in the same order; a name says which layer of the order it is.

use std::collections::{BTreeMap, BTreeSet};

/// The names of one library for some networks.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) library: &'static str,
    pub(super) networks: &'static str,
    /// In the order of the forward pass; what stands together in a group is in order of its numbers.
    groups: &'static [&'static [Part]],
    /// The module that gives the class scores.
    pub(super) classifier: &'static str,
    /// What the library's norms add to the variance: no file says it.
    pub(super) norm_eps: f64,
}

/// Modules whose names begin alike. In the beginning, `#` is a number.
#[derive(Debug)]
struct Part {
    beginning: &'static str,
    /// How the names may end, in order; with `?` a module may be absent, together with all others
    /// that have one.
    endings: &'static [&'static [&'static str]],
}

const fn part(beginning: &'static str, endings: &'static [&'static [&'static str]]) -> Part {
    Part { beginning, endings }
}

/// The module itself.
const ITSELF: &[&[&str]] = &[&[""]];
/// Convolution and norm.
const PAIR: &[&str] = &["0", "1"];

/// Blocks of torchvision's MobileNetV3 and EfficientNet: [expand,] depthwise, [gate,] project.
const GATED_BLOCKS: &[&[&str]] = &[
    &["block.0.0", "block.0.1", "block.1.0", "block.1.1"],
    &["block.0.0", "block.0.1", "block.1.fc1", "block.1.fc2", "block.2.0", "block.2.1"],
    &["block.0.0", "block.0.1", "block.1.0", "block.1.1", "block.2.0", "block.2.1"],
    &["block.0.0", "block.0.1", "block.1.0", "block.1.1", "block.2.fc1", "block.2.fc2", "block.3.0", "block.3.1"],
];

/// timm's blocks of all efficient networks: depthwise separable, inverted residual, convolution.
const TIMM_BLOCKS: &[&[&str]] = &[
    &["conv_dw", "bn1", "se.conv_reduce?", "se.conv_expand?", "conv_pw", "bn2"],
    &["conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce?", "se.conv_expand?", "conv_pwl", "bn3"],
    &["conv", "bn1"],
];

/// All that nasgen knows.
pub(super) static NAMINGS: [Naming; 7] = [
    Naming {
        library: "torchvision",
        networks: "MobileNetV2",
        groups: &[
            &[part(
                "features.#",
                &[
                    PAIR,
                    &["conv.0.0", "conv.0.1", "conv.1", "conv.2"],
                    &["conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"],
                ],
            )],
            &[part("classifier.1", ITSELF)],
        ],
        classifier: "classifier.1",
        norm_eps: 1e-5,
    },
    Naming {
        library: "torchvision",
        networks: "MobileNetV3",
        groups: &[
            &[part("features.#", &[PAIR]), part("features.#", GATED_BLOCKS)],
            &[part("classifier.0", ITSELF)],
            &[part("classifier.3", ITSELF)],
        ],
        classifier: "classifier.3",
        norm_eps: 1e-3,
    },
    Naming {
        library: "torchvision",
        networks: "EfficientNet",
        groups: &[&[part("features.#", &[PAIR]), part("features.#.#", GATED_BLOCKS)], &[part("classifier.1", ITSELF)]],
        classifier: "classifier.1",
        norm_eps: 1e-5,
    },
    Naming {
        library: "torchvision",
        networks: "SqueezeNet 1.1",
        groups: &[
            &[part("features.#", &[&[""], &["squeeze", "expand1x1", "expand3x3"]])],
            &[part("classifier.1", ITSELF)],
        ],
        classifier: "classifier.1",
        norm_eps: 1e-5,
    },
    Naming {
        library: "torchvision",
        networks: "ShuffleNetV2",
        groups: &[
            &[part("conv1", &[PAIR])],
            &[part(
                "stage#.#",
                &[
                    &["branch2.0", "branch2.1", "branch2.3", "branch2.4", "branch2.5", "branch2.6"],
                    &[
                        "branch1.0",
                        "branch1.1",
                        "branch1.2",
                        "branch1.3",
                        "branch2.0",
                        "branch2.1",
                        "branch2.3",
                        "branch2.4",
                        "branch2.5",
                        "branch2.6",
                    ],
                ],
            )],
            &[part("conv5", &[PAIR])],
            &[part("fc", ITSELF)],
        ],
        classifier: "fc",
        norm_eps: 1e-5,
    },
    Naming {
        library: "torchvision",
        networks: "MnasNet",
        groups: &[
            &[
                part("layers.#", ITSELF),
                part("layers.#.#", &[&["layers.0", "layers.1", "layers.3", "layers.4", "layers.6", "layers.7"]]),
            ],
            &[part("classifier.1", ITSELF)],
        ],
        classifier: "classifier.1",
        norm_eps: 1e-5,
    },
    Naming {
        library: "timm",
        networks: "MobileNetV2, MobileNetV3, EfficientNet and MnasNet",
        groups: &[
            &[part("", &[&["conv_stem", "bn1"]])],
            &[part("blocks.#.#", TIMM_BLOCKS)],
            &[part("", &[&["conv_head", "bn2?"]])],
            &[part("classifier", ITSELF)],
        ],
        classifier: "classifier",
        norm_eps: 1e-5,
    },
];

/// Modules that stand together, with the numbers of their names: group, numbers.
type Place = (usize, Vec<u64>);

impl Naming {
    /// `modules` in the order of the forward pass.
    ///
    /// # Errors
    /// With the first of them that this naming does not know.
    pub(super) fn order<'a>(&self, modules: &BTreeSet<&'a str>) -> Result<Vec<&'a str>, &'a str> {
        let mut units: BTreeMap<Place, BTreeMap<&'a str, &'a str>> = BTreeMap::new();
        for module in modules {
            let (place, ending) = self.place(module).ok_or(*module)?;
            units.entry(place).or_default().insert(ending, *module);
        }
        let mut order = Vec::with_capacity(modules.len());
        for ((group, _), unit) in &units {
            let alternatives = self.groups[*group].iter().flat_map(|part| part.endings);
            let fitting = alternatives.into_iter().find(|endings| fits(endings, unit));
            // All endings are known, but not together: one of them is missing or surplus.
            let endings = fitting.ok_or_else(|| unit.values().next().copied().unwrap_or_default())?;
            order.extend(endings.iter().filter_map(|ending| unit.get(ending.trim_end_matches('?'))));
        }
        Ok(order)
    }

    /// How many of `modules` it knows.
    pub(super) fn known(&self, modules: &BTreeSet<&str>) -> usize {
        modules.iter().filter(|module| self.place(module).is_some()).count()
    }

    /// Where a module stands, and the end of its name.
    fn place<'a>(&self, module: &'a str) -> Option<(Place, &'a str)> {
        let parts =
            self.groups.iter().enumerate().flat_map(|(group, parts)| parts.iter().map(move |part| (group, part)));
        parts.into_iter().find_map(|(group, part)| {
            let (numbers, ending) = after(part.beginning, module)?;
            let known = part.endings.iter().any(|endings| endings.iter().any(|e| e.trim_end_matches('?') == ending));
            known.then_some(((group, numbers), ending))
        })
    }
}

/// Whether a unit has these endings and no other.
fn fits(endings: &[&str], unit: &BTreeMap<&str, &str>) -> bool {
    let has = |ending: &&str| unit.contains_key(ending.trim_end_matches('?'));
    let optional: Vec<bool> = endings.iter().filter(|ending| ending.ends_with('?')).map(has).collect();
    let required = endings.iter().filter(|ending| !ending.ends_with('?')).all(has);
    let together = optional.iter().all(|present| *present) || optional.iter().all(|present| !present);
    required && together && unit.len() == endings.iter().filter(|ending| has(ending)).count()
}

/// The numbers of a name that begins as `pattern`, and what comes after.
fn after<'a>(pattern: &str, name: &'a str) -> Option<(Vec<u64>, &'a str)> {
    let mut rest = name;
    let mut numbers = Vec::new();
    for (index, literal) in pattern.split('#').enumerate() {
        if index > 0 {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            numbers.push(rest[..digits].parse().ok()?);
            rest = &rest[digits..];
        }
        rest = rest.strip_prefix(literal)?;
    }
    if rest.is_empty() || pattern.is_empty() { Some((numbers, rest)) } else { Some((numbers, rest.strip_prefix('.')?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_number_and_by_the_table() {
        fn order<'a>(naming: usize, names: &[&'a str]) -> Result<String, &'a str> {
            NAMINGS[naming].order(&names.iter().copied().collect()).map(|order| order.join(" "))
        }
        let efficient_net = ["features.10.0", "features.2.0.block.0.1", "features.2.0.block.0.0", "classifier.1"];
        let more = ["features.2.0.block.1.0", "features.2.0.block.1.1", "features.10.1"];
        assert_eq!(
            order(2, &[&efficient_net[..], &more].concat()).unwrap(),
            "features.2.0.block.0.0 features.2.0.block.0.1 features.2.0.block.1.0 features.2.0.block.1.1 \
             features.10.0 features.10.1 classifier.1"
        );
        assert_eq!(
            order(3, &["features.3.expand3x3", "features.3.squeeze", "features.3.expand1x1", "features.0"]).unwrap(),
            "features.0 features.3.squeeze features.3.expand1x1 features.3.expand3x3"
        );
        // A gate has both of its convolutions, or neither.
        let block = ["blocks.0.0.conv_dw", "blocks.0.0.bn1", "blocks.0.0.conv_pw", "blocks.0.0.bn2"];
        assert!(order(6, &block).is_ok());
        assert_eq!(order(6, &[&block[..], &["blocks.0.0.se.conv_reduce"]].concat()), Err("blocks.0.0.bn1"));
        assert_eq!(order(0, &["layer1.0.conv1"]), Err("layer1.0.conv1"));
        assert_eq!(after("stage#.#", "stage2.11.branch1.0"), Some((vec![2, 11], "branch1.0")));
        assert_eq!((after("fc", "fc"), after("fc", "fc1")), (Some((vec![], "")), None));
    }
}
