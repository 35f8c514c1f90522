//! A block's arguments: read from a list or a map, described from the block's own definition.
//!
//! Names, order, defaults, ranges and meaning all come from the argument struct: its fields, their
//! `#[serde(default)]`, `#[schemars(range(…))]` and doc comments.

use crate::{
    activation::Activation,
    error::{Error, Place, Result},
    nearest::nearest,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Where the schema states no maximum: far above any real network, far below overflow.
const LARGEST: f64 = 1e6;

/// One argument, as `nasgen modules NAME` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The field's name.
    pub name: String,
    /// The field's doc comment.
    pub meaning: String,
    /// What an absent argument means; `None` if it must be given.
    pub default: Option<Value>,
    schema: Value,
}

/// What a struct of arguments or settings takes, from its own definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// In the order of the fields, which is that of a spec's list.
    pub arguments: Vec<Argument>,
    /// The struct's doc comment.
    pub meaning: String,
    /// What messages call an argument.
    noun: &'static str,
}

impl Signature {
    /// The signature of a block that is defined as data.
    pub fn new(meaning: String, arguments: Vec<Argument>) -> Self {
        Self { arguments, meaning, noun: "argument" }
    }

    /// The signature of a struct of settings: messages say so.
    pub fn of_settings<T: JsonSchema>() -> Self {
        Self { noun: "setting", ..Self::of::<T>() }
    }

