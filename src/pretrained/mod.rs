//! Weights that a training can begin with: nasgen's own, torchvision's and timm's.

mod naming;
mod pickle;
mod state_dict;

use crate::{
    data::Normalisation,
    train::{Checkpoint, Description},
    weights::{Array, Weights, WeightsError},
};
use naming::{NAMINGS, Naming};
use nasgen_modules::{Layers, Node, Primitive, TensorSpec};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Misfits that are named; the others are counted.
const NAMED: usize = 3;
/// What wrappers put before every name: `DataParallel`, `torch.compile`, Lightning.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// A norm's counter of batches, which it needs only where it has no momentum.
const COUNTER: &str = "num_batches_tracked";

/// The weights of a file.
#[derive(Debug)]
pub struct Pretrained {
    tensors: Weights,
    names: Names,
}

/// By which names the tensors go.
#[derive(Debug)]
enum Names {
    /// nasgen's; what the file says of itself.
    Own(Box<Description>),
    Foreign {
        naming: &'static Naming,
        /// Modules in the order of the forward pass.
        order: Vec<String>,
    },
}

/// Weights that fit a network.
#[derive(Debug)]
pub struct Fitted {
    /// All tensors of the network.
    pub weights: Weights,
    /// Why the layer with the class scores begins anew, if it does.
    pub new_classifier: Option<String>,
    /// What a reader should know.
    pub note: Option<String>,
}

