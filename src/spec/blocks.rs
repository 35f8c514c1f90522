//! `blocks:`: blocks that a spec defines for itself.

use super::{
    diagnostic::{Diagnostic, SourceText, Span, SpecError},
    row::PASS,
    set::distribution,
    yaml::{self, Entry, Node, Yaml},
};
use nasgen_modules::{
    Activation, BlockDefinition, Blocks, Distribution, SET_KEYS,
    composition::{
        Composition, FUNCTIONS, Join, Layer, LayerDefault, MAX_LAYERS, NAMES, Operation, Parameter, ParameterKind,
        Scalar, Step, Striding,
    },
    expression::Expression,
    nearest,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Blocks within blocks within blocks.
const MAX_NESTING: usize = 16;
const DEFINITION_KEYS: [&str; 4] = ["meaning", "args", "stride_on", "layers"];
const ARGUMENT_KEYS: [&str; 5] = ["type", "default", "range", "draw", "meaning"];
/// What a step may have beside what it does.
const STEP_KEYS: [&str; 4] = ["when", "label", "drop", "join"];
/// Steps that are no layer and no block.
const FORMS: [&str; 3] = ["layers", "residual", "branches"];

/// `base` and the blocks that the file of `source`, a spec or a space, defines.
///
/// # Errors
/// What is wrong with the definitions.
pub fn with_blocks_of(source: &SourceText, base: &Blocks) -> Result<Blocks, SpecError> {
    let tree = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
    with_definitions(&tree, base).map_err(|diagnostics| source.error(diagnostics))
}

/// `base` and the blocks under the key `blocks` of a file.
pub fn with_definitions(file: &Yaml, base: &Blocks) -> Result<Blocks, Vec<Diagnostic>> {
    let Some(yaml) = file.get("blocks") else { return Ok(base.clone()) };
    let Some(entries) = yaml.as_map() else {
        let message = format!("blocks: wanted a map from names to definitions, got {}", yaml.describe());
        return Err(vec![Diagnostic::new(message).at(yaml.span)]);
    };
    let mut definer = Definer {
        entries,
        blocks: base.clone(),
        open: Vec::new(),
        levels: BTreeMap::new(),
        done: Vec::new(),
        wrong: Vec::new(),
    };
    for entry in entries {
        definer.define(entry);
    }
    if definer.wrong.is_empty() { Ok(definer.blocks) } else { Err(definer.wrong) }
}

/// Where a file's `blocks:` says each step.
#[derive(Clone, Debug, Default)]
pub struct StepPlaces(Arc<BTreeMap<String, Span>>);

impl StepPlaces {
    /// The places in `file`, a spec.
    pub(super) fn of(file: &Yaml) -> Self {
        let mut places = BTreeMap::new();
        for entry in file.get("blocks").and_then(Yaml::as_map).unwrap_or_default() {
            if let Some(layers) = entry.value.get("layers") {
                note_steps(layers, &format!("{}.layers", entry.key), &mut places);
            }
        }
        Self(Arc::new(places))
    }

    /// The place of one step.
    pub fn get(&self, path: &str) -> Option<Span> {
        self.0.get(path).copied()
    }
}

fn note_steps(steps: &Yaml, path: &str, places: &mut BTreeMap<String, Span>) {
    for (index, step) in steps.as_list().unwrap_or_default().iter().enumerate() {
        let path = format!("{path}[{index}]");
        places.insert(path.clone(), step.span);
        for form in ["layers", "residual"] {
            step.get(form).into_iter().for_each(|inner| note_steps(inner, &format!("{path}.{form}"), places));
        }
        let branches = step.get("branches").and_then(Yaml::as_list).unwrap_or_default();
        for (index, branch) in branches.iter().enumerate() {
            note_steps(branch, &format!("{path}.branches[{index}]"), places);
        }
    }
}

/// Defines blocks, each after those that it is made of.
struct Definer<'a> {
    entries: &'a [Entry],
    blocks: Blocks,
    /// Blocks whose definition is being read.
    open: Vec<&'a str>,
    /// How deep the blocks are nested that each is made of, so far.
    levels: BTreeMap<&'a str, usize>,
    done: Vec<&'a str>,
    wrong: Vec<Diagnostic>,
}

