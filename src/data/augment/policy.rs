//! A policy: what may happen to a training image, in which order.

use super::{
    Canvas, Operation,
    published::{auto_augment, rand_augment, trivial_augment},
};
use nasgen_modules::{nearest, randomness::Stream};
use serde_json::{Map, Value};

/// What may happen to an image, step by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// In their order.
    pub steps: Vec<Step>,
    /// Mixes two images and their classes (Zhang et al. 2018): both parameters of the beta distribution of
    /// the share.
    pub mixup: Option<f64>,
    /// Puts a window of another image into an image (Yun et al. 2019): the same.
    pub cutmix: Option<f64>,
}

/// One step of a policy.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Mirrored with this probability.
    Flip(f64),
    /// Moved by up to so many pixels.
    Crop(usize),
    /// A window of at least this share of the area, of proportions between 3:4 and 4:3, brought back to
    /// the size.
    ResizedCrop(f64),
    /// Turned by up to so many degrees.
    Rotate(f64),
    /// Moved by up to this share of the sides.
    Translate(f64),
    /// Sheared along each side by up to so many degrees.
    Shear(f64),
    /// Brightness, contrast and saturation changed by up to these factors, hue turned by up to this share of
    /// the circle.
    ColourJitter([f64; 4]),
    /// Gaussian noise of up to this deviation, as a share of the range of values.
    Noise(f64),
    /// Gaussian blur of up to this deviation, pixels.
    Blur(f64),
    /// A black square of so many pixels (DeVries and Taylor 2017).
    Cutout(usize),
    /// With this probability a black rectangle of 2 to 33 % of the area (Zhong et al. 2020).
    Erase(f64),
    /// Operators, magnitude, its deviation, probability of each.
    RandAugment([f64; 4]),
    /// TrivialAugment.
    Trivial,
    /// AutoAugment's policy for CIFAR-10.
    AutoAugment,
    /// All of these steps, or with the rest of this probability none of them.
    Sometimes(f64, Vec<Self>),
    /// One of these steps, each as likely.
    OneOf(Vec<Self>),
}

/// Names of the steps, with what stands for them without a value.
const NAMES: [(&str, Option<f64>); 19] = [
    ("flip", Some(0.5)),
    ("crop", Some(4.0)),
    ("resized_crop", Some(0.5)),
    ("rotate", Some(15.0)),
    ("translate", Some(0.1)),
    ("shear", Some(10.0)),
    ("color_jitter", Some(0.3)),
    ("noise", Some(0.05)),
    ("blur", Some(1.0)),
    ("cutout", Some(8.0)),
    ("erase", Some(0.25)),
    ("randaugment", None),
    ("trivial", None),
    ("autoaugment", None),
    ("sometimes", None),
    ("one_of", None),
    ("mixup", Some(0.2)),
    ("cutmix", Some(1.0)),
    ("none", None),
];