impl Pretrained {
    /// Reads a file: safetensors, or a state dictionary that `torch.save` wrote. Nothing in it is executed.
    ///
    /// # Errors
    /// When it is damaged, or its tensors have names that nasgen does not know.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let failed = |problem: String| WeightsError::new(path, problem);
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&bytes).map_err(failed)
    }

    /// The same from the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if state_dict::is_pytorch(bytes) {
            return Self::foreign(state_dict::read(bytes)?);
        }
        let (tensors, metadata) = Weights::parse(bytes).map_err(|problem| {
            format!("wanted weights in safetensors or as torch.save(model.state_dict(), FILE) writes them: {problem}")
        })?;
        match metadata.get("nasgen") {
            Some(text) => {
                let description = serde_json::from_str(text);
                let description = description.map_err(|error| format!("its metadata is damaged: {error}"))?;
                Ok(Self { tensors: Checkpoint::network_tensors(tensors), names: Names::Own(description) })
            }
            None => Self::foreign(tensors),
        }
    }

    /// Finds the library whose names these are.
    fn foreign(tensors: Weights) -> Result<Self, String> {
        let tensors = unwrapped(tensors);
        let modules: BTreeSet<&str> = tensors.iter().map(|(name, _)| module(name).0).collect();
        if modules.is_empty() {
            return Err("it holds no tensors".into());
        }
        let found = NAMINGS.iter().find_map(|naming| Some((naming, naming.order(&modules).ok()?)));
        if let Some((naming, order)) = found {
            let order = order.into_iter().map(str::to_owned).collect();
            return Ok(Self { tensors, names: Names::Foreign { naming, order } });
        }
        let closest = NAMINGS.iter().max_by_key(|naming| (naming.known(&modules), std::cmp::Reverse(naming.networks)));
        let known: Vec<String> = NAMINGS.iter().map(|naming| naming.to_string()).collect();
        let wrong = closest.and_then(|naming| Some((naming, naming.order(&modules).err()?)));
        Err(match wrong {
            Some((naming, wrong)) if naming.known(&modules) * 2 > modules.len() => {
                format!(
                    "most of its names are those of {naming}, but `{wrong}` is not, or a module beside it is missing"
                )
            }
            _ => format!(
                "its names (such as `{}`) belong to no network that nasgen knows: wanted nasgen's own, or {}",
                tensors.iter().next().map_or("", |(name, _)| name),
                known.join("; "),
            ),
        })
    }

    /// Whose weights they are, for people.
    pub fn origin(&self) -> String {
        match &self.names {
            Names::Own(description) => format!("nasgen {}, {} classes", description.nasgen, description.classes.len()),
            Names::Foreign { naming, .. } => format!("names of {naming}"),
        }
    }

    /// Mean and deviation of the pixels that the weights have learnt from, which they need again.
    pub fn normalisation(&self) -> Normalisation {
        match &self.names {
            Names::Own(description) => description.normalisation(),
            // Of ImageNet, as torchvision and timm use for all networks of the table.
            Names::Foreign { .. } => {
                Normalisation { mean: vec![0.485, 0.456, 0.406], deviation: vec![0.229, 0.224, 0.225] }
            }
        }
    }

    /// Gives each tensor of the network its values. The layer with the class scores is `initial`, that of a
    /// training from the beginning, where it has another size than the file's or stands for other classes.
    ///
    /// # Errors
    /// What does not fit.
    pub fn fit(&self, layers: &Layers, initial: Weights, classes: &[String]) -> Result<Fitted, String> {
        let owners: Vec<&Node> = owners(layers).collect();
        let Some(classifier) = owners.last() else { return Err("the network has no weights".into()) };
        let mut fit = Fit { misfits: Vec::new(), weights: BTreeMap::new(), new_classifier: None };
        let sources = self.sources(&owners);
        for node in &owners {
            let is_classifier = node.label == classifier.label;
            fit.layer(node, layers, sources.get(node.label.as_str()).copied(), &self.tensors, is_classifier);
        }
        let used: BTreeSet<&str> = sources.values().copied().collect();
        let surplus = self.tensors.iter().map(|(name, _)| name).find(|name| !used.contains(module(name).0));
        fit.misfits.extend(surplus.map(|name| format!("the network has no layer for `{name}` of the file")));
        if let Names::Own(description) = &self.names
            && fit.new_classifier.is_none()
            && description.classes != classes
        {
            fit.new_classifier = Some("the file's stands for other classes".into());
        }
        if !fit.misfits.is_empty() {
            let more = fit.misfits.len().saturating_sub(NAMED);
            fit.misfits.truncate(NAMED);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let misfits = fit.misfits.join("; ");
            return Err(format!("its weights do not fit the network ({}): {misfits}{more}", self.origin()));
        }
        let own = |name: &str| fit.new_classifier.is_some() && module(name).0 == classifier.label;
        let weights = initial.into_iter().map(|(name, array)| match fit.weights.remove(&name) {
            Some(found) if !own(&name) => (name, found),
            _ => (name, array),
        });
        let weights = weights.collect();
        Ok(Fitted { weights, new_classifier: fit.new_classifier, note: self.note(layers) })
    }

    /// Whether the network's norms compute something else than those that the weights come from.
    fn note(&self, layers: &Layers) -> Option<String> {
        let Names::Foreign { naming, .. } = &self.names else { return None };
        let eps = layers.nodes().iter().find_map(|node| match node.primitive {
            Primitive::Norm(norm) => Some(norm.eps),
            _ => None,
        });
        eps.filter(|eps| *eps != naming.norm_eps).map(|eps| {
            format!(
                "the norms of {naming} have eps {}, and the spec's {eps}: the network answers a little differently \
                 unless the spec says `norm: {{eps: {}}}`",
                naming.norm_eps, naming.norm_eps
            )
        })
    }

    /// Which module of the file has a layer's tensors.
    fn sources<'a>(&'a self, owners: &[&'a Node]) -> BTreeMap<&'a str, &'a str> {
        match &self.names {
            Names::Own(_) => owners.iter().map(|node| (node.label.as_str(), node.label.as_str())).collect(),
            Names::Foreign { naming, order } => {
                let (body, end) = match order.last() {
                    Some(last) if last == naming.classifier => (&order[..order.len() - 1], Some(last.as_str())),
                    _ => (&order[..], None),
                };
                let (layers, classifier) = owners.split_at(owners.len().saturating_sub(1));
                let pairs = layers.iter().zip(body).map(|(node, module)| (node.label.as_str(), module.as_str()));
                pairs.chain(classifier.iter().zip(end).map(|(node, module)| (node.label.as_str(), module))).collect()
            }
        }
    }
}

