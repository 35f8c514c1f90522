//! From an expression's text to its terms.

use super::{Amount, ExpressionError, Operator, Term};

/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 32;

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

/// Reads the whole of `text`.
pub(super) fn parse(text: &str) -> Result<Term, ExpressionError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let root = parser.level(0)?;
    match parser.rest().chars().next() {
        None => Ok(root),
        Some(_) => Err(parser.wrong("an operator or the end")),
    }
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