impl<'a> Definer<'a> {
    fn define(&mut self, entry: &'a Entry) {
        if self.done.contains(&entry.key.as_str()) {
            return;
        }
        if self.open.len() > MAX_NESTING || self.levels.get(entry.key.as_str()) > Some(&MAX_NESTING) {
            return self.nested_too_deeply(entry);
        }
        self.open.push(&entry.key);
        let before = self.wrong.len();
        let composition = self.composition(entry);
        self.open.pop();
        self.done.push(&entry.key);
        let Some(composition) = composition.filter(|_| self.wrong.len() == before) else { return };
        if self.levels.get(entry.key.as_str()) > Some(&MAX_NESTING) {
            return self.nested_too_deeply(entry);
        }
        if composition.written_layers() > MAX_LAYERS {
            let message =
                format!("{}: wanted at most {MAX_LAYERS} layers, got {}", entry.key, composition.written_layers());
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return;
        }
        let definition: Arc<dyn BlockDefinition> = Arc::new(composition);
        match self.blocks.defining([definition]) {
            Ok(blocks) => self.blocks = blocks,
            Err(error) => self.wrong.push(Diagnostic::new(error.message).at(entry.key_span).help(error.help)),
        }
    }

    fn nested_too_deeply(&mut self, entry: &Entry) {
        let message = format!("{}: blocks are nested in it more than {MAX_NESTING} deep", entry.key);
        let diagnostic = Diagnostic::new(message).at(entry.key_span);
        if !self.wrong.contains(&diagnostic) {
            self.wrong.push(diagnostic);
        }
    }

    fn composition(&mut self, entry: &'a Entry) -> Option<Composition> {
        let name = &entry.key;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || name == PASS {
            let message = format!("`{name}` cannot name a block; wanted letters, digits and _, and not Pass");
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return None;
        }
        // In the layers of other blocks the word would mean the layer.
        let is_layer = Layer::ALL.iter().any(|(layer, _)| layer == name) || FORMS.contains(&name.as_str());
        if is_layer || Activation::named(name).is_some() {
            let message = format!("`{name}` cannot name a block: it is a layer");
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return None;
        }
        let Some(parts) = entry.value.as_map() else {
            let message = format!("{name}: wanted a map with args and layers, got {}", entry.value.describe());
            self.wrong.push(Diagnostic::new(message).at(entry.value.span));
            return None;
        };
        self.check_keys(name, parts, &DEFINITION_KEYS);
        let parameters = match entry.value.get("args") {
            None => Vec::new(),
            Some(args) => self.parameters(name, args),
        };
        let striding = match entry.value.get("stride_on").map(|yaml| (yaml.as_str(), yaml)) {
            None | Some((Some("first"), _)) => Striding::First,
            Some((Some("last"), _)) => Striding::Last,
            Some((Some("all"), _)) => Striding::All,
            Some((_, yaml)) => {
                let message = format!("{name}.stride_on: wanted first, last or all, got {}", yaml.describe());
                self.wrong.push(Diagnostic::new(message).at(yaml.span));
                Striding::First
            }
        };
        let meaning = match entry.value.get("meaning").map(|yaml| (yaml.as_str(), yaml)) {
            None => "A block that the spec defines.".to_owned(),
            Some((Some(text), _)) => text.to_owned(),
            Some((None, yaml)) => {
                let message = format!("{name}.meaning: wanted a sentence, got {}", yaml.describe());
                self.wrong.push(Diagnostic::new(message).at(yaml.span));
                String::new()
            }
        };
        let Some(layers) = entry.value.get("layers") else {
            let message = format!("{name}: missing key `layers`: what the block is made of");
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return None;
        };
        let steps = self.steps(name, layers, "layers", &parameters);
        Some(Composition { name: name.clone(), meaning, parameters, striding, steps })
    }

