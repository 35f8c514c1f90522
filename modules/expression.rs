//! Simple arithmetic on named numbers: what a space says of a stage, and a block in YAML of its
//! arguments and channels.

use std::{collections::BTreeSet, fmt};

/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 32;
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

/// Operators of one level, tightest last; longer spellings before their beginnings.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("or", Operator::Or)],
    &[("and", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[("//", Operator::DivideDown), ("*", Operator::Times), ("/", Operator::Divide), ("%", Operator::Remainder)],
];

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
        let mut parser = Parser { text, at: 0, depth: 0 };
        let root = parser.level(0)?;
        match parser.rest().chars().next() {
            None => Ok(Self { text: text.to_owned(), root }),
            Some(_) => Err(parser.wrong("an operator or the end")),
        }
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

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    fn wrong(&mut self, wanted: &str) -> ExpressionError {
        let came = match self.rest().chars().next() {
            None => "the end".to_owned(),
            Some(_) => format!("`{}`", self.rest().split_whitespace().next().unwrap_or_default()),
        };
        ExpressionError { at: self.at, message: format!("wanted {wanted}, got {came}") }
    }

    /// Takes `word` if it comes next; a word of letters ends where the letters do.
    fn takes(&mut self, word: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if word.ends_with(goes_on) && after.starts_with(goes_on) {
            return false;
        }
        self.at += word.len();
        true
    }

    fn level(&mut self, level: usize) -> Result<Term, ExpressionError> {
        let Some(operators) = LEVELS.get(level) else { return self.signed() };
        let mut left = self.level_or_not(level)?;
        loop {
            self.rest();
            let at = self.at;
            let Some((_, operator)) = operators.iter().find(|(spelling, _)| self.takes(spelling)) else {
                return Ok(left);
            };
            let right = self.level_or_not(level)?;
            left = Term::Pair(*operator, at, Box::new(left), Box::new(right));
        }
    }

    /// `not` binds looser than comparisons and tighter than `and`.
    fn level_or_not(&mut self, level: usize) -> Result<Term, ExpressionError> {
        if level == 1 && self.takes("not") {
            let term = self.nested(|parser| parser.level_or_not(1))?;
            return Ok(Term::Not(Box::new(term)));
        }
        self.level(level + 1)
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<Term, ExpressionError>,
    ) -> Result<Term, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpressionError { at: self.at, message: format!("nested deeper than {MAX_DEPTH} levels") });
        }
        let term = inner(self);
        self.depth -= 1;
        term
    }

    fn signed(&mut self) -> Result<Term, ExpressionError> {
        if self.takes("-") {
            let term = self.nested(Self::signed)?;
            return Ok(Term::Negative(Box::new(term)));
        }
        self.atom()
    }

    fn atom(&mut self) -> Result<Term, ExpressionError> {
        if self.takes("(") {
            let term = self.nested(|parser| parser.level(0))?;
            return if self.takes(")") { Ok(term) } else { Err(self.wrong("`)`")) };
        }
        let rest = self.rest();
        let at = self.at;
        let word = |allowed: fn(char) -> bool| rest.split(|c| !allowed(c)).next().unwrap_or_default();
        if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let digits = word(|c| c.is_ascii_digit() || c == '.');
            self.at += digits.len();
            return match digits.parse::<f64>() {
                Ok(number) => Ok(Term::Constant(Amount::Number(number))),
                Err(_) => Err(ExpressionError { at, message: format!("`{digits}` is no number") }),
            };
        }
        let name = word(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || ["and", "or", "not"].contains(&name) {
            return Err(self.wrong("a number or a name"));
        }
        self.at += name.len();
        match name {
            "true" => return Ok(Term::Constant(Amount::Flag(true))),
            "false" => return Ok(Term::Constant(Amount::Flag(false))),
            _ => {}
        }
        if !self.takes("(") {
            return Ok(Term::Name(name.to_owned(), at));
        }
        let mut arguments = vec![self.nested(|parser| parser.level(0))?];
        while self.takes(",") {
            arguments.push(self.nested(|parser| parser.level(0))?);
        }
        if self.takes(")") { Ok(Term::Call(name.to_owned(), at, arguments)) } else { Err(self.wrong("`,` or `)`")) }
    }
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