/// What has been found so far.
struct Fit {
    misfits: Vec<String>,
    weights: BTreeMap<String, Array>,
    new_classifier: Option<String>,
}

impl Fit {
    fn layer(&mut self, node: &Node, layers: &Layers, source: Option<&str>, tensors: &Weights, is_classifier: bool) {
        for spec in node.primitive.tensors(&layers.input_shapes(node)) {
            let name = format!("{}.{}", node.label, spec.name);
            let found = source.and_then(|source| {
                let source = format!("{source}.{}", spec.name);
                tensors.get(&source).map(|array| (source, array))
            });
            match found {
                Some((_, array)) if same_shape(&array.shape, &spec.shape) => {
                    self.weights.insert(name, Array { shape: spec.shape, values: array.values.clone() });
                }
                Some((_, array)) if is_classifier && same_inputs(&array.shape, &spec) => {
                    let (got, wanted) = (array.shape.first().unwrap_or(&0), spec.shape[0]);
                    self.new_classifier = Some(format!("the file's has {got} classes, the network {wanted}"));
                }
                Some((source, array)) => self.misfits.push(format!(
                    "`{name}` wants shape {:?}, and `{source}` of the file has {:?}",
                    spec.shape, array.shape
                )),
                None if is_classifier => self.new_classifier = Some("the file has none".into()),
                None => self.misfits.push(match source {
                    Some(source) => format!("`{name}` wants `{source}.{}`, which the file has not", spec.name),
                    None => format!("the file has nothing for `{name}`"),
                }),
            }
        }
        // What the layer does not have, the file must not have either.
        let Some(source) = source else { return };
        let own: BTreeSet<String> =
            node.primitive.tensors(&layers.input_shapes(node)).into_iter().map(|spec| spec.name).collect();
        let surplus = tensors.iter().map(|(name, _)| name).filter(|name| {
            let (owner, tensor) = module(name);
            owner == source && !own.contains(tensor)
        });
        self.misfits.extend(surplus.map(|name| format!("`{}` has no place for `{name}` of the file", node.label)));
    }
}

/// Layers that own tensors, in the network's order.
fn owners(layers: &Layers) -> impl Iterator<Item = &Node> {
    layers.nodes().iter().filter(|node| !node.primitive.tensors(&layers.input_shapes(node)).is_empty())
}

/// The name of a tensor's module, and its own.
fn module(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// Without what every name begins with, and without norms' counters.
fn unwrapped(tensors: Weights) -> Weights {
    let mut tensors: Vec<(String, Array)> = tensors.into_iter().filter(|(name, _)| module(name).1 != COUNTER).collect();
    while let Some(wrapper) = WRAPPERS
        .iter()
        .find(|wrapper| !tensors.is_empty() && tensors.iter().all(|(name, _)| name.starts_with(**wrapper)))
    {
        for (name, _) in &mut tensors {
            name.drain(..wrapper.len());
        }
    }
    tensors.into_iter().collect()
}

/// Whether shapes are the same but for sides of 1 at the end: a 1×1 convolution on one pixel is a linear layer.
fn same_shape(one: &[usize], other: &[usize]) -> bool {
    let cut = |shape: &[usize]| {
        let kept = shape.iter().rposition(|side| *side != 1).map_or(1, |last| last + 1);
        shape[..kept.min(shape.len())].to_vec()
    };
    one == other || cut(one) == cut(other)
}

/// Whether only the number of outputs differs.
fn same_inputs(shape: &[usize], spec: &TensorSpec) -> bool {
    !shape.is_empty() && same_shape(&shape[1..], &spec.shape[1..])
}

impl std::fmt::Display for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}'s {}", self.library, self.networks)
    }
}
