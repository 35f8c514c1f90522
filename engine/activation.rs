//! Activations and their derivatives, as plain arithmetic that vectorises.
#![expect(clippy::upper_case_acronyms, reason = "the names of torch.nn")]

use nasgen_modules::Activation;

/// How a product and a sum are computed, which is a matter of the instruction set.
pub(crate) trait Arithmetic {
    /// `a · b + c`.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// With one rounding, where the processor has an instruction for it.
pub(crate) struct Fused;

/// With two roundings.
pub(crate) struct Plain;

impl Arithmetic for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for Plain {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// An elementwise function with its derivative.
pub(crate) trait Curve: Copy + Sync {
    /// Whether the derivative costs more than storing it.
    const COSTLY: bool;
    /// The value at `x`.
    fn value<A: Arithmetic>(self, x: f32) -> f32;
    /// The derivative at `x`, PyTorch's choice where there is a kink.
    fn slope<A: Arithmetic>(self, x: f32) -> f32;
}

macro_rules! curves {
    ($($name:ident $(($costly:ident))?: |$x:ident| $value:expr, $slope:expr;)*) => {
        $(
            #[derive(Clone, Copy)]
            pub(crate) struct $name;

            impl Curve for $name {
                const COSTLY: bool = false $(|| stringify!($costly).len() > 0)?;
                #[inline(always)]
                fn value<A: Arithmetic>(self, $x: f32) -> f32 { $value }
                #[inline(always)]
                fn slope<A: Arithmetic>(self, $x: f32) -> f32 { $slope }
            }
        )*
    };
}

curves! {
    Straight: |x| x, { let _ = x; 1.0 };
    ReLU: |x| if x < 0.0 { 0.0 } else { x }, one_if(x > 0.0);
    ReLU6: |x| x.clamp(0.0, 6.0), one_if(x > 0.0) * one_if(x < 6.0);
    Hardswish: |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        one_if(x >= 3.0) + one_if(x > -3.0) * one_if(x < 3.0) * (x / 3.0 + 0.5);
    Hardsigmoid: |x| (x + 3.0).clamp(0.0, 6.0) / 6.0, one_if(x > -3.0) * one_if(x < 3.0) / 6.0;
    Sigmoid (costly): |x| sigmoid::<A>(x), { let s = sigmoid::<A>(x); s * (1.0 - s) };
    SiLU (costly): |x| x * sigmoid::<A>(x), { let s = sigmoid::<A>(x); A::mul_add(x * s, 1.0 - s, s) };
    Tanh (costly): |x| tanh::<A>(x), { let t = tanh::<A>(x); 1.0 - t * t };
    LeakyReLU: |x| if x > 0.0 { x } else { 0.01 * x }, if x > 0.0 { 1.0 } else { 0.01 };
    ELU (costly): |x| if x > 0.0 { x } else { exp::<A>(x.min(0.0)) - 1.0 },
        if x > 0.0 { 1.0 } else { exp::<A>(x.min(0.0)) };
    Mish (costly): |x| x * tanh::<A>(softplus(x)), {
        let t = tanh::<A>(softplus(x));
        A::mul_add(x * (1.0 - t * t), sigmoid::<A>(x), t)
    };
    GELU (costly): |x| 0.5 * x * (1.0 + erf::<A>(x * std::f32::consts::FRAC_1_SQRT_2)),
        0.5 * (1.0 + erf::<A>(x * std::f32::consts::FRAC_1_SQRT_2)) + x * exp::<A>(-0.5 * x * x) * 0.398_942_3;
}

/// Runs `$body` with `$curve` bound to the curve that `$activation` (an `Option`) names. Softmax,
/// which is no curve, has an operation of its own.
macro_rules! with_curve {
    ($activation:expr, $curve:ident => $body:expr) => {{
        use nasgen_modules::Activation as Name;
        use $crate::activation as curves;
        match $activation {
            None | Some(Name::Softmax) => {
                let $curve = curves::Straight;
                $body
            }
            Some(Name::ReLU) => {
                let $curve = curves::ReLU;
                $body
            }
            Some(Name::ReLU6) => {
                let $curve = curves::ReLU6;
                $body
            }
            Some(Name::Hardswish) => {
                let $curve = curves::Hardswish;
                $body
            }
            Some(Name::Hardsigmoid) => {
                let $curve = curves::Hardsigmoid;
                $body
            }
            Some(Name::Sigmoid) => {
                let $curve = curves::Sigmoid;
                $body
            }
            Some(Name::SiLU) => {
                let $curve = curves::SiLU;
                $body
            }
            Some(Name::Tanh) => {
                let $curve = curves::Tanh;
                $body
            }
            Some(Name::LeakyReLU) => {
                let $curve = curves::LeakyReLU;
                $body
            }
            Some(Name::ELU) => {
                let $curve = curves::ELU;
                $body
            }
            Some(Name::Mish) => {
                let $curve = curves::Mish;
                $body
            }
            Some(Name::GELU) => {
                let $curve = curves::GELU;
                $body
            }
        }
    }};
}
pub(crate) use with_curve;

/// Whether an activation works on each value by itself.
pub(crate) fn is_elementwise(activation: Activation) -> bool {
    activation != Activation::Softmax
}

#[inline(always)]
fn one_if(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}

/// eˣ to 2e-6 of its value (tested): 2ⁿ · e^r with |r| ≤ ln 2 / 2, and a polynomial for e^r. Unlike
/// `f32::exp` it is plain arithmetic, so loops over it vectorise.
#[inline(always)]
pub(crate) fn exp<A: Arithmetic>(x: f32) -> f32 {
    // Adding this leaves no digits after the point: the sum's last bits are n.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = A::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, of which the first has so few digits that its product with n is exact.
    let r = A::mul_add(n, -0.693_359_4, x);
    let r = A::mul_add(n, 2.121_944_4e-4, r);
    let series = 1.398_199_9e-3;
    let series = A::mul_add(series, r, 8.333_452e-3);
    let series = A::mul_add(series, r, 4.166_579_6e-2);
    let series = A::mul_add(series, r, 0.166_666_65);
    let series = A::mul_add(series, r, 0.5);
    let series = A::mul_add(series, r, 1.0);
    let series = A::mul_add(series, r, 1.0);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    series * power
}

#[inline(always)]
fn sigmoid<A: Arithmetic>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<A>(-x))
}

