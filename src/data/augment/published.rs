//! The policies of papers, with torchvision's operators and ranges.

use super::{Draws, Operation};

/// What RandAugment and TrivialAugment choose from, and AutoAugment names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

use Kind::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Identity, Invert, Posterize, Rotate, Sharpness, ShearX,
    ShearY, Solarize, TranslateX, TranslateY,
};

/// RandAugment's and TrivialAugment's choice.
const CHOICE: [Kind; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];

/// How far the operators go at full magnitude.
#[derive(Clone, Copy, Debug)]
struct Ranges {
    shear: f64,
    /// Pixels across and down.
    translate: [f64; 2],
    rotate: f64,
    colour: f64,
    /// Bits that are dropped.
    posterize: f64,
}

/// Those of AutoAugment and RandAugment.
fn narrow(width: usize, height: usize) -> Ranges {
    let translate = [width, height].map(|side| 150.0 / 331.0 * side as f64);
    Ranges { shear: 0.3, translate, rotate: 30.0, colour: 0.9, posterize: 4.0 }
}

/// Those of TrivialAugment.
const WIDE: Ranges = Ranges { shear: 0.99, translate: [32.0; 2], rotate: 135.0, colour: 0.99, posterize: 6.0 };

impl Kind {
    /// At a magnitude in `0.0..=1.0`, in a random direction where there are two.
    fn at(self, magnitude: f64, ranges: Ranges, draws: &mut Draws) -> Option<Operation> {
        let sign = if draws.chance(0.5) { -1.0 } else { 1.0 };
        let signed = |most: f64| sign * magnitude * most;
        let moved = |angle: f64, translate: [f64; 2]| Operation::Affine {
            angle,
            translate: translate.map(f64::trunc),
            shear: [0.0; 2],
            at_corner: false,
        };
        let sheared = |x: f64, y: f64| Operation::Affine {
            angle: 0.0,
            translate: [0.0; 2],
            shear: [x.atan().to_degrees(), y.atan().to_degrees()],
            at_corner: true,
        };
        Some(match self {
            Identity => return None,
            ShearX => sheared(signed(ranges.shear), 0.0),
            ShearY => sheared(0.0, signed(ranges.shear)),
            TranslateX => moved(0.0, [signed(ranges.translate[0]), 0.0]),
            TranslateY => moved(0.0, [0.0, signed(ranges.translate[1])]),
            // torchvision turns the other way round; both ways are as likely.
            Rotate => moved(signed(ranges.rotate), [0.0; 2]),
            Brightness => Operation::Brightness(1.0 + signed(ranges.colour)),
            Color => Operation::Saturation(1.0 + signed(ranges.colour)),
            Contrast => Operation::Contrast(1.0 + signed(ranges.colour)),
            Sharpness => Operation::Sharpness(1.0 + signed(ranges.colour)),
            Posterize => Operation::Posterize(8 - (magnitude * ranges.posterize).round_ties_even() as u32),
            Solarize => Operation::Solarize(255.0 * (1.0 - magnitude)),
            AutoContrast => Operation::AutoContrast,
            Equalize => Operation::Equalize,
            Invert => Operation::Invert,
        })
    }
}

/// `count` of the operators, each at `magnitude` in `0.0..=1.0` with a normal `deviation`, and each with
/// `probability` (Cubuk et al. 2020).
pub(super) fn rand_augment(
    [count, magnitude, deviation, probability]: [f64; 4],
    [width, height]: [usize; 2],
    draws: &mut Draws,
) -> Vec<Operation> {
    let one = |_| {
        let kind = CHOICE[draws.below(CHOICE.len())];
        let magnitude = (magnitude + deviation * draws.normal()).clamp(0.0, 1.0);
        let operation = kind.at(magnitude, narrow(width, height), draws);
        operation.filter(|_| draws.chance(probability))
    };
    (0..count as usize).filter_map(one).collect()
}

/// One operator at a random magnitude of 31 (Müller and Hutter 2021, "wide").
pub(super) fn trivial_augment(draws: &mut Draws) -> Vec<Operation> {
    let kind = CHOICE[draws.below(CHOICE.len())];
    let magnitude = draws.below(31) as f64 / 30.0;
    kind.at(magnitude, WIDE, draws).into_iter().collect()
}

/// One of 25 pairs, each with its probability and magnitude of 10 (Cubuk et al. 2019, for CIFAR-10).
pub(super) fn auto_augment([width, height]: [usize; 2], draws: &mut Draws) -> Vec<Operation> {
    let pair = CIFAR[draws.below(CIFAR.len())];
    let operation = |(kind, probability, magnitude): (Kind, f64, u8)| {
        let operation = kind.at(f64::from(magnitude) / 9.0, narrow(width, height), draws);
        operation.filter(|_| draws.chance(probability))
    };
    pair.into_iter().filter_map(operation).collect()
}

const CIFAR: [[(Kind, f64, u8); 2]; 25] = [
    [(Invert, 0.1, 0), (Contrast, 0.2, 6)],
    [(Rotate, 0.7, 2), (TranslateX, 0.3, 9)],
    [(Sharpness, 0.8, 1), (Sharpness, 0.9, 3)],
    [(ShearY, 0.5, 8), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.5, 0), (Equalize, 0.9, 0)],
    [(ShearY, 0.2, 7), (Posterize, 0.3, 7)],
    [(Color, 0.4, 3), (Brightness, 0.6, 7)],
    [(Sharpness, 0.3, 9), (Brightness, 0.7, 9)],
    [(Equalize, 0.6, 0), (Equalize, 0.5, 0)],
    [(Contrast, 0.6, 7), (Sharpness, 0.6, 5)],
    [(Color, 0.7, 7), (TranslateX, 0.5, 8)],
    [(Equalize, 0.3, 0), (AutoContrast, 0.4, 0)],
    [(TranslateY, 0.4, 3), (Sharpness, 0.2, 6)],
    [(Brightness, 0.9, 6), (Color, 0.2, 8)],
    [(Solarize, 0.5, 2), (Invert, 0.0, 0)],
    [(Equalize, 0.2, 0), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.2, 0), (Equalize, 0.6, 0)],
    [(Color, 0.9, 9), (Equalize, 0.6, 0)],
    [(AutoContrast, 0.8, 0), (Solarize, 0.2, 8)],
    [(Brightness, 0.1, 3), (Color, 0.7, 0)],
    [(Solarize, 0.4, 5), (AutoContrast, 0.9, 0)],
    [(TranslateY, 0.9, 9), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.9, 0), (Solarize, 0.8, 3)],
    [(Equalize, 0.8, 0), (Invert, 0.1, 0)],
    [(TranslateY, 0.7, 9), (AutoContrast, 0.9, 0)],
];
