//! What every network of a space must meet, and how draws are placed so that it does.

use super::{
    pattern::PatternReader,
    sample::{Budget, Cost},
    structure::{self, Goal, Node as Part, Values, futures, place_all, shares, worth},
};
use crate::{
    numbers::parse_count,
    spec::{
        Diagnostic, Span,
        yaml::{Entry, Yaml},
    },
};
use nasgen_modules::{Draw, Result, nearest};
use std::sync::Arc;

const KEYS: [&str; 4] = ["downsamplings", "min_feature", "max_params", "max_macs"];
/// More strides than any image bears.
const MOST_STRIDES: usize = 40;

/// What `constraints:` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Constraints {
    /// Least and most copies that halve the image.
    downsamplings: Option<([usize; 2], Span)>,
    /// Least side of the smallest image before the global pool.
    min_feature: Option<(usize, Span)>,
    pub(super) max_params: Option<(u64, Span)>,
    pub(super) max_macs: Option<(u64, Span)>,
}

impl Constraints {
    /// Reads the map under `constraints:`.
    pub(super) fn read(yaml: &Yaml) -> Result<Self, Vec<Diagnostic>> {
        let Some(entries) = yaml.as_map() else {
            let message = format!("constraints: wanted a map, got {}", yaml.describe());
            return Err(vec![Diagnostic::new(message).at(yaml.span)]);
        };
        let mut constraints = Self::default();
        let read = |entry: &Entry| constraints.take(entry).err();
        let diagnostics: Vec<Diagnostic> = entries.iter().filter_map(read).collect();
        if diagnostics.is_empty() { Ok(constraints) } else { Err(diagnostics) }
    }

    fn take(&mut self, Entry { key, key_span, value }: &Entry) -> Result<(), Diagnostic> {
        let span = key_span.to(value.span);
        let wrong = |wanted: &str| {
            let message = format!("constraints.{key}: wanted {wanted}, got {}", value.describe());
            Diagnostic::new(message).at(value.span)
        };
        let whole = |yaml: &Yaml| usize::try_from(yaml.as_i64()?).ok();
        let count = || match value.as_str() {
            Some(text) => parse_count(text).ok(),
            None => whole(value).map(|count| count as u64),
        };
        match key.as_str() {
            "downsamplings" => {
                let range = match value.as_list() {
                    Some([least, most]) => whole(least).zip(whole(most)),
                    Some(_) => None,
                    None => whole(value).map(|exactly| (exactly, exactly)),
                };
                let range = range.filter(|(least, most)| least <= most && *most <= MOST_STRIDES);
                let (least, most) = range.ok_or_else(|| wrong("a number or [least, most]"))?;
                self.downsamplings = Some(([least, most], span));
            }
            "min_feature" => {
                let side = whole(value).filter(|side| (1..=8192).contains(side));
                self.min_feature = Some((side.ok_or_else(|| wrong("a number of pixels from 1 to 8192"))?, span));
            }
            "max_params" => {
                self.max_params = Some((count().ok_or_else(|| wrong("a number such as 500k or 1M"))?, span))
            }
            "max_macs" => self.max_macs = Some((count().ok_or_else(|| wrong("a number such as 500k or 1M"))?, span)),
            _ => {
                let help = match nearest(key, KEYS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known constraints: {}", KEYS.join(", ")),
                };
                return Err(Diagnostic::new(format!("constraints: unknown key `{key}`")).at(*key_span).help(help));
            }
        }
        Ok(())
    }

    /// Whether some of them are met by placing strides.
    pub(super) fn place_strides(&self) -> bool {
        self.downsamplings.is_some() || self.min_feature.is_some()
    }

    /// What strides must come to, for images of these sizes (one for each class).
    pub(super) fn goal(&self, sizes: &[Option<[usize; 2]>]) -> Goal {
        if !self.place_strides() {
            return Goal::none();
        }
        let [least, most] = self.downsamplings.map_or([0, MOST_STRIDES], |(range, _)| range);
        let of_size = |size: &Option<[usize; 2]>| match (self.min_feature, size) {
            (Some((side, _)), Some([height, width])) => {
                let halvings = halvings(*height.min(width), side)?;
                (halvings >= least).then_some(halvings.min(most))
            }
            _ => Some(most),
        };
        Goal::new(least, sizes.iter().map(of_size).collect())
    }

    /// What a network may cost.
    pub(super) fn budget(&self) -> Budget {
        Budget { max_params: self.max_params.map(|(most, _)| most), max_macs: self.max_macs.map(|(most, _)| most) }
    }

    /// The constraint on cost that even the cheapest network found does not meet.
    pub(super) fn broken_budget(&self, cheapest: &Cost) -> Option<Diagnostic> {
        let limits = [
            ("max_params", self.max_params, cheapest.params, "parameters"),
            ("max_macs", self.max_macs, cheapest.macs, "MACs"),
        ];
        limits.into_iter().find_map(|(key, limit, cost, unit)| {
            let (most, span) = limit.filter(|(most, _)| cost > *most)?;
            let message = format!("constraints.{key}: no network was found within {most}");
            let help = format!("the cheapest that was found has {cost} {unit}");
            Some(Diagnostic::new(message).at(span).help(help))
        })
    }

