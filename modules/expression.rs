//! Simple arithmetic on named numbers: what a space says of a stage, and a block in YAML of its
//! arguments and channels.

mod parser;

use std::{collections::BTreeSet, fmt};

const MAX_LENGTH: usize = 400;

/// `out // 2`, `max(8, in / 4)`, `stride == 1 and in == out`.
///
/// From loose to tight: `or`; `and`; `not`; `== != < <= > >=`; `+ -`; `* / // %`; a minus sign;
/// numbers, `true`, `false`, names, calls and parentheses. Numbers are reals; `//` and `%` round
/// down as in Python. `and` and `or` leave their right side alone where the left one decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Term,
}

/// What a name or a whole expression stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
}

/// What the names and functions of an expression mean.
pub trait Meaning {
    /// The value of a name, if it has one.
    fn name(&self, name: &str) -> Option<Amount>;

    /// The value of a function of one number that is not built in, if there is one.
    fn call(&self, _function: &str, _argument: f64) -> Option<f64> {
        None
    }
}

impl<F: Fn(&str) -> Option<Amount>> Meaning for F {
    fn name(&self, name: &str) -> Option<Amount> {
        self(name)
    }
}

/// What is wrong with an expression, and at which byte of its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// From 0.
    pub at: usize,
    /// What was wanted and what came.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Constant(Amount),
    Name(String, usize),
    Call(String, usize, Vec<Term>),
    Negative(Box<Term>),
    Not(Box<Term>),
    Pair(Operator, usize, Box<Term>, Box<Term>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Plus,
    Minus,
    Times,
    Divide,
    DivideDown,
    Remainder,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Where it ends to be one.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_LENGTH {
            let message = format!("wanted an expression of at most {MAX_LENGTH} characters, got {}", text.len());
            return Err(ExpressionError { at: 0, message });
        }
        Ok(Self { text: text.to_owned(), root: parser::parse(text)? })
    }

    /// A number as an expression.
    pub fn constant(number: f64) -> Self {
        Self { text: number.to_string(), root: Term::Constant(Amount::Number(number)) }
    }

    /// The names that occur, with where each occurs first.
    pub fn names(&self) -> Vec<(&str, usize)> {
        let mut found = Vec::new();
        self.root.visit(&mut |term| {
            if let Term::Name(name, at) = term {
                found.push((name.as_str(), *at));
            }
        });
        let mut seen = BTreeSet::new();
        found.retain(|(name, _)| seen.insert(*name));
        found
    }

    /// Whether `name` occurs.
    pub fn uses(&self, name: &str) -> bool {
        self.names().iter().any(|(known, _)| *known == name)
    }

    /// The functions that occur and are not built in.
    pub fn functions(&self) -> Vec<(&str, usize)> {
        let mut found = Vec::new();
        self.root.visit(&mut |term| {
            if let Term::Call(name, at, _) = term
                && builtin(name).is_none()
            {
                found.push((name.as_str(), *at));
            }
        });
        found
    }

    /// The value.
    ///
    /// # Errors
    /// A name without a meaning, a flag where a number is wanted or the reverse, a division by 0.
    pub fn value(&self, meaning: &dyn Meaning) -> Result<Amount, ExpressionError> {
        self.root.value(meaning)
    }

    /// The value as a finite number.
    ///
    /// # Errors
    /// As [`Self::value`], and for a flag.
    pub fn number(&self, meaning: &dyn Meaning) -> Result<f64, ExpressionError> {
        self.root.number(meaning, 0)
    }

    /// The value as true or false.
    ///
    /// # Errors
    /// As [`Self::value`], and for a number.
    pub fn flag(&self, meaning: &dyn Meaning) -> Result<bool, ExpressionError> {
        self.root.flag(meaning, 0)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A function over its arguments.
type Function = fn(&[f64]) -> f64;

/// A function that every expression has, and how many arguments it takes at least and at most.
fn builtin(name: &str) -> Option<(Function, usize, usize)> {
    match name {
        "min" => Some((|numbers| numbers.iter().copied().fold(f64::INFINITY, f64::min), 1, 8)),
        "max" => Some((|numbers| numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max), 1, 8)),
        "floor" => Some((|numbers| numbers[0].floor(), 1, 1)),
        "ceil" => Some((|numbers| numbers[0].ceil(), 1, 1)),
        // Half to even, as Python rounds.
        "round" => Some((|numbers| numbers[0].round_ties_even(), 1, 1)),
        _ => None,
    }
}