    fn check_keys(&mut self, noun: &str, entries: &[Entry], known: &[&str]) {
        for Entry { key, key_span, .. } in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let help = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            self.wrong.push(Diagnostic::new(format!("{noun}: unknown key `{key}`")).at(*key_span).help(help));
        }
    }

    fn parameters(&mut self, block: &str, yaml: &Yaml) -> Vec<Parameter> {
        let Some(entries) = yaml.as_map() else {
            let message = format!("{block}.args: wanted a map from names to types, got {}", yaml.describe());
            self.wrong.push(Diagnostic::new(message).at(yaml.span));
            return Vec::new();
        };
        let mut parameters = Vec::new();
        let mut optional: Option<&str> = None;
        for entry in entries {
            match self.parameter(block, entry) {
                Ok(parameter) => {
                    if let (None, Some(optional)) = (&parameter.default, optional) {
                        let message = format!(
                            "{block}.args: `{}` must be given, but stands after `{optional}`, which need not",
                            entry.key
                        );
                        self.wrong.push(Diagnostic::new(message).at(entry.key_span));
                    }
                    optional = optional.or(parameter.default.is_some().then_some(entry.key.as_str()));
                    parameters.push(parameter);
                }
                Err(diagnostic) => {
                    self.wrong.push(diagnostic);
                    // Layers may name it all the same: one mistake is one error.
                    parameters.push(plain_parameter(&entry.key));
                }
            }
        }
        parameters
    }

    /// `int`, `{int: 3}`, `{int: 3, draw: …}` or `{type: int, draw: …}`.
    fn parameter(&mut self, block: &str, Entry { key, key_span, value }: &Entry) -> Result<Parameter, Diagnostic> {
        let noun = format!("{block}.args.{key}");
        let taken = SET_KEYS.contains(&key.as_str()) || NAMES.iter().any(|(name, _)| name == key);
        let is_name = Expression::parse(key).is_ok_and(|expression| expression.names() == [(key.as_str(), 0)]);
        if taken || !is_name {
            let message = format!("{noun}: no argument can have this name");
            return Err(Diagnostic::new(message).at(*key_span).help("it has a meaning of its own".to_owned()));
        }
        let kind_of = |name: &str, span: Span| {
            let known = ParameterKind::NAMES;
            known.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let message = format!("{noun}: wanted a type, one of {}, got `{name}`", names.join(", "));
                let near = nearest(name, names.iter().copied());
                Diagnostic::new(message).at(span).help(near.map(|near| format!("did you mean `{near}`?")))
            })
        };
        let mut parameter = plain_parameter(key);
        if let Some(name) = value.as_str() {
            return Ok(Parameter { kind: kind_of(name, value.span)?, ..parameter });
        }
        let Some(entries) = value.as_map().filter(|entries| !entries.is_empty()) else {
            let message = format!("{noun}: wanted a type such as int, or {{int: default}}, got {}", value.describe());
            return Err(Diagnostic::new(message).at(value.span));
        };
        let short = entries.iter().find(|entry| ParameterKind::NAMES.iter().any(|(name, _)| *name == entry.key));
        match (short, value.get("type")) {
            (Some(entry), None) => {
                parameter.kind = kind_of(&entry.key, entry.key_span)?;
                parameter.default = Some(entry.value.to_json());
            }
            (None, Some(kind)) => parameter.kind = kind_of(kind.as_str().unwrap_or_default(), kind.span)?,
            _ => {
                let message = format!("{noun}: wanted one type, as {{int: default}} or as {{type: int}}");
                return Err(Diagnostic::new(message).at(value.span));
            }
        }
        for entry in entries {
            self.argument_key(&noun, entry, &mut parameter)?;
        }
        let accepted = |value: &Value, span: Span| {
            parameter.accepts(value).map_err(|error| Diagnostic::new(format!("{noun}: {}", error.message)).at(span))
        };
        if let Some(default) = &parameter.default {
            accepted(default, value.span)?;
        }
        if let (Some(draw), Some(yaml)) = (&parameter.draw, value.get("draw")) {
            let last = draw.count().unwrap_or(1).saturating_sub(1);
            for index in [0, last] {
                accepted(&draw.value(index), yaml.span)?;
            }
            for drawn in draw.values(64).unwrap_or_default() {
                accepted(&drawn, yaml.span)?;
            }
        }
        Ok(parameter)
    }

    fn argument_key(&self, noun: &str, entry: &Entry, parameter: &mut Parameter) -> Result<(), Diagnostic> {
        let Entry { key, key_span, value } = entry;
        let wrong = |wanted: &str| {
            Diagnostic::new(format!("{noun}.{key}: wanted {wanted}, got {}", value.describe())).at(value.span)
        };
        match key.as_str() {
            "type" => {}
            "default" => parameter.default = Some(value.to_json()),
            "meaning" => parameter.meaning = value.as_str().ok_or_else(|| wrong("a sentence"))?.to_owned(),
            "range" => {
                let bounds = value.as_list().and_then(|bounds| match bounds {
                    [low, high] => low.as_f64().zip(high.as_f64()).filter(|(low, high)| low <= high),
                    _ => None,
                });
                let (low, high) = bounds.ok_or_else(|| wrong("[low, high] with low ≤ high"))?;
                parameter.range = Some([low, high]);
            }
            "draw" if value.as_map().is_some() => parameter.draw = Some(distribution(value, None)?),
            "draw" => parameter.draw = Some(Distribution::Choice(vec![value.to_json()])),
            name if ParameterKind::NAMES.iter().any(|(known, _)| *known == name) => {}
            _ => {
                let help = nearest(key, ARGUMENT_KEYS).map_or_else(
                    || format!("known keys: {}", ARGUMENT_KEYS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(Diagnostic::new(format!("{noun}: unknown key `{key}`")).at(*key_span).help(help));
            }
        }
        Ok(())
    }

    fn steps(&mut self, block: &str, yaml: &Yaml, place: &str, parameters: &[Parameter]) -> Vec<Step> {
        let Some(items) = yaml.as_list() else {
            let message = format!("{block}.{place}: wanted a list of layers, got {}", yaml.describe());
            self.wrong.push(Diagnostic::new(message).at(yaml.span));
            return Vec::new();
        };
        let mut steps = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{place}[{index}]");
            match self.step(block, item, &place, parameters) {
                Ok(step) => steps.push(step),
                Err(diagnostic) => self.wrong.push(diagnostic),
            }
        }
        steps
    }

    fn step(&mut self, block: &str, yaml: &Yaml, place: &str, parameters: &[Parameter]) -> Result<Step, Diagnostic> {
        let noun = format!("{block}.{place}");
        let plain = |operation| Step { place: place.to_owned(), when: None, label: None, operation };
        if let Some(word) = yaml.as_str() {
            if let Some(activation) = Activation::named(word) {
                let operation = Operation::Layer(Layer::Activation, vec![Scalar::Activation(Some(activation))]);
                return Ok(plain(operation));
            }
            return Ok(plain(self.operation(&noun, word, yaml.span, None, parameters)?));
        }
        let Some(entries) = yaml.as_map() else {
            let message = format!("{noun}: wanted a layer, a block, residual or branches, got {}", yaml.describe());
            let help = "write its name, such as `norm`, or its name and arguments, such as `{Conv: [out, kernel]}`";
            return Err(Diagnostic::new(message).at(yaml.span).help(Some(help.to_owned())));
        };
        let mut kinds = entries.iter().filter(|entry| !STEP_KEYS.contains(&entry.key.as_str()));
        let (Some(entry), None) = (kinds.next(), kinds.next()) else {
            let message = format!("{noun}: wanted one layer or block, and beside it at most {}", STEP_KEYS.join(", "));
            return Err(Diagnostic::new(message).at(yaml.span));
        };
        let allowed: &[&str] = match entry.key.as_str() {
            "residual" => &["when", "label", "drop"],
            "branches" => &["when", "label", "join"],
            "layers" => &["when"],
            _ => &["when", "label"],
        };
        let beside = entries.iter().filter(|beside| beside.key != entry.key);
        if let Some(stray) = beside.clone().find(|beside| !allowed.contains(&beside.key.as_str())) {
            let message = format!("{noun}: `{}` means nothing beside {}", stray.key, entry.key);
            return Err(Diagnostic::new(message).at(stray.key_span));
        }
        let when = match yaml.get("when") {
            None => None,
            Some(when) => Some(expression(&noun, when, parameters)?),
        };
        let label = match yaml.get("label") {
            None => None,
            Some(label) => Some(label_of(&noun, label)?),
        };
        let operation = match entry.key.as_str() {
            "residual" => {
                let drop = match yaml.get("drop") {
                    None => Scalar::Expression(Expression::constant(0.0)),
                    Some(drop) => scalar(&noun, drop, parameters)?,
                };
                Operation::Residual {
                    drop,
                    steps: self.steps(block, &entry.value, &format!("{place}.residual"), parameters),
                }
            }
            "layers" => Operation::Group(self.steps(block, &entry.value, &format!("{place}.layers"), parameters)),
            "branches" => self.branches(block, yaml, entry, place, parameters)?,
            name => self.operation(&noun, name, entry.key_span, Some(&entry.value), parameters)?,
        };
        Ok(Step { place: place.to_owned(), when, label, operation })
    }

    fn branches(
        &mut self,
        block: &str,
        yaml: &Yaml,
        entry: &Entry,
        place: &str,
        parameters: &[Parameter],
    ) -> Result<Operation, Diagnostic> {
        let join = match yaml.get("join").map(|join| (join.as_str(), join)) {
            None | Some((Some("concat"), _)) => Join::Concat,
            Some((Some("add"), _)) => Join::Add,
            Some((_, join)) => {
                let message = format!("{block}.{place}.join: wanted concat or add, got {}", join.describe());
                return Err(Diagnostic::new(message).at(join.span));
            }
        };
        let Some(branches) = entry.value.as_list().filter(|branches| branches.len() > 1) else {
            let message = format!("{block}.{place}.branches: wanted two lists of layers or more");
            return Err(Diagnostic::new(message).at(entry.value.span));
        };
        let read = |(index, branch): (usize, &Yaml)| {
            self.steps(block, branch, &format!("{place}.branches[{index}]"), parameters)
        };
        Ok(Operation::Branches { join, branches: branches.iter().enumerate().map(read).collect() })
    }

    /// A layer or a block by name, with its arguments as a list, a map, or one value.
    fn operation(
        &mut self,
        noun: &str,
        name: &str,
        span: Span,
        arguments: Option<&Yaml>,
        parameters: &[Parameter],
    ) -> Result<Operation, Diagnostic> {
        if let Some((_, layer)) = Layer::ALL.iter().find(|(known, _)| *known == name) {
            let names: Vec<&str> = layer.arguments().iter().map(|(name, _)| *name).collect();
            let given = given(&format!("{noun}.{name}"), &names, arguments, parameters)?;
            let value = |(name, default): &(&str, LayerDefault)| {
                let given = given.iter().find(|(known, _)| known == name).map(|(_, scalar)| scalar.clone());
                given.or_else(|| default_scalar(*default)).ok_or_else(|| {
                    let message = format!("{noun}: missing argument `{name}`; it takes {}", names.join(", "));
                    Diagnostic::new(message).at(arguments.map_or(span, |yaml| yaml.span))
                })
            };
            let values = layer.arguments().iter().map(value).collect::<Result<_, _>>()?;
            return Ok(Operation::Layer(*layer, values));
        }
        if self.open.contains(&name) {
            let path: Vec<&str> = self.open.iter().copied().skip_while(|open| *open != name).chain([name]).collect();
            let message = format!("{noun}: a block cannot be made of itself: {}", path.join(" → "));
            return Err(Diagnostic::new(message).at(span));
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == name) {
            self.define(entry);
            let level = self.levels.get(name).copied().unwrap_or(0) + 1;
            if let Some(open) = self.open.last() {
                let so_far = self.levels.entry(open).or_insert(0);
                *so_far = level.max(*so_far);
            }
        }
        let block = match self.blocks.get(name) {
            Ok(block) => block.clone(),
            // What is wrong with its definition is reported there.
            Err(_) if self.entries.iter().any(|entry| entry.key == name) => return Ok(Operation::Group(Vec::new())),
            Err(_) => return Err(self.unknown(noun, name, span)),
        };
        let names: Vec<&str> = block.signature.arguments.iter().map(|argument| argument.name.as_str()).collect();
        let given = given(&format!("{noun}.{name}"), &names, arguments, parameters)?;
        let has = |name: &str| given.iter().any(|(given, _)| given == name);
        let missing =
            block.signature.arguments.iter().find(|argument| argument.default.is_none() && !has(&argument.name));
        if let Some(missing) = missing {
            let message = format!("{noun}: missing argument `{}` ({})", missing.name, missing.wanted());
            return Err(Diagnostic::new(message).at(arguments.map_or(span, |yaml| yaml.span)));
        }
        Ok(Operation::Block(Box::new(block), given))
    }

    fn unknown(&self, noun: &str, name: &str, span: Span) -> Diagnostic {
        let layers = Layer::ALL.iter().map(|(name, _)| *name).chain(FORMS);
        let own = self.entries.iter().map(|entry| entry.key.as_str());
        let activations = Activation::ALL.map(Activation::name);
        let known = layers.chain(own).chain(self.blocks.iter().map(|block| block.name()));
        let near = nearest(name, known.chain(activations.iter().map(String::as_str)));
        let help = near.map_or_else(
            || format!("layers: {}; blocks: `nasgen modules`", Layer::ALL.map(|(name, _)| name).join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Diagnostic::new(format!("{noun}: unknown layer or block `{name}`")).at(span).help(help)
    }
}

/// A whole number that must be given.
fn plain_parameter(name: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        meaning: format!("The argument `{name}`."),
        kind: ParameterKind::Int,
        default: None,
        range: None,
        draw: None,
    }
}

fn default_scalar(default: LayerDefault) -> Option<Scalar> {
    match default {
        LayerDefault::Required => None,
        LayerDefault::Number(number) => Some(Scalar::Expression(Expression::constant(number))),
        LayerDefault::No => Expression::parse("false").ok().map(Scalar::Expression),
        LayerDefault::Null => Some(Scalar::Null),
        LayerDefault::Function(activation) => Some(Scalar::Activation(Some(activation))),
    }
}

/// The arguments that are given, by name.
fn given(
    noun: &str,
    names: &[&str],
    arguments: Option<&Yaml>,
    parameters: &[Parameter],
) -> Result<Vec<(String, Scalar)>, Diagnostic> {
    let takes = || match names {
        [] => "it takes no arguments".to_owned(),
        names => format!("it takes {}", names.join(", ")),
    };
    let Some(yaml) = arguments else { return Ok(Vec::new()) };
    let pairs: Vec<(&str, &Yaml, Span)> = match &yaml.node {
        // `norm:` with nothing behind it.
        Node::Scalar(Value::Null) if names.is_empty() => Vec::new(),
        Node::Map(entries) => entries.iter().map(|entry| (entry.key.as_str(), &entry.value, entry.key_span)).collect(),
        Node::List(items) if items.len() > names.len() => {
            let message = format!("{noun}: {}, got {}", takes(), items.len());
            return Err(Diagnostic::new(message).at(items[names.len()].span));
        }
        Node::List(items) => names.iter().copied().zip(items).map(|(name, item)| (name, item, item.span)).collect(),
        Node::Scalar(_) => match names.first() {
            Some(first) => vec![(*first, yaml, yaml.span)],
            None => return Err(Diagnostic::new(format!("{noun}: {}", takes())).at(yaml.span)),
        },
    };
    let mut given = Vec::new();
    for (name, value, place) in pairs {
        if !names.contains(&name) {
            let help =
                nearest(name, names.iter().copied()).map_or_else(takes, |near| format!("did you mean `{near}`?"));
            return Err(Diagnostic::new(format!("{noun}: unknown argument `{name}`")).at(place).help(help));
        }
        given.push((name.to_owned(), scalar(noun, value, parameters)?));
    }
    Ok(given)
}

/// A number, a condition, an activation, null, or an argument of the block.
fn scalar(noun: &str, yaml: &Yaml, parameters: &[Parameter]) -> Result<Scalar, Diagnostic> {
    match &yaml.node {
        Node::Scalar(Value::Null) => Ok(Scalar::Null),
        Node::Scalar(Value::String(word)) => {
            if parameters.iter().any(|parameter| parameter.name == *word) {
                return Ok(Scalar::Argument(word.clone()));
            }
            match Activation::named(word) {
                Some(activation) => Ok(Scalar::Activation(Some(activation))),
                None => expression(noun, yaml, parameters).map(Scalar::Expression),
            }
        }
        _ => expression(noun, yaml, parameters).map(Scalar::Expression),
    }
}

/// Arithmetic on the block's arguments and the channels that reach it.
fn expression(noun: &str, yaml: &Yaml, parameters: &[Parameter]) -> Result<Expression, Diagnostic> {
    let text = match &yaml.node {
        Node::Scalar(Value::String(text)) => text.clone(),
        Node::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => {
            let message = format!("{noun}: wanted a number or an expression, got {}", yaml.describe());
            return Err(Diagnostic::new(message).at(yaml.span));
        }
    };
    // Numbers as JSON writes them may have an exponent, which expressions do not know.
    if let Some(number) = yaml.as_f64() {
        return Ok(Expression::constant(number));
    }
    let at = |offset: usize, message: String| {
        // Within quotes the text begins one character later.
        let quoted = usize::from(yaml.span.end - yaml.span.start > text.len());
        let start = (yaml.span.start + quoted + offset).min(yaml.span.end);
        Diagnostic::new(format!("{noun}: {message}")).at(Span { start, end: yaml.span.end })
    };
    let parsed = Expression::parse(&text).map_err(|error| at(error.at, error.message))?;
    let known = || parameters.iter().map(|parameter| parameter.name.as_str()).chain(NAMES.map(|(name, _)| name));
    for (name, offset) in parsed.names() {
        if !known().any(|known| known == name) {
            let help = nearest(name, known()).map_or_else(
                || format!("names are {}", known().collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(at(offset, format!("unknown name `{name}`")).help(help));
        }
    }
    for (name, offset) in parsed.functions() {
        if !FUNCTIONS.iter().any(|(known, _)| *known == name) {
            let help = "functions are min, max, floor, ceil, round, channels".to_owned();
            return Err(at(offset, format!("unknown function `{name}`")).help(help));
        }
    }
    Ok(parsed)
}

fn label_of(noun: &str, yaml: &Yaml) -> Result<String, Diagnostic> {
    let label = yaml.as_str().filter(|label| {
        !label.is_empty()
            && label.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'))
    });
    label.map(str::to_owned).ok_or_else(|| {
        let message = format!("{noun}.label: wanted words of letters and digits, got {}", yaml.describe());
        Diagnostic::new(message).at(yaml.span)
    })
}
