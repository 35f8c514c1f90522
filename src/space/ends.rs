//! Draws that show both ends of every range and each option of every choice, so that what cannot stand
//! where it stands is found when a space is read, not when it happens to be drawn.

use super::{
    EntryPattern, SpaceEntry,
    pattern::{Pattern, Set},
    rows::RowPattern,
    structure::Values,
};
use crate::spec::PASS;
use nasgen_modules::Distribution;
use serde_json::Value;

/// Options of one choice that are tried one by one.
const MOST_OPTIONS: u64 = 256;

/// For each value to be tried, the draws that lead to it; all others may be anything.
pub(super) fn scripts(entries: &[SpaceEntry]) -> Vec<Values> {
    // Without any set there is still the one spec to look at.
    let mut tries = Tries { path: Values::new(), scripts: vec![Values::new()] };
    for SpaceEntry { value, .. } in entries {
        match value {
            EntryPattern::Value(pattern) => tries.pattern(pattern),
            EntryPattern::Rows(rows) => tries.rows(rows),
        }
    }
    tries.scripts
}

struct Tries {
    /// What must be drawn so that the part at hand is there at all.
    path: Values,
    scripts: Vec<Values>,
}

impl Tries {
    fn pattern(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Fixed(_) | Pattern::Reference(..) => {}
            Pattern::List(_, items) => items.iter().for_each(|item| self.pattern(item)),
            Pattern::Map(_, entries) => entries.iter().for_each(|(_, _, value)| self.pattern(value)),
            Pattern::Set(set) => self.set(set),
        }
    }

    fn set(&mut self, set: &Set) {
        let values = match &set.distribution {
            Distribution::Choice(_) => set.distribution.values(MOST_OPTIONS),
            _ => None,
        };
        for value in values.unwrap_or_else(|| set.distribution.ends().to_vec()) {
            self.given(&set.name, &value, |tries| tries.scripts.push(tries.path.clone()));
        }
        for (index, option) in set.options.iter().enumerate() {
            self.given(&set.name, &set.distribution.value(index as u64), |tries| tries.pattern(option));
        }
    }

    fn rows(&mut self, rows: &[RowPattern]) {
        for row in rows {
            match row {
                RowPattern::Plain(pattern) => self.pattern(pattern),
                RowPattern::Optional { repeat, module, arguments, .. } => {
                    self.set(module);
                    let modules = module.distribution.values(MOST_OPTIONS).unwrap_or_default();
                    if let Some(present) = modules.iter().find(|module| *module != PASS) {
                        self.given(&module.name, present, |tries| {
                            tries.pattern(repeat);
                            tries.pattern(arguments);
                        });
                    }
                }
                RowPattern::Drawn { path, repeat, block, .. } => match block.present(path) {
                    Some((name, value)) => self.given(name, &value, |tries| tries.pattern(repeat)),
                    None => self.pattern(repeat),
                },
                RowPattern::Groups { name, distribution, options, .. } => {
                    for (index, rows) in options.iter().enumerate() {
                        self.given(name, &distribution.value(index as u64), |tries| {
                            tries.scripts.push(tries.path.clone());
                            tries.rows(rows);
                        });
                    }
                }
                // Their numbers and arguments are checked as they are read.
                RowPattern::Cells(_) => {}
            }
        }
    }

    /// Looks at what there is when `name` gives `value`.
    fn given(&mut self, name: &str, value: &Value, look: impl FnOnce(&mut Self)) {
        self.path.insert(name.to_owned(), value.clone());
        look(self);
        self.path.remove(name);
    }
}
