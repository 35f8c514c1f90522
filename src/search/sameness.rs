//! Whether two searches may share a study: what differs between them, and whether one space holds the other.

use serde_json::{Map, Value};

/// A place at which two descriptions differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Keys and positions, `space.backbone[1].cells.n`.
    pub place: String,
    /// What the study has; `None` where it has nothing.
    pub before: Option<Value>,
    /// What is asked for now.
    pub now: Option<Value>,
}

impl Difference {
    /// In a line for people.
    pub fn text(&self) -> String {
        let shown =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), crate::spec::emit_inline);
        format!("{}: the study has {}, now it is {}", self.place, shown(&self.before), shown(&self.now))
    }
}

/// All differences, in the order of the keys. A set of values is compared as a whole.
pub fn differences(before: &Value, now: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(before), Some(now), &mut found);
    found
}

fn compare(place: &str, before: Option<&Value>, now: Option<&Value>, found: &mut Vec<Difference>) {
    if before == now {
        return;
    }
    match (before, now) {
        (Some(Value::Object(one)), Some(Value::Object(other))) if !is_set(one) && !is_set(other) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(added) {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                compare(&place, one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                compare(&format!("{place}[{index}]"), one.get(index), other.get(index), found);
            }
        }
        _ => found.push(Difference { place: place.to_owned(), before: before.cloned(), now: now.cloned() }),
    }
}

fn is_set(map: &Map<String, Value>) -> bool {
    ["choice", "int", "float"].iter().any(|key| map.contains_key(*key))
}

/// Whether every network of one space is one of the other, where they differ at `difference`: a set with more
/// values, or a range that is wider by whole steps.
pub fn is_wider(difference: &Difference) -> bool {
    match (&difference.before, &difference.now) {
        (Some(before), Some(now)) => holds(now, before),
        // Narrowing and constraints that are gone leave more; any other key means something else.
        (Some(_), None) => difference.place.contains("constraints"),
        _ => false,
    }
}

/// Whether the values of `wide` are those of `narrow` and perhaps more.
fn holds(wide: &Value, narrow: &Value) -> bool {
    let (Value::Object(wide), Value::Object(narrow)) = (wide, narrow) else { return wide == narrow };
    let others = |map: &Map<String, Value>| -> Vec<(String, Value)> {
        let own = |key: &&String| !["choice", "int", "float"].contains(&key.as_str());
        let mut rest: Vec<_> = map.iter().filter(|(key, _)| own(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        rest.sort_by(|one, other| one.0.cmp(&other.0));
        rest
    };
    if others(wide) != others(narrow) {
        return false;
    }
    if let (Some(Value::Array(wide)), Some(Value::Array(narrow))) = (wide.get("choice"), narrow.get("choice")) {
        return narrow.iter().all(|value| wide.iter().any(|other| other == value || holds(other, value)));
    }
    let range = |map: &Map<String, Value>, key: &str| {
        let bounds = map.get(key)?.as_array()?;
        Some((bounds.first()?.as_f64()?, bounds.get(1)?.as_f64()?))
    };
    ["int", "float"].iter().any(|key| match (range(wide, key), range(narrow, key)) {
        (Some((low, high)), Some((inner_low, inner_high))) => {
            let step = wide.get("step").and_then(Value::as_f64);
            let shift = step.map_or(0.0, |step| (inner_low - low) / step);
            low <= inner_low && inner_high <= high && (shift - shift.round()).abs() < 1e-9
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wider(before: &Value, now: &Value) -> Vec<(String, bool)> {
        differences(before, now).iter().map(|one| (one.place.clone(), is_wider(one))).collect()
    }

    #[test]
    fn differences_are_found_where_they_are_and_wider_sets_are_told() {
        let before = json!({
            "seed": 0,
            "space": {"backbone": [[1, "Conv", [{"int": [16, 32], "step": 8}]], {"cells": {"nc": {"choice": ["Conv", "MBConv"]}}}]},
        });
        assert!(differences(&before, &before).is_empty());
        let mut now = before.clone();
        now["seed"] = json!(1);
        now["space"]["backbone"][0][2][0]["int"] = json!([8, 64]);
        now["space"]["backbone"][1]["cells"]["nc"]["choice"] = json!(["MBConv", "DWConv", "Conv"]);
        let place = |place: &str, wider| (place.to_owned(), wider);
        assert_eq!(
            wider(&before, &now),
            [place("seed", false), place("space.backbone[0][2][0]", true), place("space.backbone[1].cells.nc", true)]
        );
        assert!(wider(&now, &before).iter().all(|(_, wider)| !wider), "narrower is not wider");
        now = before.clone();
        now["space"]["backbone"][0][2][0]["int"] = json!([10, 34]);
        assert_eq!(wider(&before, &now)[0], place("space.backbone[0][2][0]", false), "other values between the steps");
        assert!(differences(&before, &json!({"seed": 0}))[0].text().starts_with("space: the study has {backbone"));
    }
}
