//! The contract between nasgen and its blocks, and the table of all blocks.

use crate::{
    arguments::Signature,
    blocks,
    error::{Error, Place, Result},
    layers::Layers,
    site::Site,
    trial::Trial,
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

    /// The layers of one copy of the block at `site`. Arithmetic only: no tensor exists yet.
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
#[derive(Clone, Copy)]
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

/// A block in a [`Blocks`] table, with its description at hand.
#[derive(Clone)]
pub struct BlockEntry {
    block: Block,
    /// Its arguments and its meaning.
    pub signature: Signature,
}

impl BlockEntry {
    /// The name in a spec.
    pub fn name(&self) -> &'static str {
        self.block.name
    }

    /// Reads arguments: positional ones in order, then named ones.
    pub fn parse(&self, positional: &[Value], named: &Map<String, Value>) -> Result<Arc<dyn Module>, Vec<Error>> {
        (self.block.parse)(&self.signature, positional, named)
    }

    /// The arguments of a block of this kind as a spec's list, without trailing defaults.
    pub fn list(&self, module: &dyn Module) -> Vec<Value> {
        self.signature.to_list(module.arguments())
    }

    /// Draws arguments for a place of that kind.
    pub fn suggest(&self, trial: &mut Trial<'_>, site: &Site) -> Result<Arc<dyn Module>> {
        (self.block.suggest)(trial, site)
    }
}

/// Every block that a spec can name, sorted by name.
#[derive(Clone)]
pub struct Blocks {
    entries: Vec<BlockEntry>,
}

impl Blocks {
    /// nasgen's own blocks.
    pub fn builtin() -> Self {
        Self::with(&[]).expect("the table tests hold the names of built-in blocks to be unique")
    }

    /// nasgen's own blocks and `more`; two of the same name are an error.
    pub fn with(more: &[Block]) -> Result<Self> {
        let all = blocks::FILES.iter().copied().flatten().chain(more);
        let entry = |block: Block| BlockEntry { block, signature: (block.signature)() };
        let mut entries: Vec<BlockEntry> = all.copied().map(entry).collect();
        entries.sort_by_key(BlockEntry::name);
        match entries.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
            None => Ok(Self { entries }),
            Some(pair) => Err(Error::new(Place::Name, format!("two blocks are named `{}`", pair[0].name()))),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &BlockEntry> {
        self.entries.iter()
    }

    /// The block of this name.
    pub fn get(&self, name: &str) -> Result<&BlockEntry> {
        self.entries.iter().find(|entry| entry.name() == name).ok_or_else(|| {
            Error::unknown(Place::Name, "module", name, self.iter().map(BlockEntry::name))
                .or_help(|| "`nasgen modules` lists them all".into())
        })
    }
}