    /// The signature of `T`.
    pub fn of<T: JsonSchema>() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let root = settings.into_generator().into_root_schema_for::<T>().to_value();
        let required: Vec<&str> = root["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = |value: &Value| {
            let lines: Vec<&str> = value["description"].as_str().unwrap_or_default().lines().collect();
            lines.join(" ")
        };
        let argument = |(name, schema): (&String, &Value)| Argument {
            name: name.clone(),
            meaning: text(schema),
            default: (!required.contains(&name.as_str())).then(|| schema.get("default").cloned().unwrap_or_default()),
            schema: schema.clone(),
        };
        let arguments = root["properties"].as_object().into_iter().flatten().map(argument).collect();
        Self { arguments, meaning: text(&root), noun: "argument" }
    }

    /// Reads a `T` from a list in the order of the fields, from a map by name, or from both: a
    /// list, then `named` for the rest. All that is wrong is reported at once.
    pub fn parse<T: DeserializeOwned>(
        &self,
        positional: &[Value],
        named: &Map<String, Value>,
    ) -> Result<T, Vec<Error>> {
        let values = self.values(positional, named)?;
        serde_json::from_value(Value::Object(values)).map_err(|e| vec![Error::new(Place::Arguments, e.to_string())])
    }

    /// The same as values by name in the order of the signature, defaults filled in.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn complete(&self, positional: &[Value], named: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Error>> {
        let mut given = self.values(positional, named)?;
        let value = |argument: &Argument| {
            let value = given.remove(&argument.name).or_else(|| argument.default.clone()).unwrap_or_default();
            (argument.name.clone(), value)
        };
        Ok(self.arguments.iter().map(value).collect())
    }

    /// The values that are given, by name; each fits its argument, and none that must be is missing.
    fn values(&self, positional: &[Value], named: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Error>> {
        let mut values = Map::new();
        let mut errors = Vec::new();
        if let Some(extra) = positional.get(self.arguments.len()) {
            let (takes, count) = (self.takes(), positional.len());
            let message = format!("{takes}, got {count} (the first too many is {})", text(extra));
            errors.push(Error::new(Place::Position(self.arguments.len()), message));
        }
        for (argument, value) in self.arguments.iter().zip(positional) {
            errors.extend(argument.put(value, self.noun, &mut values).err());
        }
        for (name, value) in named {
            errors.extend(self.put_named(name, value, &mut values).err());
        }
        let absent = |argument: &&Argument| argument.default.is_none() && !values.contains_key(&argument.name);
        // A name that nothing bears may be the missing one, misspelt: that is one mistake.
        let has_stranger = named.keys().any(|name| self.arguments.iter().all(|argument| argument.name != *name));
        if let Some(missing) = self.arguments.iter().find(absent).filter(|_| !has_stranger) {
            let message = format!("missing argument `{}` ({}); {}", missing.name, missing.wanted(), self.takes());
            errors.push(Error::new(Place::Arguments, message));
        }
        if errors.is_empty() { Ok(values) } else { Err(errors) }
    }

    fn put_named(&self, name: &str, value: &Value, values: &mut Map<String, Value>) -> Result<()> {
        let Some(argument) = self.arguments.iter().find(|argument| argument.name == name) else {
            let known = self.arguments.iter().map(|argument| argument.name.as_str());
            let error = Error::unknown(Place::Argument(name.to_owned()), self.noun, name, known);
            return Err(error.or_help(|| self.takes()));
        };
        if values.contains_key(name) {
            return Err(Error::argument(name, "given twice, in the list and by name"));
        }
        argument.put(value, self.noun, values)
    }

    /// The values as a spec's list: in order, without trailing ones that are the default.
    pub fn to_list(&self, fields: Map<String, Value>) -> Vec<Value> {
        let mut list: Vec<Value> = fields.into_iter().map(|(_, value)| value).collect();
        while list.last().is_some() && list.last() == self.arguments[list.len() - 1].default.as_ref() {
            list.pop();
        }
        list.into_iter().map(shortest).collect()
    }

    fn takes(&self) -> String {
        if self.arguments.is_empty() {
            return "it takes no arguments".into();
        }
        let name = |argument: &Argument| match &argument.default {
            None => argument.name.clone(),
            Some(default) => format!("{}={}", argument.name, text(default)),
        };
        format!("it takes [{}]", self.arguments.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}

impl Argument {
    /// An argument that takes what `schema`, a JSON Schema with type, enum, minimum and maximum,
    /// says.
    pub fn new(name: String, meaning: String, default: Option<Value>, schema: Value) -> Self {
        Self { name, meaning, default, schema }
    }

    /// Whether it takes whole numbers only.
    pub fn is_whole(&self) -> bool {
        self.kind() == "integer"
    }

    /// Whether it takes numbers.
    pub fn is_number(&self) -> bool {
        self.schema.get("enum").is_none() && matches!(self.kind(), "integer" | "number")
    }

    /// What values it takes: `a whole number from 1 to 2`, `one of ReLU, … or null`.
    pub fn wanted(&self) -> String {
        let what = match self.kind() {
            _ if self.schema.get("enum").is_some() => self.wanted_choice(),
            "integer" => self.wanted_number("a whole number"),
            "number" => self.wanted_number("a number"),
            "boolean" => "true or false".into(),
            "array" => "a list of whole numbers".into(),
            "policy" => "a name, a map or a list of them".into(),
            other => other.into(),
        };
        if self.takes_null() && self.kind() != "null" { format!("{what} or null") } else { what }
    }

    fn wanted_choice(&self) -> String {
        let names: Vec<String> = self.choices().iter().filter(|choice| !choice.is_null()).map(text).collect();
        format!("one of {}", names.join(", "))
    }

    fn wanted_number(&self, noun: &str) -> String {
        let (low, high) = self.range();
        if high < LARGEST { format!("{noun} from {low} to {high}") } else { format!("{noun} of at least {low}") }
    }

    fn kind(&self) -> &str {
        match &self.schema["type"] {
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
            }
            kind => kind.as_str().unwrap_or_default(),
        }
    }

    fn takes_null(&self) -> bool {
        let in_type = self.schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"));
        in_type || self.kind() == "null" || self.choices().contains(&Value::Null)
    }

    fn choices(&self) -> &[Value] {
        self.schema["enum"].as_array().map_or(&[], Vec::as_slice)
    }

    fn range(&self) -> (f64, f64) {
        let limit = |key: &str| self.schema[key].as_f64();
        (limit("minimum").unwrap_or(-LARGEST), limit("maximum").unwrap_or(LARGEST))
    }

    /// Whether the argument takes `value`.
    ///
    /// # Errors
    /// Says what is wanted and what came.
    pub fn accepts(&self, value: &Value) -> Result<()> {
        self.check(value, "argument").map(drop)
    }

    /// Stores `value` under the argument's name. What does not fit is stored too, so that it is
    /// not reported as missing as well.
    fn put(&self, value: &Value, noun: &str, values: &mut Map<String, Value>) -> Result<()> {
        let checked = self.check(value, noun);
        values.insert(self.name.clone(), checked.as_ref().unwrap_or(value).clone());
        checked.map(drop)
    }

    /// `value`, if the argument takes it. Where null would do, a list of one number means the number:
    /// published files write `[0]` for a padding.
    fn check(&self, value: &Value, noun: &str) -> Result<Value> {
        let value = match value {
            Value::Array(items) if items.len() == 1 && items[0].is_number() && self.takes_null() => &items[0],
            value => value,
        };
        let fits = match value {
            Value::Null => self.takes_null(),
            _ if self.schema.get("enum").is_some() => {
                let aliases = self.schema["aliases"].as_array().into_iter().flatten();
                self.choices().iter().chain(aliases).any(|choice| choice == value)
            }
            Value::Number(number) => {
                let (low, high) = self.range();
                let whole = number.is_i64() || number.is_u64();
                let kind_fits = self.kind() == "number" || self.kind() == "integer" && whole;
                kind_fits && number.as_f64().is_some_and(|number| (low..=high).contains(&number))
            }
            Value::Bool(_) => self.kind() == "boolean",
            Value::Array(items) => self.kind() == "array" && items.iter().all(|item| item.is_u64()),
            _ => false,
        } || self.kind() == "policy";
        if fits { Ok(value.clone()) } else { Err(self.misfit(value, noun)) }
    }

    fn misfit(&self, value: &Value, noun: &str) -> Error {
        let names = self.choices().iter().filter_map(Value::as_str);
        let near = value.as_str().and_then(|name| nearest(name, names));
        // A string that looks like something else is shown with its quotes.
        let got = match value {
            Value::String(text) if serde_json::from_str::<Value>(text).is_ok() => value.to_string(),
            value => text(value),
        };
        let too_large = value.as_f64().is_some_and(|number| number > LARGEST && self.kind() == "integer");
        let limit = if too_large { format!(" and at most {LARGEST}") } else { String::new() };
        let message = format!("{noun} `{}`: wanted {}{limit}, got {got}", self.name, self.wanted());
        Error::new(Place::Argument(self.name.clone()), message).help(near.map(|near| format!("did you mean `{near}`?")))
    }
}

/// A whole number without its `.0`.
fn shortest(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < LARGEST => Value::from(number as i64),
        _ => value,
    }
}

/// A value as a spec has it: strings without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Yes or no, written `0` or `1` in published files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(self.0))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(value == Value::Bool(true) || value == 1))
    }
}

impl JsonSchema for Flag {
    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [0, 1, true, false] })
    }
}

/// Default values that several blocks share, for `#[serde(default = "…")]`.
pub mod defaults {
    use super::Activation;

    /// 1
    pub fn one() -> usize {
        1
    }

    /// 0.5
    pub fn half() -> f64 {
        0.5
    }

    /// true
    pub fn yes() -> bool {
        true
    }

    /// ReLU
    pub fn relu() -> Option<Activation> {
        Some(Activation::ReLU)
    }
}
