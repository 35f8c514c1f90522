//! The values of a definition's arguments at one point of a block.

use super::{Composed, LARGEST, ParameterKind, STRIDE, Scalar, Striding};
use crate::{
    activation::Activation,
    error::{Error, Result},
    expression::{Amount, Expression, Meaning},
    primitive::{Padding, Window},
    shape::Shape,
    site::Site,
};
use serde_json::{Value, json};

/// What names mean at one point of a block.
pub(super) struct Here<'a> {
    pub(super) composed: &'a Composed,
    pub(super) site: &'a Site,
    pub(super) shape: Shape,
}

impl Meaning for Here<'_> {
    fn name(&self, name: &str) -> Option<Amount> {
        let number = |number: usize| Some(Amount::Number(number as f64));
        let [height, width] = self.shape.size().unwrap_or([1, 1]);
        match name {
            "in" => return number(self.site.input().channels()),
            "here" => return number(self.shape.channels()),
            "height" => return number(height),
            "width" => return number(width),
            _ => {}
        }
        let parameter = self.composed.composition.parameter(name)?;
        match self.composed.arguments.get(name)? {
            Value::Bool(flag) => Some(Amount::Flag(*flag)),
            value if parameter.kind == ParameterKind::Channels => number(self.site.channels(value.as_u64()? as usize)),
            value if name == STRIDE => {
                let stride = value.as_u64()? as usize;
                number(match self.composed.composition.striding {
                    Striding::First => self.site.stride_on_first(stride),
                    Striding::Last => self.site.stride_on_last(stride),
                    Striding::All => stride,
                })
            }
            value => value.as_f64().map(Amount::Number),
        }
    }

    fn call(&self, function: &str, argument: f64) -> Option<f64> {
        (function == "channels" && (0.0..=LARGEST).contains(&argument))
            .then(|| self.site.channels(argument as usize) as f64)
    }
}

/// Names that every definition can use beside its arguments, with what they mean.
pub const NAMES: [(&str, &str); 4] = [
    ("in", "channels that reach the block"),
    ("here", "channels at this layer"),
    ("height", "rows of the image at this layer"),
    ("width", "columns of the image at this layer"),
];

/// Functions that every definition can use beside those of all expressions.
pub const FUNCTIONS: [(&str, &str); 1] = [("channels", "times the network's width multiple, rounded by its rule")];

pub(super) fn wrong_value(expression: &Expression, message: &str) -> Error {
    Error::row(format!("`{expression}`: {message}"))
}

/// The values of one step at one point.
pub(super) struct Values<'a> {
    pub(super) here: Here<'a>,
    pub(super) values: &'a [Scalar],
}