impl Policy {
    /// Reads a name, a list of names and of maps `{name: value}`, or timm's string such as
    /// `rand-m9-mstd0.5`.
    ///
    /// # Errors
    /// Says what was wanted.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let mut policy = Self::default();
        match value {
            Value::Null => {}
            Value::String(text) if text.starts_with(['[', '{']) => {
                return Err(format!("`{text}` is no YAML list or map; is a bracket not closed?"));
            }
            Value::Array(items) => items.iter().try_for_each(|item| policy.add(item))?,
            item => policy.add(item)?,
        }
        Ok(policy)
    }

    fn add(&mut self, item: &Value) -> Result<(), String> {
        match item {
            Value::String(name) if name.starts_with("rand-") => {
                self.steps.push(timm(name)?);
                Ok(())
            }
            Value::String(name) => self.add_named(name, &Value::Null),
            Value::Object(entries) if entries.len() == 1 => {
                entries.iter().try_for_each(|(name, value)| self.add_named(name, value))
            }
            other => Err(format!("wanted a name such as trivial, or a map such as {{rotate: 15}}, got {other}")),
        }
    }

    fn add_named(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let names = || NAMES.iter().map(|(name, _)| *name);
        let Some((_, default)) = NAMES.iter().find(|(known, _)| *known == name) else {
            let near = nearest(name, names()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "unknown augmentation `{name}`{near}; known: {}",
                names().collect::<Vec<_>>().join(", ")
            ));
        };
        let number = |low: f64, high: f64| match (value.as_f64().or(*default), value) {
            (Some(number), Value::Null | Value::Number(_)) if (low..=high).contains(&number) => Ok(number),
            _ => Err(format!("{name}: wanted a number from {low} to {high}, got {value}")),
        };
        let step = match name {
            "flip" => Step::Flip(number(0.0, 1.0)?),
            "crop" => Step::Crop(number(0.0, 256.0)? as usize),
            "resized_crop" => Step::ResizedCrop(number(0.01, 1.0)?),
            "rotate" => Step::Rotate(number(0.0, 180.0)?),
            "translate" => Step::Translate(number(0.0, 1.0)?),
            "shear" => Step::Shear(number(0.0, 80.0)?),
            "color_jitter" => Step::ColourJitter(jitter(value, number)?),
            "noise" => Step::Noise(number(0.0, 1.0)?),
            "blur" => Step::Blur(number(0.1, 10.0)?),
            "cutout" => Step::Cutout(number(1.0, 4096.0)? as usize),
            "erase" => Step::Erase(number(0.0, 1.0)?),
            "randaugment" => Step::RandAugment(rand_settings(value)?),
            "trivial" => Step::Trivial,
            "autoaugment" => Step::AutoAugment,
            "sometimes" => sometimes(value)?,
            "one_of" => Step::OneOf(group(name, value)?),
            "mixup" => {
                self.mixup = Some(number(0.01, 1.0)?);
                return Ok(());
            }
            "cutmix" => {
                self.cutmix = Some(number(0.01, 1.0)?);
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.steps.push(step);
        Ok(())
    }

    /// Whether it leaves every image as it is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does to an image what `draws` decide.
    pub fn apply(&self, canvas: &mut Canvas<'_>, draws: &mut Draws) {
        for step in &self.steps {
            step.apply(canvas, draws);
        }
    }
}

/// `{probability: 0.5, steps: [rotate, {noise: 0.1}]}`
fn sometimes(value: &Value) -> Result<Step, String> {
    let wanted = || format!("sometimes: wanted {{probability: 0.5, steps: [rotate, noise]}}, got {value}");
    let map = value.as_object().ok_or_else(wanted)?;
    let (Some(probability), Some(steps), 2) = (map.get("probability"), map.get("steps"), map.len()) else {
        return Err(wanted());
    };
    let probability = probability.as_f64().filter(|probability| (0.0..=1.0).contains(probability));
    let probability = probability.ok_or_else(|| "sometimes: wanted a probability from 0 to 1".to_owned())?;
    Ok(Step::Sometimes(probability, group("sometimes", steps)?))
}

/// The steps of a list; mixing is for whole batches and cannot stand in one.
fn group(name: &str, list: &Value) -> Result<Vec<Step>, String> {
    let Value::Array(items) = list else { return Err(format!("{name}: wanted a list of steps, got {list}")) };
    let mut policy = Policy::default();
    items.iter().try_for_each(|item| policy.add(item)).map_err(|problem| format!("{name}: {problem}"))?;
    if policy.mixup.is_some() || policy.cutmix.is_some() {
        return Err(format!("{name}: mixup and cutmix mix images and stand outside of groups"));
    }
    if policy.steps.is_empty() {
        return Err(format!("{name}: wanted at least one step"));
    }
    Ok(policy.steps)
}

/// One number for brightness, contrast and saturation, or a map of them and of hue.
fn jitter(value: &Value, number: impl Fn(f64, f64) -> Result<f64, String>) -> Result<[f64; 4], String> {
    let Value::Object(map) = value else {
        let most = number(0.0, 1.0)?;
        return Ok([most, most, most, 0.0]);
    };
    let most = named(map, ["brightness", "contrast", "saturation", "hue"], [0.0; 4], 1.0)?;
    if most[3] > 0.5 {
        return Err(format!("hue: wanted a number from 0 to 0.5, got {}", most[3]));
    }
    Ok(most)
}

/// `{n: 2, m: 9}` as torchvision has it: the magnitude is one of 0 to 30.
fn rand_settings(value: &Value) -> Result<[f64; 4], String> {
    let empty = Map::new();
    let [count, magnitude] = named(value.as_object().unwrap_or(&empty), ["n", "m"], [2.0, 9.0], 30.0)?;
    Ok([count, magnitude / 30.0, 0.0, 1.0])
}

