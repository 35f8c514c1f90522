//! The normal distribution and parts of it, with small tails: logarithms of masses, and quantiles.

use libm::{erfc, exp, expm1, log, log1p, sqrt};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// ln √(2π).
const LOG_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

/// The density at `x`.
pub(crate) fn density(x: f64) -> f64 {
    exp(-0.5 * x * x - LOG_SQRT_TAU)
}

/// The mass below `x`.
pub(crate) fn mass_below(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// The logarithm of the mass below `x`, exact in both tails.
pub(crate) fn log_mass_below(x: f64) -> f64 {
    match x {
        x if x > 6.0 => -mass_below(-x),
        x if x > -20.0 => log(mass_below(x)),
        _ => -0.5 * x * x - log(-x) - LOG_SQRT_TAU + log(tail_series(x)),
    }
}

/// 1 − 1/x² + 3/x⁴ − 15/x⁶ …, the asymptotic series of the tail; 20 and beyond it is exact after a few terms.
fn tail_series(x: f64) -> f64 {
    let inverse_square = 1.0 / (x * x);
    let (mut sum, mut term) = (1.0, 1.0);
    for index in 1..=20 {
        term *= -inverse_square * f64::from(2 * index - 1);
        let next = sum + term;
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// ln(eᵖ − e𐞥) for p ≥ q.
fn log_difference(p: f64, q: f64) -> f64 {
    if q == f64::NEG_INFINITY { p } else { p + log1p(-exp(q - p)) }
}

/// ln(eᵖ + e𐞥).
fn log_sum(p: f64, q: f64) -> f64 {
    let (most, least) = if p >= q { (p, q) } else { (q, p) };
    if least == f64::NEG_INFINITY { most } else { most + log1p(exp(least - most)) }
}

/// The logarithm of the mass between `a` and `b`, a ≤ b.
pub(crate) fn log_mass_between(a: f64, b: f64) -> f64 {
    if b <= 0.0 {
        log_difference(log_mass_below(b), log_mass_below(a))
    } else if a > 0.0 {
        // The right tail is the left one mirrored, where differences are exact.
        log_difference(log_mass_below(-a), log_mass_below(-b))
    } else {
        log1p(-mass_below(a) - mass_below(-b))
    }
}

/// The x below which lies a mass of e^`log_mass`, by Newton's method.
fn quantile_of_log(log_mass: f64) -> f64 {
    if log_mass == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if log_mass >= 0.0 {
        return f64::INFINITY;
    }
    // Near 1 the mass above is the one with digits.
    let flipped = log_mass > -1e-2;
    let target = if flipped { log(-expm1(log_mass)) } else { log_mass };
    // The start: the tail's leading term, or the logistic curve that is nearest to the normal one.
    let mut x =
        if target < -5.0 { -sqrt(-2.0 * (target + LOG_SQRT_TAU)) } else { -sqrt(3.0) / PI * log(expm1(-target)) };
    for _ in 0..100 {
        let log_below = log_mass_below(x);
        let step = (log_below - target) * exp(log_below + 0.5 * x * x + LOG_SQRT_TAU);
        x -= step;
        if step.abs() < 1e-8 * x.abs() {
            break;
        }
    }
    if flipped { -x } else { x }
}

/// The x in `a..=b` below which lies the part `q` of the mass between `a` and `b`.
pub(crate) fn quantile_between(q: f64, a: f64, b: f64) -> f64 {
    if q <= 0.0 {
        return a;
    }
    if q >= 1.0 {
        return b;
    }
    let log_mass = log_mass_between(a, b);
    let x = if a < 0.0 {
        quantile_of_log(log_sum(log_mass_below(a), log(q) + log_mass))
    } else {
        -quantile_of_log(log_sum(log_mass_below(-b), log1p(-q) + log_mass))
    };
    x.clamp(a, b)
}

/// The logarithm of the density at `x`.
pub(crate) fn log_density(x: f64) -> f64 {
    -0.5 * x * x - LOG_SQRT_TAU
}

/// How much a normal value is expected to exceed `threshold`: ∫ max(0, y − threshold).
pub(crate) fn expected_excess(mean: f64, deviation: f64, threshold: f64) -> f64 {
    if deviation <= 0.0 {
        return (mean - threshold).max(0.0);
    }
    let z = (mean - threshold) / deviation;
    (deviation * (z * mass_below(z) + density(z))).max(0.0)
}

/// The x below which lies the mass `q`, 0 < q < 1.
pub(crate) fn quantile(q: f64) -> f64 {
    quantile_of_log(log(q))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{assert_near, load, number, numbers};

    #[test]
    fn masses_and_quantiles_are_those_of_scipy_and_optuna() {
        let fixture = load("normal");
        for (x, wanted) in numbers(&fixture["x"]).into_iter().zip(numbers(&fixture["log_mass_below"])) {
            assert_near(log_mass_below(x), wanted, &format!("mass below {x}"));
        }
        for row in fixture["between"].as_array().unwrap() {
            let (a, b) = (number(&row[0]), number(&row[1]));
            assert_near(log_mass_between(a, b), number(&row[2]), &format!("mass between {a} and {b}"));
        }
    }

    #[test]
    fn quantiles_leave_their_mass_below() {
        for row in load("normal")["quantiles"].as_array().unwrap() {
            let [q, a, b, wanted] = [0, 1, 2, 3].map(|index| number(&row[index]));
            let got = quantile_between(q, a, b);
            assert!((a..=b).contains(&got), "quantile {q} between {a} and {b}: {got}");
            // Optuna's own Newton steps end at a relative 1e-8, or leave the interval by as little.
            let near = (got - wanted).abs() <= 1e-6 * wanted.abs().max(1e-6);
            assert!(near, "quantile {q} between {a} and {b}: {got}, Optuna has {wanted}");
        }
    }

    #[test]
    fn the_expected_excess_is_its_integral() {
        for (mean, deviation, threshold) in [(0.0, 1.0, 0.5), (1.0, 0.3, 0.9), (-2.0, 0.5, 1.0)] {
            let steps = 200_000;
            let sum: f64 = (0..steps)
                .map(|index| quantile((index as f64 + 0.5) / f64::from(steps)))
                .map(|x| (mean + deviation * x - threshold).max(0.0))
                .sum();
            let got = expected_excess(mean, deviation, threshold);
            assert!((got - sum / f64::from(steps)).abs() < 1e-5, "{got} for {mean} {deviation} {threshold}");
        }
        assert_eq!(expected_excess(2.0, 0.0, 1.5), 0.5);
    }
}
