//! `nasgen space`: what a space holds.

use super::{failure::Failure, output::Output, show::parse_input};
use crate::{
    numbers::{parse_count, parse_seed},
    report,
    space::{Budget, Count, DEFAULT, Extreme, SHIPPED, Sampler, Space, Survey, Surveyor, Tuning, ValueShare},
    spec::{SourceText, SpecError},
};
use nasgen_modules::{Blocks, Distribution, Shape, nearest};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Count the networks of a search space, and find its mistakes.
///
/// Combinations of values are counted exactly. How many of them can stand, meet the constraints and
/// fit a budget is known exactly where all can be tried (4096), else estimated from 1000 networks,
/// each drawn with the same probability, with a 95 % interval.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The space's file, or the name of a built-in one: cells (the default), lecture_fixed,
    /// lecture_growing, lecture_free, search_model.
    space: Option<PathBuf>,
    /// How many have at most this many parameters, such as 300k?
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_params: Option<u64>,
    /// How many have at most this many multiply-adds for one image, such as 3M?
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_macs: Option<u64>,
    /// Count for images of this shape (default: the space's input_size, else 3x32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
    /// Decides which networks an estimate is made from.
    #[arg(long, default_value_t = 0, value_parser = parse_seed)]
    seed: u64,
    /// Take the file as a fixed network and draw these training settings:
    /// lr=1e-4..1e-1:log,epochs=30..120:10.
    #[arg(long, value_name = "NAME=LOW..HIGH[:log|:STEP],…", requires = "space")]
    tune: Option<Tuning>,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let space = read_space(arguments.space.as_deref(), arguments.tune.as_ref(), blocks)?;
    let budget = Budget { max_params: arguments.max_params, max_macs: arguments.max_macs };
    needs_network(&space, &budget, arguments.input)?;
    let sampler = Sampler {
        space: &space,
        seed: arguments.seed,
        budget,
        input: arguments.input.map(|[channels, height, width]| Shape::image(channels, height, width)),
    };
    let survey = Surveyor { sampler }.survey()?;
    output.result(|| report::space_report(&space.name, &survey), || to_json(&space.name, &survey))
}

fn to_json(name: &str, survey: &Survey) -> Value {
    let extreme = |extreme: &Extreme| json!({ "params": extreme.cost.params, "macs": extreme.cost.macs, "config": extreme.config });
    let extremes = survey.extremes.as_ref().map(|[fewest_params, most_params, fewest_macs, most_macs]| {
        json!({
            "fewest_params": extreme(fewest_params), "most_params": extreme(most_params),
            "fewest_macs": extreme(fewest_macs), "most_macs": extreme(most_macs), "exact": survey.all_tried,
        })
    });
    json!({
        "space": name,
        "combinations": count_to_json(&survey.combinations),
        "networks": count_to_json(&survey.networks),
        "settings": count_to_json(&survey.settings),
        "specs": count_to_json(&survey.specs),
        "distinct": survey.distinct,
        "fits": survey.fits.as_ref().map(count_to_json),
        "tried": survey.tried,
        "extremes": extremes,
        "values": survey.values.as_ref().map(|values| values.iter().map(value_to_json).collect::<Vec<_>>()),
    })
}

/// The number as text as well: it may be beyond what a JSON reader keeps exactly.
fn count_to_json(count: &Count) -> Value {
    match count {
        Count::Exact(count) => {
            let digits = count.to_string();
            json!({ "exact": true, "value": digits.parse::<f64>().unwrap_or(f64::MAX), "digits": digits })
        }
        Count::Estimate { value, interval } => json!({ "exact": false, "value": value, "interval": interval }),
        Count::Continuous => json!({ "exact": false, "continuous": true, "value": null }),
    }
}

fn value_to_json(value: &ValueShare) -> Value {
    let drawn_from = match &value.distribution {
        Distribution::Choice(values) => json!({ "choice": values }),
        Distribution::Int { low, high, step, log } => json!({ "int": [low, high], "step": step, "log": log }),
        Distribution::Float { low, high, step, log } => json!({ "float": [low, high], "step": step, "log": log }),
    };
    let when: Map<String, Value> =
        value.when.iter().map(|(name, values)| (name.clone(), Value::Array(values.clone()))).collect();
    json!({
        "name": value.name, "from": drawn_from, "applies": value.applies, "shares": value.shares, "when": when,
    })
}

/// A name without a file may be that of a built-in space, misspelt.
fn unreadable(path: &Path, error: SpecError) -> Failure {
    let text = path.to_string_lossy();
    if path.exists() || text.contains(['/', '.', '\\']) {
        return error.into();
    }
    let names = SHIPPED.map(|(name, _)| name);
    let help = nearest(&text, names).map_or_else(
        || format!("built in are {}", names.join(", ")),
        |near| format!("did you mean the built-in `{near}`?"),
    );
    Failure::usage(format!("{error}; {help}"))
}

/// What is asked of networks means nothing where a space has none.
pub(super) fn needs_network(space: &Space, budget: &Budget, input: Option<[usize; 3]>) -> Result<(), Failure> {
    let asked = [
        ("--max-params", budget.max_params.is_some()),
        ("--max-macs", budget.max_macs.is_some()),
        ("--input", input.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((flag, _)) if !space.has_network() => Err(Failure::usage(format!(
            "{flag} is about networks, and `{}` has none: it has no `backbone:`",
            space.name
        ))),
        _ => Ok(()),
    }
}

/// The space in a file or of a built-in name; with `tuning`, of a fixed spec.
pub(super) fn read_space(path: Option<&Path>, tuning: Option<&Tuning>, blocks: &Blocks) -> Result<Space, Failure> {
    let named = match path {
        None => Some(DEFAULT),
        Some(path) if path.exists() => None,
        Some(path) => SHIPPED.into_iter().find(|(name, _)| path.as_os_str() == *name),
    };
    let (name, source) = match (named, path) {
        (Some((name, text)), _) => {
            (name.to_owned(), SourceText { name: format!("{name} (built in)"), text: text.to_owned() })
        }
        (None, path) => {
            let path = path.unwrap_or(Path::new(""));
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            let source = SourceText::read(path).map_err(|error| unreadable(path, error))?;
            (stem.to_string_lossy().into_owned(), source)
        }
    };
    Ok(match tuning {
        None => Space::parse(&name, &source, blocks)?,
        Some(tuning) => Space::tune(&name, &source, tuning, blocks)?,
    })
}