fn named<const N: usize>(
    map: &Map<String, Value>,
    names: [&str; N],
    defaults: [f64; N],
    most: f64,
) -> Result<[f64; N], String> {
    if let Some(unknown) = map.keys().find(|key| !names.contains(&key.as_str())) {
        return Err(format!("unknown `{unknown}`; known: {}", names.join(", ")));
    }
    let mut values = defaults;
    for (value, name) in values.iter_mut().zip(names) {
        match map.get(name).map(Value::as_f64) {
            None => {}
            Some(Some(number)) if (0.0..=most).contains(&number) => *value = number,
            Some(_) => return Err(format!("{name}: wanted a number from 0 to {most}, got {}", map[name])),
        }
    }
    Ok(values)
}

/// timm's `rand-m9-mstd0.5-n2-inc1`: a magnitude of 10 with a deviation; each of the operators is done
/// with a probability of one half. `inc1` is how magnitudes are meant here anyway.
fn timm(text: &str) -> Result<Step, String> {
    let (mut count, mut magnitude, mut deviation, mut probability) = (2.0, 10.0, 0.0, 0.5);
    for part in text.split('-').skip(1) {
        let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
        let (name, number) = part.split_at(digits);
        let number: f64 = number.parse().map_err(|_| format!("{text}: wanted a number after `{name}`"))?;
        match name {
            "m" => magnitude = number,
            "n" => count = number,
            "mstd" => deviation = number,
            "p" => probability = number,
            "inc" => {}
            _ => return Err(format!("{text}: unknown part `{part}`; known: m, n, mstd, p, inc")),
        }
    }
    if !(0.0..=10.0).contains(&magnitude) || !(1.0..=20.0).contains(&count) || !(0.0..=1.0).contains(&probability) {
        return Err(format!("{text}: wanted m from 0 to 10, n from 1 to 20, p from 0 to 1"));
    }
    Ok(Step::RandAugment([count, magnitude / 10.0, deviation / 10.0, probability]))
}

impl Step {
    fn apply(&self, canvas: &mut Canvas<'_>, draws: &mut Draws) {
        let [width, height] = [canvas.width, canvas.height];
        let moved = |angle, translate, shear| Operation::Affine { angle, translate, shear, at_corner: false };
        let operations = match *self {
            Self::Flip(probability) => {
                if draws.chance(probability) {
                    vec![Operation::Flip]
                } else {
                    vec![]
                }
            }
            Self::Crop(padding) => {
                let mut offset = || draws.below(2 * padding + 1) as f64 - padding as f64;
                vec![moved(0.0, [offset(), offset()], [0.0; 2])]
            }
            Self::ResizedCrop(least) => {
                vec![Operation::ResizedCrop { window: window(least, 1.0, width, height, draws) }]
            }
            Self::Rotate(most) => vec![moved(draws.between(-most, most), [0.0; 2], [0.0; 2])],
            Self::Translate(most) => {
                let mut offset = |side: usize| draws.between(-most, most) * side as f64;
                vec![moved(0.0, [offset(width).round(), offset(height).round()], [0.0; 2])]
            }
            Self::Shear(most) => vec![moved(0.0, [0.0; 2], [draws.between(-most, most), draws.between(-most, most)])],
            Self::ColourJitter(most) => {
                let [brightness, contrast, saturation] =
                    [most[0], most[1], most[2]].map(|most| 1.0 + draws.between(-most, most));
                let mut changes = vec![
                    Operation::Brightness(brightness),
                    Operation::Contrast(contrast),
                    Operation::Saturation(saturation),
                ];
                if most[3] > 0.0 {
                    changes.push(Operation::Hue(draws.between(-most[3], most[3])));
                }
                changes
            }
            Self::Noise(most) => {
                let deviation = draws.between(0.0, most) * 255.0;
                for value in canvas.pixels.iter_mut() {
                    *value = (f64::from(*value) + deviation * draws.normal()).round().clamp(0.0, 255.0) as u8;
                }
                vec![]
            }
            Self::Blur(most) => {
                let sigma = draws.between(0.1, most);
                vec![Operation::Blur { kernel: 2 * (3.0 * sigma).ceil() as usize + 1, sigma }]
            }
            Self::Cutout(side) => {
                let (row, column) = (draws.below(height), draws.below(width));
                let (top, left) = (row.saturating_sub(side / 2), column.saturating_sub(side / 2));
                let (bottom, right) = (row + side.div_ceil(2), column + side.div_ceil(2));
                vec![Operation::Erase { window: [top, left, bottom - top, right - left] }]
            }
            Self::Erase(probability) => {
                let window = window(0.02, 0.33, width, height, draws);
                if draws.chance(probability) { vec![Operation::Erase { window }] } else { vec![] }
            }
            Self::RandAugment(settings) => rand_augment(settings, [width, height], draws),
            Self::Trivial => trivial_augment(draws),
            Self::AutoAugment => auto_augment([width, height], draws),
            Self::Sometimes(probability, ref steps) => {
                if draws.chance(probability) {
                    steps.iter().for_each(|step| step.apply(canvas, draws));
                }
                vec![]
            }
            Self::OneOf(ref steps) => {
                steps[draws.below(steps.len())].apply(canvas, draws);
                vec![]
            }
        };
        operations.into_iter().for_each(|operation| operation.apply(canvas));
    }
}

