//! What a study makes better, as users write it: `accuracy,params:min`.

use nasgen_search::{Direction, Objective};

/// Names with what is better of them, and whether they are known before training.
const KNOWN: [(&str, Direction, bool); 6] = [
    ("accuracy", Direction::Maximize, false),
    ("macro_f1", Direction::Maximize, false),
    ("loss", Direction::Minimize, false),
    ("params", Direction::Minimize, true),
    ("macs", Direction::Minimize, true),
    ("latency", Direction::Minimize, true),
];

/// Reads a list such as `accuracy,params:min`. Only an evaluator may have names of its own; with `:max` or
/// without a direction more of them is better. The first must not be known before training.
///
/// # Errors
/// Says what is wrong and what was wanted.
pub fn parse_objectives(text: &str, evaluator: bool) -> Result<Vec<Objective>, String> {
    let objectives = text.split(',').map(|word| objective(word.trim(), evaluator)).collect::<Result<Vec<_>, _>>()?;
    if objectives[0].known {
        let name = &objectives[0].name;
        return Err(format!(
            "`{name}` is known without training: put what is to be found out first, as in accuracy,{name}"
        ));
    }
    let twin =
        (1..objectives.len()).find(|index| objectives[..*index].iter().any(|one| one.name == objectives[*index].name));
    match twin {
        None => Ok(objectives),
        Some(index) => Err(format!("`{}` stands twice", objectives[index].name)),
    }
}

fn objective(word: &str, evaluator: bool) -> Result<Objective, String> {
    let (name, direction) = word.split_once(':').map_or((word, None), |(name, direction)| (name, Some(direction)));
    let own = KNOWN.iter().find(|(known, ..)| *known == name);
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let (usual, known) = match own {
        Some((_, direction, known)) => (*direction, *known),
        None if evaluator && plain => (Direction::Maximize, false),
        None => {
            let names: Vec<&str> = KNOWN.iter().map(|(name, ..)| *name).collect();
            return Err(format!("wanted some of {}, as in accuracy,params:min; got `{name}`", names.join(", ")));
        }
    };
    let direction = match direction {
        None => usual,
        Some("min") => Direction::Minimize,
        Some("max") => Direction::Maximize,
        Some(other) => return Err(format!("{name}: wanted :min or :max, got `:{other}`")),
    };
    if own.is_some() && direction != usual {
        return Err(format!("{name}: the other direction is the better one"));
    }
    Ok(Objective { name: name.to_owned(), direction, known })
}

/// The list as users write it.
pub fn objectives_text(objectives: &[Objective]) -> String {
    let word = |objective: &Objective| match objective.direction {
        Direction::Minimize => format!("{}:min", objective.name),
        Direction::Maximize => format!("{}:max", objective.name),
    };
    objectives.iter().map(word).collect::<Vec<_>>().join(",")
}

/// `macro_f1=0.8`: the value of the first objective that is good enough.
///
/// # Errors
/// When it is another objective, or no number.
pub fn parse_until(text: &str, objectives: &[Objective]) -> Result<f64, String> {
    let first = &objectives[0].name;
    let wanted = || format!("wanted {first}=NUMBER, as in {first}=0.8, got `{text}`");
    let (name, value) = text.split_once('=').ok_or_else(wanted)?;
    let value = value.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    let value = value.filter(|_| name.trim() == first).ok_or_else(wanted)?;
    match first.as_str() {
        "accuracy" | "macro_f1" if !(0.0..=1.0).contains(&value) => {
            Err(format!("{first} lies between 0 and 1, got {value}"))
        }
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_written() {
        for (text, evaluator, written) in [
            ("accuracy", false, "accuracy:max"),
            ("loss, params", false, "loss:min,params:min"),
            ("macro_f1,macs:min,latency:min", false, "macro_f1:max,macs:min,latency:min"),
            ("value", true, "value:max"),
            ("error:min,params", true, "error:min,params:min"),
        ] {
            let objectives = parse_objectives(text, evaluator).unwrap();
            assert_eq!(objectives_text(&objectives), written);
            assert_eq!(parse_objectives(written, evaluator).unwrap(), objectives);
        }
        for (text, problem) in [
            ("", "wanted some of"),
            ("value", "wanted some of"),
            ("accuracy:up", "wanted :min or :max"),
            ("accuracy:min", "the other direction"),
            ("params,accuracy", "accuracy,params"),
            ("accuracy,params,params", "stands twice"),
        ] {
            let error = parse_objectives(text, false).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
        let objectives = parse_objectives("macro_f1,params", false).unwrap();
        assert_eq!(parse_until("macro_f1=0.8", &objectives), Ok(0.8));
        for text in ["0.8", "params=3", "macro_f1=high", "macro_f1=NaN"] {
            assert!(parse_until(text, &objectives).unwrap_err().contains("macro_f1=0.8"), "{text}");
        }
    }
}
