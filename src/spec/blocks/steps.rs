//! The steps of a block: layers, other blocks, and forms that hold steps.

use super::{
    Definer, FORMS,
    values::{default_scalar, expression, given, label_of, scalar},
};
use crate::spec::{
    diagnostic::{Diagnostic, Span},
    yaml::{Entry, Yaml},
};
use nasgen_modules::{
    Activation,
    composition::{Join, Layer, LayerDefault, Operation, Parameter, Scalar, Step},
    expression::Expression,
    nearest,
};

/// What a step may have beside what it does.
const STEP_KEYS: [&str; 4] = ["when", "label", "drop", "join"];

impl Definer<'_> {
    pub(super) fn steps(&mut self, block: &str, yaml: &Yaml, place: &str, parameters: &[Parameter]) -> Vec<Step> {
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