    /// The first constraint on its shape that a network with so many downsamplings and this smallest
    /// feature does not meet.
    pub(super) fn broken_by(&self, strides: usize, side: usize) -> Option<Diagnostic> {
        if let Some(([least, most], span)) = self.downsamplings
            && !(least..=most).contains(&strides)
        {
            let message = format!("constraints.downsamplings: wanted {}, got {strides}", range_text(least, most));
            return Some(Diagnostic::new(message).at(span));
        }
        if let Some((least, span)) = self.min_feature
            && side < least
        {
            let message = format!("constraints.min_feature: wanted at least {least} pixels, got {side}");
            return Some(Diagnostic::new(message).at(span));
        }
        None
    }
}

fn range_text(least: usize, most: usize) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// How often `side` can be halved, rounding up, without falling below `least`.
fn halvings(side: usize, least: usize) -> Option<usize> {
    if side < least {
        return None;
    }
    let halves = std::iter::successors(Some(side.div_ceil(2)), |side| Some(side.div_ceil(2)));
    // An image of one pixel stays one: such strides are not counted out.
    Some(halves.take(MOST_STRIDES).take_while(|side| *side >= least).count())
}

/// The draws that decide about strides, placed so that the constraints hold.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    goal: Goal,
    parts: Vec<Arc<Part>>,
    futures: Vec<Vec<f64>>,
}

impl Placement {
    /// For the parts of a space in the order of their draws.
    pub(super) fn new(parts: &[Arc<Part>], goal: Goal) -> Self {
        let parts: Vec<Arc<Part>> = parts.iter().map(Part::decisive).collect();
        let futures = futures(&parts, &goal, &goal.end());
        Self { goal, parts, futures }
    }

    /// Draws what decides about strides.
    pub(super) fn place(&self, draw: &mut dyn Draw) -> Result<Values> {
        let mut recorder = structure::Recorder::new(Values::new(), draw);
        if self.futures[0][0] > 0.0 {
            place_all(&self.parts, &self.goal, 0, &self.futures, &mut recorder)?;
        }
        Ok(recorder.draws.into_iter().collect())
    }
}

/// What is wrong with a space as its structure shows: constraints that nothing meets, options that
/// can never be chosen.
pub(super) fn impossible_parts(parts: &[Arc<Part>], goal: &Goal, constraints: &Constraints) -> Vec<Diagnostic> {
    let met = |goal: &Goal| futures::<f64>(parts, goal, &goal.end())[0][0] > 0.0;
    if !met(goal) {
        return vec![constraints.unmet(parts)];
    }
    let (Some(free), Some(bound)) = (shares(parts, &Goal::none()), shares(parts, goal)) else { return Vec::new() };
    let mut diagnostics = Vec::new();
    for (free, bound) in free.iter().zip(&bound) {
        for (index, span) in bound.spans.iter().enumerate().filter(|_| !bound.values.is_empty()) {
            if bound.values[index] > 0.0 {
                continue;
            }
            let value = bound.distribution.value(index as u64);
            let message = format!("{}: {} can never be chosen", bound.name, PatternReader::shown(&value));
            let why =
                if free.values[index] > 0.0 { "no network with it meets the constraints" } else { "it cannot stand" };
            diagnostics.push(Diagnostic::new(format!("{message}: {why}")).at(*span));
        }
    }
    diagnostics
}

impl Constraints {
    fn unmet(&self, parts: &[Arc<Part>]) -> Diagnostic {
        let possible = |strides: &usize| {
            let goal = Goal::new(*strides, vec![Some(*strides); 64]);
            let all = Part::Sequence(parts.to_vec());
            worth::<f64>(&all, &goal, &goal.end())[0] > 0.0
        };
        let strides: Vec<usize> = (0..=MOST_STRIDES).filter(possible).collect();
        let makes = match (strides.first(), strides.last()) {
            (Some(least), Some(most)) => format!("the space's networks make {}", range_text(*least, *most)),
            _ => "the space has no network at all".to_owned(),
        };
        match (self.downsamplings, self.min_feature) {
            (Some(([least, most], span)), None) => {
                let wanted = range_text(least, most);
                let message = format!("constraints.downsamplings: nothing in the space meets it; wanted {wanted}");
                Diagnostic::new(message).at(span).help(makes)
            }
            (downsamplings, Some((side, span))) => {
                let with = downsamplings.map_or("", |_| " together with constraints.downsamplings");
                let message = format!("constraints.min_feature: no network keeps {side} pixels{with}");
                Diagnostic::new(message).at(span).help(format!("{makes} downsamplings"))
            }
            (None, None) => Diagnostic::new("nothing in the space can stand"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::halvings;

    #[test]
    fn halvings_round_up() {
        assert_eq!(halvings(32, 4), Some(3));
        assert_eq!(halvings(30, 4), Some(3), "30, 15, 8, 4");
        assert_eq!(halvings(33, 5), Some(3), "33, 17, 9, 5");
        assert_eq!(halvings(3, 4), None);
        assert_eq!(halvings(4, 4), Some(0));
    }
}
