//! The contract between nasgen and its blocks, and the table of all blocks.

use crate::{
    arguments::{Argument, Signature},
    blocks,
    error::{Error, Place, Result},
    layers::Layers,
    site::Site,
    trial::{SET_KEYS, Trial},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{fmt::Debug, sync::Arc};

/// A kind of block that a model spec can name. Its fields are the block's arguments, in spec order.
///
/// A block says what layers it is made of, and nothing else: shapes, costs, weights, both
/// executors, exports and pictures follow from that.
pub trait ModuleGenerator: Debug + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in a spec, e.g. `InvertedResidualv3`.
    const NAME: &'static str;

    /// The layers of one copy of the block at `site`. Arithmetic only: no tensor exists yet. Of
    /// `site.copy` only being the first or the last may matter: copies between them are alike.
    fn layers(&self, site: &Site) -> Result<Layers>;

    /// Draws arguments. What may be drawn depends on the space, the name and the site's role
    /// alone, never on its shapes; a draw that cannot stand at `site` is an error, which rejects
    /// the sample.
    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self>;

    /// What a reader of the spec should know about these arguments at `site`: that they look
    /// mixed up, or that other programs read them otherwise.
    fn remark(&self, _site: &Site) -> Option<String> {
        None
    }
}

/// A block with its arguments filled in.
pub trait Module: Debug + Send + Sync {
    /// The layers of one copy at `site`.
    fn layers(&self, site: &Site) -> Result<Layers>;
    /// What a reader of the spec should know about these arguments at `site`, if anything.
    fn remark(&self, site: &Site) -> Option<String>;
    /// The arguments by name, defaults included, in spec order.
    fn arguments(&self) -> Map<String, Value>;
}

impl<T: ModuleGenerator> Module for T {
    fn layers(&self, site: &Site) -> Result<Layers> {
        ModuleGenerator::layers(self, site)
    }

    fn remark(&self, site: &Site) -> Option<String> {
        ModuleGenerator::remark(self, site)
    }

    fn arguments(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// Reads positional, then named arguments.
type Parse = fn(&Signature, &[Value], &Map<String, Value>) -> Result<Arc<dyn Module>, Vec<Error>>;

/// One kind of block: its name, and what can be done with it.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    name: &'static str,
    signature: fn() -> Signature,
    parse: Parse,
    suggest: fn(&mut Trial<'_>, &Site) -> Result<Arc<dyn Module>>,
}

impl Block {
    /// The block that `T` generates.
    pub const fn of<T: ModuleGenerator>() -> Self {
        Self {
            name: T::NAME,
            signature: Signature::of::<T>,
            parse: |signature, positional, named| Ok(Arc::new(signature.parse::<T>(positional, named)?)),
            suggest: |trial, site| Ok(Arc::new(T::suggest(trial, site)?)),
        }
    }
}

/// A kind of block that is data instead of a type: defined in a spec, not in Rust.
pub trait BlockDefinition: Debug + Send + Sync {
    /// The name in a spec.
    fn name(&self) -> &str;

    /// Its arguments and its meaning.
    fn signature(&self) -> Signature;

    /// The most layers that one copy may have, those of blocks in it counted.
    fn written_layers(&self) -> usize;

    /// A block with these arguments, which its signature accepted; defaults are filled in.
    fn module(self: Arc<Self>, arguments: Map<String, Value>) -> Result<Arc<dyn Module>>;

    /// Draws arguments; the contract is that of [`ModuleGenerator::suggest`].
    fn suggest(self: Arc<Self>, trial: &mut Trial<'_>, site: &Site) -> Result<Arc<dyn Module>>;
}

/// A block in a [`Blocks`] table, with its description at hand.
#[derive(Clone, Debug)]
pub struct BlockEntry {
    kind: Kind,
    /// Its arguments and its meaning.
    pub signature: Signature,
}

#[derive(Clone, Debug)]
enum Kind {
    Type(Block),
    Definition(Arc<dyn BlockDefinition>),
}

impl BlockEntry {
    /// The name in a spec.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Type(block) => block.name,
            Kind::Definition(definition) => definition.name(),
        }
    }

    /// About how many layers one copy has: that of a definition, which may hold others, is known; one
    /// in Rust has a dozen.
    pub fn written_layers(&self) -> usize {
        match &self.kind {
            Kind::Type(_) => 12,
            Kind::Definition(definition) => definition.written_layers(),
        }
    }

    /// Reads arguments: positional ones in order, then named ones.
    pub fn parse(&self, positional: &[Value], named: &Map<String, Value>) -> Result<Arc<dyn Module>, Vec<Error>> {
        match &self.kind {
            Kind::Type(block) => (block.parse)(&self.signature, positional, named),
            Kind::Definition(definition) => {
                let arguments = self.signature.complete(positional, named)?;
                definition.clone().module(arguments).map_err(|error| vec![error])
            }
        }
    }

    /// The arguments of a block of this kind as a spec's list, without trailing defaults.
    pub fn list(&self, module: &dyn Module) -> Vec<Value> {
        self.signature.to_list(module.arguments())
    }

    /// Draws arguments for a place of that kind.
    pub fn suggest(&self, trial: &mut Trial<'_>, site: &Site) -> Result<Arc<dyn Module>> {
        match &self.kind {
            Kind::Type(block) => (block.suggest)(trial, site),
            Kind::Definition(definition) => definition.clone().suggest(trial, site),
        }
    }
}

/// Every block that a spec can name, sorted by name.
#[derive(Clone)]
pub struct Blocks {
    entries: Vec<Arc<BlockEntry>>,
}

impl Blocks {
    /// nasgen's own blocks.
    pub fn builtin() -> Self {
        Self::with(&[]).expect("the table tests hold the names of built-in blocks to be unique")
    }