impl Values<'_> {
    fn argument(&self, name: &str) -> &Value {
        self.here.composed.arguments.get(name).unwrap_or(&Value::Null)
    }

    fn is_null(&self, index: usize) -> bool {
        match &self.values[index] {
            Scalar::Null => true,
            Scalar::Argument(name) => self.argument(name).is_null(),
            Scalar::Expression(_) | Scalar::Activation(_) => false,
        }
    }

    pub(super) fn real(&self, index: usize) -> Result<f64> {
        match &self.values[index] {
            Scalar::Expression(expression) => {
                expression.number(&self.here).map_err(|error| wrong_value(expression, &error.message))
            }
            Scalar::Argument(name) => match self.here.name(name) {
                Some(Amount::Number(number)) => Ok(number),
                _ => Err(Error::row(format!("wanted a number, got {} from `{name}`", self.argument(name)))),
            },
            Scalar::Null => Err(Error::row("wanted a number, got null")),
            Scalar::Activation(_) => Err(Error::row("wanted a number, got an activation")),
        }
    }

    pub(super) fn whole(&self, index: usize) -> Result<usize> {
        let number = self.real(index)?;
        if number.fract() == 0.0 && (0.0..=LARGEST).contains(&number) {
            return Ok(number as usize);
        }
        let wanted = format!("wanted a whole number from 0 to {LARGEST}, got {number}");
        match &self.values[index] {
            Scalar::Expression(expression) => Err(wrong_value(expression, &wanted)),
            _ => Err(Error::row(wanted)),
        }
    }

    pub(super) fn positive(&self, index: usize) -> Result<usize> {
        match self.whole(index)? {
            0 => Err(Error::row("wanted a whole number of at least 1, got 0")),
            number => Ok(number),
        }
    }

    pub(super) fn probability(&self, index: usize) -> Result<f64> {
        let number = self.real(index)?;
        if (0.0..1.0).contains(&number) {
            return Ok(number);
        }
        Err(Error::row(format!("wanted a probability from 0 to below 1, got {number}")))
    }

    pub(super) fn flag(&self, index: usize) -> Result<bool> {
        match &self.values[index] {
            Scalar::Expression(expression) => {
                expression.flag(&self.here).map_err(|error| wrong_value(expression, &error.message))
            }
            Scalar::Argument(name) => match self.here.name(name) {
                Some(Amount::Flag(flag)) => Ok(flag),
                _ => Err(Error::row(format!("wanted true or false, got {} from `{name}`", self.argument(name)))),
            },
            Scalar::Null | Scalar::Activation(_) => Err(Error::row("wanted true or false")),
        }
    }

    pub(super) fn activation(&self, index: usize) -> Result<Option<Activation>> {
        match &self.values[index] {
            Scalar::Activation(activation) => Ok(*activation),
            Scalar::Null => Ok(None),
            Scalar::Argument(name) => match self.argument(name) {
                Value::Null => Ok(None),
                value => value
                    .as_str()
                    .and_then(Activation::named)
                    .map(Some)
                    .ok_or_else(|| Error::row(format!("wanted an activation, got {value} from `{name}`"))),
            },
            Scalar::Expression(expression) => Err(wrong_value(expression, "wanted an activation")),
        }
    }

    pub(super) fn function(&self, index: usize) -> Result<Activation> {
        self.activation(index)?.ok_or_else(|| Error::row("wanted an activation, got null"))
    }

    /// Kernel, stride and padding from the values at these indices, dilation from that one.
    pub(super) fn window(&self, [kernel, stride, padding]: [usize; 3], dilation: Option<usize>) -> Result<Window> {
        let (kernel, stride) = (self.positive(kernel)?, self.positive(stride)?);
        let padding = if self.is_null(padding) { None } else { Some(self.whole(padding)?) };
        let window = Window::square(kernel, stride, self.here.site.padding(padding, kernel));
        Ok(match dilation {
            None => window,
            Some(dilation) => Window { dilation: [self.positive(dilation)?; 2], ..window },
        })
    }

    pub(super) fn pool_window(&self) -> Result<Window> {
        let kernel = self.positive(0)?;
        let stride = if self.is_null(1) { kernel } else { self.positive(1)? };
        Ok(Window::square(kernel, stride, Padding::all(self.whole(2)?)))
    }

    /// The value as a block's argument.
    pub(super) fn json(&self, index: usize, whole: bool) -> Result<Value> {
        match &self.values[index] {
            Scalar::Null => Ok(Value::Null),
            Scalar::Activation(activation) => Ok(activation.map_or(Value::Null, |activation| json!(activation.name()))),
            Scalar::Argument(name) => match self.here.name(name) {
                Some(amount) => Ok(json_of(amount, whole)),
                None => Ok(self.argument(name).clone()),
            },
            Scalar::Expression(expression) => {
                let amount = expression.value(&self.here).map_err(|error| wrong_value(expression, &error.message))?;
                Ok(json_of(amount, whole))
            }
        }
    }
}

fn json_of(amount: Amount, whole: bool) -> Value {
    match amount {
        Amount::Flag(flag) => json!(flag),
        Amount::Number(number) if number.fract() == 0.0 && (whole || number.abs() < LARGEST) => json!(number as i64),
        Amount::Number(number) => json!(number),
    }
}