/// A window of a share of the area between two limits, of proportions between 3:4 and 4:3: first row,
/// first column, rows, columns.
fn window(least: f64, most: f64, width: usize, height: usize, draws: &mut Draws) -> [usize; 4] {
    let area = draws.between(least, most) * (width * height) as f64;
    let ratio = draws.between((0.75f64).ln(), (4.0f64 / 3.0).ln()).exp();
    let columns = ((area * ratio).sqrt().round() as usize).clamp(1, width);
    let rows = ((area / ratio).sqrt().round() as usize).clamp(1, height);
    [draws.below(height - rows + 1), draws.below(width - columns + 1), rows, columns]
}

/// Random numbers for one image in one epoch: a function of the seed, the epoch and the image.
#[derive(Clone, Debug)]
pub struct Draws {
    stream: Stream,
    place: [u32; 3],
    next: u32,
}

impl Draws {
    /// Those of image number `image` in `epoch`.
    pub fn new(seed: u64, purpose: &str, epoch: u64, image: usize) -> Self {
        // Epochs and images beyond 2^32 repeat.
        Self { stream: Stream::new(seed, purpose), place: [image as u32, epoch as u32, (epoch >> 32) as u32], next: 0 }
    }

    fn words(&mut self) -> [u32; 4] {
        let [image, epoch, later] = self.place;
        self.next += 1;
        self.stream.words([image, epoch, later, self.next])
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.words()[0]) / 4_294_967_296.0
    }

    /// A number between two others.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        // Without rejection: uneven by less than one in 2^32 / count.
        ((u64::from(self.words()[0]) * count as u64) >> 32) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A draw from the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let [first, second, ..] = self.words();
        let radius = libm::sqrt(-2.0 * libm::log((f64::from(first) + 0.5) / 4_294_967_296.0));
        radius * libm::cos(std::f64::consts::TAU * f64::from(second) / 4_294_967_296.0)
    }

    /// A draw from the beta distribution with both parameters `alpha`, at most 1 (Jöhnk 1964).
    pub fn beta(&mut self, alpha: f64) -> f64 {
        loop {
            let [one, other] = [self.unit(), self.unit()].map(|unit| libm::pow(unit, 1.0 / alpha));
            if one + other <= 1.0 && one + other > 0.0 {
                return one / (one + other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_are_read_from_names_lists_and_timms_strings() {
        let steps = |value: Value| Policy::parse(&value).unwrap().steps;
        assert_eq!(steps(json!("trivial")), [Step::Trivial]);
        assert_eq!(
            steps(json!(["flip", {"rotate": 20}, {"color_jitter": {"contrast": 0.5}}])),
            [Step::Flip(0.5), Step::Rotate(20.0), Step::ColourJitter([0.0, 0.5, 0.0, 0.0]),]
        );
        assert_eq!(steps(json!("rand-m9-mstd0.5-inc1")), [Step::RandAugment([2.0, 0.9, 0.05, 0.5])]);
        assert_eq!(steps(json!({"randaugment": {"n": 3, "m": 15}})), [Step::RandAugment([3.0, 0.5, 0.0, 1.0])]);
        assert_eq!(
            steps(json!([{"sometimes": {"probability": 0.3, "steps": ["flip", {"one_of": ["trivial", "shear"]}]}}])),
            [Step::Sometimes(0.3, vec![Step::Flip(0.5), Step::OneOf(vec![Step::Trivial, Step::Shear(10.0)])])]
        );
        let mixing = Policy::parse(&json!([{"mixup": 0.4}, "cutmix"])).unwrap();
        assert_eq!((mixing.mixup, mixing.cutmix, mixing.is_empty()), (Some(0.4), Some(1.0), false));
        assert!(Policy::parse(&json!("none")).unwrap().is_empty() && Policy::parse(&Value::Null).unwrap().is_empty());
        for (wrong, message) in [
            (json!("trivail"), "did you mean `trivial`?"),
            (json!({"rotate": 500}), "rotate: wanted a number from 0 to 180, got 500"),
            (json!({"rotate": "far"}), "rotate: wanted a number"),
            (json!([7]), "wanted a name such as trivial"),
            (json!("rand-m9-x3"), "unknown part `x3`"),
            (json!("rand-m11"), "m from 0 to 10"),
            (json!({"randaugment": {"k": 1}}), "unknown `k`; known: n, m"),
            (json!({"color_jitter": {"hue": 0.7}}), "hue: wanted a number from 0 to 0.5, got 0.7"),
            (json!("sometimes"), "sometimes: wanted {probability: 0.5"),
            (json!({"sometimes": {"probability": 2, "steps": ["flip"]}}), "a probability from 0 to 1"),
            (json!({"sometimes": {"probability": 1, "steps": ["flop"]}}), "did you mean `flip`?"),
            (json!({"one_of": ["mixup"]}), "stand outside of groups"),
            (json!({"one_of": []}), "at least one step"),
        ] {
            let error = Policy::parse(&wrong).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn draws_are_spread_as_they_should() {
        let mut draws = Draws::new(1, "test", 0, 0);
        let mean = |values: &mut dyn FnMut() -> f64| (0..20_000).map(|_| values()).sum::<f64>() / 20_000.0;
        assert!((mean(&mut || draws.unit()) - 0.5).abs() < 0.01);
        assert!(mean(&mut || draws.normal()).abs() < 0.03);
        assert!((mean(&mut || draws.normal().powi(2)) - 1.0).abs() < 0.05);
        // Mean 1/2, variance 1 / (4 (2 alpha + 1)).
        assert!((mean(&mut || draws.beta(0.2)) - 0.5).abs() < 0.015);
        assert!((mean(&mut || (draws.beta(0.2) - 0.5).powi(2)) - 1.0 / 5.6).abs() < 0.01);
        assert!((mean(&mut || f64::from(draws.below(7) as u32)) - 3.0).abs() < 0.06);
    }

    #[test]
    fn what_happens_to_an_image_depends_on_seed_epoch_and_image_alone() {
        let after = |seed, epoch, image| {
            let mut pixels: Vec<u8> = (0..3 * 16 * 16).map(|i| (i * 7 % 251) as u8).collect();
            let policy =
                Policy::parse(&json!(["autoaugment", "trivial", "randaugment", "noise", "blur", "erase"])).unwrap();
            let mut canvas = Canvas { channels: 3, height: 16, width: 16, pixels: &mut pixels };
            policy.apply(&mut canvas, &mut Draws::new(seed, "augmentation", epoch, image));
            pixels
        };
        assert_eq!(after(1, 2, 3), after(1, 2, 3));
        for other in [after(2, 2, 3), after(1, 3, 3), after(1, 2, 4)] {
            assert_ne!(after(1, 2, 3), other);
        }
    }

    #[test]
    fn groups_are_done_as_often_as_they_should() {
        let policy = json!([{"sometimes": {"probability": 0.25, "steps": [{"one_of": [{"cutout": 2}, {"crop": 0}]}]}}]);
        let policy = Policy::parse(&policy).unwrap();
        let cut = |image| {
            let mut pixels = vec![9; 64];
            let mut canvas = Canvas { channels: 1, height: 8, width: 8, pixels: &mut pixels };
            policy.apply(&mut canvas, &mut Draws::new(0, "policy", 0, image));
            pixels.contains(&0)
        };
        let done = (0..4000).filter(|image| cut(*image)).count();
        assert!((430..570).contains(&done), "{done} of 4000, wanted an eighth");
    }

    #[test]
    fn every_step_changes_images_and_keeps_within_them() {
        for (name, _) in
            NAMES.iter().filter(|(name, _)| !["none", "mixup", "cutmix", "sometimes", "one_of"].contains(name))
        {
            let policy = Policy::parse(&json!(name)).unwrap();
            for (channels, height, width) in [(3, 9, 14), (1, 16, 16), (3, 1, 1), (1, 2, 3)] {
                let original: Vec<u8> = (0..channels * height * width).map(|i| (i * 37 % 256) as u8).collect();
                let mut changed = 0;
                for image in 0..40 {
                    let mut pixels = original.clone();
                    let mut canvas = Canvas { channels, height, width, pixels: &mut pixels };
                    policy.apply(&mut canvas, &mut Draws::new(0, "augmentation", 0, image));
                    changed += usize::from(pixels != original);
                }
                assert!(changed > 5 || height < 9, "{name} changed {changed} of 40");
            }
        }
    }
}
