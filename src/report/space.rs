//! What a search space holds.

use super::network::plain_table;
use crate::{
    numbers::{grouped, short},
    space::{Cost, Count, Survey, ValueShare},
    spec::emit_inline,
};
use nasgen_modules::Distribution;

/// Values of one draw that are shown.
const MOST_SHOWN: usize = 8;

/// A survey for people.
pub fn space_report(name: &str, survey: &Survey) -> String {
    let mut lines = vec![format!("space         {name}")];
    let has_network = survey.extremes.is_some();
    if has_network {
        lines.push(format!("combinations  {}", count_text(&survey.combinations)));
    }
    if let Some([fewest_params, most_params, fewest_macs, most_macs]) = &survey.extremes {
        let how = match (survey.all_tried, &survey.networks) {
            (true, _) => "all tried".to_owned(),
            (false, Count::Exact(_)) => format!("all of {} drawn at random can stand", survey.tried),
            (false, _) => format!("from {} drawn at random", survey.tried),
        };
        lines.push(format!("networks      {} ({how})", count_text(&survey.networks)));
        if let Some(distinct) = survey.distinct {
            lines.push(format!("distinct      {distinct}"));
        }
        if let Some(fits) = &survey.fits {
            let found = match fits {
                Count::Estimate { value, .. } if *value == 0.0 && survey.fits_found => "; some fit: one was found",
                Count::Estimate { value, .. } if *value == 0.0 => "; none was found",
                _ => "",
            };
            lines.push(format!("in budget     {}{found}", count_text(fits)));
        }
        if survey.settings != Count::one() {
            lines.push(format!("settings      {}, under train and params", count_text(&survey.settings)));
            lines.push(format!("specs         {}, networks with settings", count_text(&survey.specs)));
        }
        let found = if survey.all_tried { "" } else { " found" };
        for (noun, extreme) in [
            ("fewest parameters", fewest_params),
            ("most parameters", most_params),
            ("fewest MACs", fewest_macs),
            ("most MACs", most_macs),
        ] {
            lines.push(format!("{noun:18}{}{found}", cost_text(&extreme.cost)));
        }
    }
    if !has_network {
        lines.push(format!("settings      {}", count_text(&survey.settings)));
    }
    match &survey.values {
        None => lines.push("\nThe values are too entwined to say how likely each is.".into()),
        Some(values) if values.is_empty() => lines.push("\nNothing is drawn.".into()),
        Some(values) => lines.push(format!("\n{}", value_table(values))),
    }
    lines.join("\n")
}

fn cost_text(cost: &Cost) -> String {
    format!("{} parameters, {} MACs", grouped(cost.params), short(cost.macs))
}

/// `1,296`, `about 3.2e8 (2.9e8 to 3.5e8)`.
pub fn count_text(count: &Count) -> String {
    match count {
        Count::Exact(count) => {
            let digits = count.to_string();
            match digits.parse::<u64>() {
                Ok(small) if small < 1_000_000_000 => grouped(small),
                _ => format!("{digits} ({:.2e})", digits.parse::<f64>().unwrap_or(f64::INFINITY)),
            }
        }
        // Of which none was drawn there may still be some.
        Count::Estimate { value: 0.0, interval: [_, high] } => format!("at most {high:.3e} (95 % confidence)"),
        Count::Estimate { value, interval: [low, high] } => {
            format!("about {value:.3e} (95 % interval {low:.3e} to {high:.3e})")
        }
        Count::Continuous => "without number: some values are from a continuum".into(),
    }
}

fn value_table(values: &[ValueShare]) -> String {
    let mut table = plain_table(&["value", "drawn from", "shares", "in samples", "where"], &[]);
    for value in values {
        let shares = match value.shares.as_slice() {
            [] => "as it says".to_owned(),
            shares if shares.len() <= MOST_SHOWN => {
                let of_drawn = |share: &f64| percent(share / value.applies.max(f64::MIN_POSITIVE));
                shares.iter().map(of_drawn).collect::<Vec<_>>().join(" ")
            }
            shares => format!("{} differ", shares.len()),
        };
        let condition = |(name, values): &(String, Vec<serde_json::Value>)| {
            let values: Vec<String> = values.iter().map(|value| shorten(&emit_inline(value))).collect();
            format!("{name}: {}", values.join(" or "))
        };
        let place = match value.when.as_slice() {
            [] => "always".to_owned(),
            when => when.iter().map(condition).collect::<Vec<_>>().join(", "),
        };
        table.add_row([
            value.name.clone(),
            distribution_text(&value.distribution),
            shares,
            percent(value.applies),
            place,
        ]);
    }
    table.trim_fmt()
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// `Conv, DWConv`, `16 to 64 step 16`, `0.001 to 0.1 logarithmic`.
fn distribution_text(distribution: &Distribution) -> String {
    let logarithmic = |log: bool| if log { " logarithmic" } else { "" };
    match distribution {
        Distribution::Choice(values) => {
            let mut shown: Vec<String> =
                values.iter().take(MOST_SHOWN).map(|value| shorten(&emit_inline(value))).collect();
            if values.len() > MOST_SHOWN {
                shown.push(format!("… {} in all", values.len()));
            }
            shown.join(", ")
        }
        Distribution::Int { low, high, step, log } => {
            let step = if *step == 1 { String::new() } else { format!(" step {step}") };
            format!("{low} to {high}{step}{}", logarithmic(*log))
        }
        Distribution::Float { low, high, step, log } => {
            let step = step.map_or_else(String::new, |step| format!(" step {step}"));
            format!("{low} to {high}{step}{}", logarithmic(*log))
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(32) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
