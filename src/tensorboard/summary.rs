//! What is seen at a step: numbers, pictures, distributions, hyperparameters.

use super::message::Message;

/// Values of one step, each under its tag.
#[derive(Clone, Debug, Default)]
pub struct Summary(Message);

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Hyperparameter {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// The plugin that shows hyperparameters.
const HPARAMS: &str = "hparams";
/// Of `tensorboard.hparams.Status`.
const SUCCESS: u64 = 1;

impl Summary {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One number.
    #[must_use]
    pub fn scalar(self, tag: &str, value: f64) -> Self {
        self.value(Message::new().text(1, tag).float(2, value as f32))
    }

    /// A PNG file of `width` × `height` pixels in colour.
    #[must_use]
    pub fn image(self, tag: &str, [width, height]: [u32; 2], png: &[u8]) -> Self {
        const RGB: u64 = 3;
        let image = Message::new().number(1, height.into()).number(2, width.into()).number(3, RGB).bytes(4, png);
        self.value(Message::new().text(1, tag).message(4, image))
    }

    /// How `values` are distributed, in buckets of equal width between the least and the greatest.
    #[must_use]
    pub fn histogram(self, tag: &str, values: &[f32]) -> Self {
        const BUCKETS: usize = 30;
        let finite = || values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value));
        let (least, greatest) =
            finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if least > greatest {
            return self;
        }
        let width = ((greatest - least) / BUCKETS as f64).max(f64::from(f32::MIN_POSITIVE));
        let mut counts = [0.0; BUCKETS];
        finite().for_each(|value| counts[(((value - least) / width) as usize).min(BUCKETS - 1)] += 1.0);
        let limits: Vec<f64> = (1..=BUCKETS).map(|bucket| least + width * bucket as f64).collect();
        let histogram = Message::new()
            .double(1, least)
            .double(2, greatest)
            .double(3, finite().count() as f64)
            .double(4, finite().sum())
            .double(5, finite().map(|value| value * value).sum())
            .doubles(6, &limits)
            .doubles(7, &counts);
        self.value(Message::new().text(1, tag).message(5, histogram))
    }

    /// Which hyperparameters and metrics (by the tags of their scalars) there are.
    #[must_use]
    pub fn experiment(self, settings: &[(String, Hyperparameter)], metrics: &[&str]) -> Self {
        let kind = |value: &Hyperparameter| match value {
            Hyperparameter::Text(_) => 1,
            Hyperparameter::Flag(_) => 2,
            Hyperparameter::Number(_) => 3,
        };
        let mut experiment = Message::new();
        for (name, value) in settings {
            experiment = experiment.message(4, Message::new().text(1, name).number(4, kind(value)));
        }
        for metric in metrics {
            let name = Message::new().text(2, metric);
            experiment = experiment.message(5, Message::new().message(1, name));
        }
        self.plugin("_hparams_/experiment", Message::new().message(2, experiment))
    }

    /// The values that this training has.
    #[must_use]
    pub fn session_start(self, settings: &[(String, Hyperparameter)], time: f64) -> Self {
        let mut session = Message::new();
        for (name, value) in settings {
            let value = match value {
                Hyperparameter::Number(number) => Message::new().double(2, *number),
                Hyperparameter::Text(text) => Message::new().text(3, text),
                Hyperparameter::Flag(flag) => Message::new().number(4, u64::from(*flag)),
            };
            session = session.message(1, Message::new().text(1, name).message(2, value));
        }
        self.plugin("_hparams_/session_start_info", Message::new().message(3, session.double(5, time)))
    }

    /// The training has come to its end.
    #[must_use]
    pub fn session_end(self, time: f64) -> Self {
        let session = Message::new().number(1, SUCCESS).double(2, time);
        self.plugin("_hparams_/session_end_info", Message::new().message(4, session))
    }

    fn plugin(self, tag: &str, content: Message) -> Self {
        const FLOAT: u64 = 1;
        let data = Message::new().text(1, HPARAMS).bytes(2, content.as_bytes());
        // All is in the metadata; TensorBoard wants a tensor beside it, an empty one.
        let no_values = Message::new().message(2, Message::new());
        let tensor = Message::new().number(1, FLOAT).message(2, no_values);
        self.value(Message::new().text(1, tag).message(8, tensor).message(9, Message::new().message(1, data)))
    }

    fn value(self, value: Message) -> Self {
        Self(self.0.message(1, value))
    }

    pub(super) fn into_message(self) -> Message {
        self.0
    }
}
