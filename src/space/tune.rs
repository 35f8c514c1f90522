//! `--tune`: a space of a fixed network's training settings, on the command line.

use crate::spec::{
    Diagnostic, Span, TrainSettings, distribution,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{nearest, real};
use serde_json::{Map, Value, json};
use std::str::FromStr;

/// `lr=1e-4..1e-1:log,epochs=30..120:10`: training settings and what each is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Settings and sets, as a space's file has them.
    settings: Vec<(String, Value)>,
}

impl FromStr for Tuning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let settings = text.split(',').map(read_setting).collect::<Result<Vec<_>, _>>()?;
        match (1..settings.len()).find(|index| settings[..*index].iter().any(|(name, _)| *name == settings[*index].0)) {
            Some(twin) => Err(format!("`{}` stands twice", settings[twin].0)),
            None => Ok(Self { settings }),
        }
    }
}

fn read_setting(text: &str) -> Result<(String, Value), String> {
    let form = || format!("wanted name=low..high, name=low..high:log or name=low..high:step, got `{text}`");
    let (name, range) = text.split_once('=').ok_or_else(form)?;
    let signature = TrainSettings::signature();
    let Some(setting) = signature.arguments.iter().find(|setting| setting.name == name.trim()) else {
        let names = || signature.arguments.iter().map(|setting| setting.name.as_str());
        let help = nearest(name, names()).map_or_else(
            || format!("settings are {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(format!("unknown setting `{name}`; {help}"));
    };
    let (bounds, how) = range.split_once(':').map_or((range, None), |(bounds, how)| (bounds, Some(how)));
    let (low, high) = bounds.split_once("..").ok_or_else(form)?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(form);
    let (low, high) = (number(low)?, number(high)?);
    if low > high {
        return Err(format!("{name}: wanted low ≤ high, got {low}..{high}"));
    }
    let write = |number: f64| match setting.is_whole() && number.fract() == 0.0 {
        true => json!(number as i64),
        false => real(number),
    };
    if !setting.is_number() {
        return Err(format!("setting `{name}` takes {}, which is no range of numbers", setting.wanted()));
    }
    for bound in [low, high] {
        setting.accepts(&write(bound)).map_err(|error| error.message.replacen("argument", "setting", 1))?;
    }
    let kind = if setting.is_whole() { "int" } else { "float" };
    let mut set = json!({ kind: [write(low), write(high)] });
    match how {
        None => {}
        Some("log") => set["log"] = json!(true),
        Some(step) => set["step"] = write(number(step)?),
    }
    let checked = distribution(&Yaml::from_json(&set, Span::default()), None);
    checked.map_err(|problem| format!("{name}: {}", problem.message))?;
    Ok((setting.name.clone(), set))
}

impl Tuning {
    /// The settings with their sets, as a space's file has them.
    pub fn sets(&self) -> Map<String, Value> {
        self.settings.iter().cloned().collect()
    }

    /// Puts the sets in the place of what the spec says of these settings.
    pub(super) fn apply(&self, spec: &mut Yaml) -> Result<(), Diagnostic> {
        let Node::Map(entries) = &mut spec.node else { return Ok(()) };
        // What is wrong with a setting that the file does not have is shown at the key it would stand under,
        // or at the network that it is to train.
        let place = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_span);
        let span = place("train").or_else(|| place("backbone")).unwrap_or(Span::point(spec.span.start));
        if !entries.iter().any(|entry| entry.key == "train") {
            let value = Yaml { span, node: Node::Map(Vec::new()) };
            entries.push(Entry { key: "train".into(), key_span: span, value });
        }
        let Some(train) = entries.iter_mut().find(|entry| entry.key == "train") else { return Ok(()) };
        let Node::Map(settings) = &mut train.value.node else {
            return Err(Diagnostic::new("train: wanted a map of settings").at(train.value.span));
        };
        for (name, set) in &self.settings {
            match settings.iter_mut().find(|entry| entry.key == *name) {
                Some(entry) => entry.value = Yaml::from_json(set, entry.value.span),
                None => settings.push(Entry { key: name.clone(), key_span: span, value: Yaml::from_json(set, span) }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_sets_or_say_what_is_wrong() {
        let tuning: Tuning = "lr=1e-4..1e-1:log,epochs=30..120:10,momentum=0.8..0.9".parse().unwrap();
        let sets: Vec<String> = tuning.settings.iter().map(|(name, set)| format!("{name} {set}")).collect();
        assert_eq!(
            sets,
            [
                r#"lr {"float":[0.0001,0.1],"log":true}"#,
                r#"epochs {"int":[30,120],"step":10}"#,
                r#"momentum {"float":[0.8,0.9]}"#
            ]
        );
        for (text, message) in [
            ("lr", "wanted name=low..high"),
            ("lr=1", "wanted name=low..high"),
            ("lr=a..b", "wanted name=low..high"),
            ("lrr=0..1", "did you mean `lr`?"),
            ("lr=1..0.1", "low ≤ high"),
            ("lr=0..0.1:log", "lr: float: a logarithmic set begins above 0"),
            ("lr=0.1..1:0", "lr: step: wanted a number above 0"),
            ("optimizer=1..2", "takes one of sgd"),
            ("epochs=0..3", "setting `epochs`: wanted a whole number from 1"),
            ("lr=0.1..1,lr=0.1..1", "stands twice"),
        ] {
            let error = text.parse::<Tuning>().unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