impl Term {
    fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Constant(_) | Self::Name(..) => {}
            Self::Call(_, _, arguments) => arguments.iter().for_each(|argument| argument.visit(see)),
            Self::Negative(term) | Self::Not(term) => term.visit(see),
            Self::Pair(_, _, left, right) => {
                left.visit(see);
                right.visit(see);
            }
        }
    }

    fn value(&self, meaning: &dyn Meaning) -> Result<Amount, ExpressionError> {
        match self {
            Self::Constant(amount) => Ok(*amount),
            Self::Name(name, at) => meaning
                .name(name)
                .ok_or_else(|| ExpressionError { at: *at, message: format!("`{name}` has no value here") }),
            Self::Call(name, at, arguments) => self.call(name, *at, arguments, meaning),
            Self::Negative(term) => Ok(Amount::Number(-term.number(meaning, 0)?)),
            Self::Not(term) => Ok(Amount::Flag(!term.flag(meaning, 0)?)),
            Self::Pair(Operator::And, at, left, right) => {
                Ok(Amount::Flag(left.flag(meaning, *at)? && right.flag(meaning, *at)?))
            }
            Self::Pair(Operator::Or, at, left, right) => {
                Ok(Amount::Flag(left.flag(meaning, *at)? || right.flag(meaning, *at)?))
            }
            Self::Pair(operator @ (Operator::Equal | Operator::Unequal), _, left, right) => {
                let equal = left.value(meaning)? == right.value(meaning)?;
                Ok(Amount::Flag(equal == (*operator == Operator::Equal)))
            }
            Self::Pair(operator, at, left, right) => {
                combine(*operator, *at, left.number(meaning, *at)?, right.number(meaning, *at)?)
            }
        }
    }

    fn call(
        &self,
        name: &str,
        at: usize,
        arguments: &[Self],
        meaning: &dyn Meaning,
    ) -> Result<Amount, ExpressionError> {
        let numbers: Vec<f64> = arguments.iter().map(|term| term.number(meaning, at)).collect::<Result<_, _>>()?;
        let wrong = |message: String| ExpressionError { at, message };
        let result = match builtin(name) {
            Some((function, least, most)) if (least..=most).contains(&numbers.len()) => Some(function(&numbers)),
            Some((_, least, _)) => {
                return Err(wrong(format!("{name}: wanted {least} argument, got {}", numbers.len())));
            }
            None if numbers.len() == 1 => meaning.call(name, numbers[0]),
            None => None,
        };
        result.map(Amount::Number).ok_or_else(|| wrong(format!("`{name}` is no function of {} numbers", numbers.len())))
    }

    fn number(&self, meaning: &dyn Meaning, at: usize) -> Result<f64, ExpressionError> {
        match self.value(meaning)? {
            Amount::Number(number) if number.is_finite() => Ok(number),
            Amount::Number(number) => {
                Err(ExpressionError { at, message: format!("wanted a finite number, got {number}") })
            }
            Amount::Flag(flag) => Err(ExpressionError { at, message: format!("wanted a number, got {flag}") }),
        }
    }

    fn flag(&self, meaning: &dyn Meaning, at: usize) -> Result<bool, ExpressionError> {
        match self.value(meaning)? {
            Amount::Flag(flag) => Ok(flag),
            Amount::Number(number) => {
                Err(ExpressionError { at, message: format!("wanted a condition, got the number {number}") })
            }
        }
    }
}

fn combine(operator: Operator, at: usize, left: f64, right: f64) -> Result<Amount, ExpressionError> {
    use Operator::*;
    if right == 0.0 && matches!(operator, Divide | DivideDown | Remainder) {
        return Err(ExpressionError { at, message: "division by 0".into() });
    }
    Ok(match operator {
        Less => Amount::Flag(left < right),
        AtMost => Amount::Flag(left <= right),
        Greater => Amount::Flag(left > right),
        AtLeast => Amount::Flag(left >= right),
        Plus => Amount::Number(left + right),
        Minus => Amount::Number(left - right),
        Times => Amount::Number(left * right),
        Divide => Amount::Number(left / right),
        DivideDown => Amount::Number((left / right).floor()),
        Remainder => Amount::Number(left - right * (left / right).floor()),
        Or | And | Equal | Unequal => unreachable!("handled by Term::value"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Amount, ExpressionError> {
        let meaning = |name: &str| match name {
            "in" => Some(Amount::Number(24.0)),
            "out" => Some(Amount::Number(17.0)),
            "wide" => Some(Amount::Flag(true)),
            _ => None,
        };
        Expression::parse(text)?.value(&meaning)
    }

    #[test]
    fn values() {
        for (text, number) in [
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("in - 2 - 3", 19.0),
            ("-out // 2", -9.0),
            ("out // 2", 8.0),
            ("out % 4", 1.0),
            ("in / 16", 1.5),
            ("max(8, in // 4, out)", 17.0),
            ("round(2.5) + ceil(0.1) + floor(1.9)", 4.0),
        ] {
            assert_eq!(value(text), Ok(Amount::Number(number)), "{text}");
        }
        for (text, flag) in [
            ("in == 24 and out != in", true),
            ("not in == 24 or wide", true),
            ("not (wide or in < out)", false),
            ("in >= 24 and in <= 24 and in > 23", true),
            ("false and 1 / 0 == 1", false),
            ("wide == true", true),
        ] {
            assert_eq!(value(text), Ok(Amount::Flag(flag)), "{text}");
        }
    }

    #[test]
    fn mistakes_say_where() {
        for (text, at, message) in [
            ("", 0, "wanted a number or a name, got the end"),
            ("in +", 4, "wanted a number or a name, got the end"),
            ("in out", 3, "wanted an operator or the end, got `out`"),
            ("in + uot", 5, "`uot` has no value here"),
            ("(in", 3, "wanted `)`, got the end"),
            ("in / 0", 3, "division by 0"),
            ("1 + (in == 2)", 2, "wanted a number, got false"),
            ("in and wide", 3, "wanted a condition, got the number 24"),
            ("sqrt(2)", 0, "`sqrt` is no function of 1 numbers"),
            ("1.2.3", 0, "`1.2.3` is no number"),
        ] {
            let error = value(text).unwrap_err();
            assert_eq!((error.at, error.message.as_str()), (at, message), "{text}");
        }
        assert!(value(&"(".repeat(100)).unwrap_err().message.contains("nested deeper"));
        assert!(value(&"-".repeat(100)).unwrap_err().message.contains("nested deeper"));
        assert!(value(&"1+".repeat(1000)).unwrap_err().message.contains("at most 400"));
    }
}