#[inline(always)]
fn tanh<A: Arithmetic>(x: f32) -> f32 {
    // For small x the quotient would lose digits.
    let square = x * x;
    let small = x * (1.0 - square / 3.0 + square * square * (2.0 / 15.0));
    let large = 1.0 - 2.0 / (exp::<A>(2.0 * x) + 1.0);
    if square < 0.01 { small } else { large }
}

/// ln(1 + eˣ).
#[inline(always)]
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn erf<A: Arithmetic>(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let series = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    (1.0 - series * exp::<A>(-a * a)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_exact_enough_and_slopes_are_their_derivatives() {
        check_curves::<Plain>();
        check_curves::<Fused>();
    }

    fn check_curves<A: Arithmetic>() {
        for index in -3000..3000 {
            let x = index as f32 * 0.01 + 0.001_3;
            let exact = f64::from(x);
            let close = |actual: f32, exact: f64, what: &str| {
                assert!(
                    (f64::from(actual) - exact).abs() < 2e-6 * exact.abs().max(1.0),
                    "{what}({x}): {actual} {exact}"
                );
            };
            close(exp::<A>(x) / exact.exp() as f32, 1.0, "exp");
            close(sigmoid::<A>(x), 1.0 / (1.0 + (-exact).exp()), "sigmoid");
            close(tanh::<A>(x), exact.tanh(), "tanh");
            close(softplus(x), exact.max(0.0) + (-exact.abs()).exp().ln_1p(), "softplus");
            for activation in Activation::ALL {
                with_curve!(Some(activation), curve => {
                    let around = [x - 5e-3, x + 5e-3].map(|x| f64::from(curve.value::<A>(x)));
                    let slope = (around[1] - around[0]) / 0.01;
                    // A kink lies within the interval for a few x.
                    let near_kink = [0.0f32, 3.0, -3.0, 6.0].iter().any(|kink| (x - kink).abs() < 6e-3);
                    assert!(near_kink || (f64::from(curve.slope::<A>(x)) - slope).abs() < 2e-3, "{activation:?} at {x}");
                });
            }
        }
    }
}
