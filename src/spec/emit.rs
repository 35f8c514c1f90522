//! Writes YAML as people write specs: keys in block style, rows in flow style.

use serde_json::{Map, Value};

/// A whole file: each top-level key on its own line, lists of rows one row a line, maps one entry
/// a line.
pub fn emit(file: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in file {
        text += &match value {
            Value::Array(rows) if rows.iter().any(Value::is_array) => {
                let rows: String = rows.iter().map(|row| format!("  - {}\n", emit_inline(row))).collect();
                format!("{key}:\n{rows}")
            }
            Value::Object(entries) if !entries.is_empty() => format!("{key}:\n{}", emit_entries(entries, "  ")),
            value => format!("{key}: {}\n", emit_inline(value)),
        };
    }
    text
}

fn emit_entries(entries: &Map<String, Value>, indent: &str) -> String {
    let entry = |(key, value): (&String, &Value)| match value {
        Value::Object(inner) if !inner.is_empty() => {
            format!("{indent}{}:\n{}", emit_string(key), emit_entries(inner, &format!("{indent}  ")))
        }
        value => format!("{indent}{}: {}\n", emit_string(key), emit_inline(value)),
    };
    entries.iter().map(entry).collect()
}

/// A value in flow style, on one line.
pub fn emit_inline(value: &Value) -> String {
    match value {
        Value::String(text) => emit_string(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(emit_inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let pair = |(key, value): (&String, &Value)| format!("{}: {}", emit_string(key), emit_inline(value));
            let entries: Vec<String> = entries.iter().map(pair).collect();
            format!("{{{}}}", entries.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Words that some YAML reader takes for something else than this string.
const RESERVED: [&str; 9] = ["null", "true", "false", "y", "n", "yes", "no", "on", "off"];

/// Plain where every reader takes it for this string, else quoted.
fn emit_string(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c))
        && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text));
    // JSON's strings are YAML's double-quoted ones.
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_flow_and_strings_survive() {
        let file = json!({
            "input_size": [32, 32],
            "backbone": [[1, "Conv", [16, 3, 1, null]], [1, "Flatten", []]],
            "sample": {"space": "cells", "draws": {"s1.n": 2, "odd": "yes", "colon": "a: b"}},
        });
        let text = emit(file.as_object().unwrap());
        assert_eq!(
            text,
            "input_size: [32, 32]\nbackbone:\n  - [1, Conv, [16, 3, 1, null]]\n  - [1, Flatten, []]\n\
             sample:\n  space: cells\n  draws:\n    s1.n: 2\n    odd: \"yes\"\n    colon: \"a: b\"\n"
        );
        assert_eq!(super::super::yaml::parse(&text).unwrap().to_json(), file);
    }
}