    /// nasgen's own blocks and `more`. Two of the same name are an error, and so is an argument
    /// with a name that belongs to the language of spaces.
    pub fn with(more: &[Block]) -> Result<Self> {
        let all = blocks::FILES.iter().copied().flatten().chain(more);
        let entry = |block: &Block| BlockEntry { kind: Kind::Type(*block), signature: (block.signature)() };
        Self { entries: Vec::new() }.and(all.map(entry))
    }

    /// These and the blocks of `definitions`.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn defining(&self, definitions: impl IntoIterator<Item = Arc<dyn BlockDefinition>>) -> Result<Self> {
        let entry = |definition: Arc<dyn BlockDefinition>| BlockEntry {
            signature: definition.signature(),
            kind: Kind::Definition(definition),
        };
        self.and(definitions.into_iter().map(entry))
    }

    fn and(&self, more: impl Iterator<Item = BlockEntry>) -> Result<Self> {
        let mut entries = self.entries.clone();
        entries.extend(more.map(Arc::new));
        entries.sort_by(|one, other| one.name().cmp(other.name()));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
            return Err(Error::new(Place::Name, format!("two blocks are named `{}`", pair[0].name())));
        }
        for entry in &entries {
            let is_reserved = |argument: &&Argument| SET_KEYS.contains(&argument.name.as_str());
            if let Some(argument) = entry.signature.arguments.iter().find(is_reserved) {
                let message = format!("{}: no argument may be named `{}`", entry.name(), argument.name);
                return Err(Error::new(Place::Argument(argument.name.clone()), message)
                    .help(format!("in a search space these words make a set of values: {}", SET_KEYS.join(", "))));
            }
        }
        Ok(Self { entries })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &BlockEntry> {
        self.entries.iter().map(|entry| &**entry)
    }

    /// The block of this name.
    pub fn get(&self, name: &str) -> Result<&BlockEntry> {
        self.iter().find(|entry| entry.name() == name).ok_or_else(|| {
            Error::unknown(Place::Name, "module", name, self.iter().map(BlockEntry::name))
                .or_help(|| "`nasgen modules` lists them all".into())
        })
    }
}
