//! What a network of the space `cells` is said to score: a formula in place of a training, written down before any
//! sampler was tuned on it. It is made of what people find of such networks: larger is better with diminishing
//! returns, blocks differ by where they stand and by what stands before them, too many stages alike do not help, and
//! trainings differ by chance.

use nasgen_search::Param;
use serde_json::Value;

/// What blocks add, by stage.
const BLOCKS: [(&str, [f64; 3]); 5] = [
    ("Conv", [0.020, 0.010, 0.000]),
    ("DWConv", [-0.010, -0.015, -0.020]),
    ("Bottleneck", [0.005, 0.015, 0.020]),
    ("InvertedResidualv2", [0.000, 0.020, 0.025]),
    ("MBConv", [-0.005, 0.020, 0.035]),
];
/// What reductions add.
const REDUCTIONS: [(&str, f64); 4] =
    [("InvertedResidualv2", 0.012), ("InvertedResidualv3", 0.015), ("MaxPool", 0.004), ("AvgPool", -0.006)];
/// The deviation of repeated trainings.
const NOISE: f64 = 0.003;

/// The accuracy of a network with these draws, parameters and multiply-adds.
pub(crate) fn accuracy(draws: &[Param], params: f64, macs: f64) -> f64 {
    let find = |name: &str| draws.iter().find(|draw| draw.name == name).map(|draw| &draw.value);
    let number = |name: &str| find(name).and_then(Value::as_f64);
    let text = |name: &str| find(name).and_then(Value::as_str).unwrap_or_default();
    let added = |table: &[(&str, f64)], name: &str| table.iter().find(|(own, _)| *own == name).map_or(0.0, |(_, x)| *x);

    let mut sum = 0.70 - 0.45 * (-(params.max(1.0) / 3000.0).ln().max(0.0) / 1.8).exp();
    sum += 0.03 * (1.0 - (-(macs.max(1.0) / 1e6).ln().max(0.0) / 1.5).exp());
    let mut before: Option<(String, f64)> = None;
    for stage in 1..=3 {
        let block = text(&format!("s{stage}.nc")).to_owned();
        let scope = format!("s{stage}.nc.{block}");
        let by_stage = BLOCKS.map(|(name, effects)| (name, effects[stage - 1]));
        sum += added(&by_stage, &block);
        let copies = number(&format!("s{stage}.n")).unwrap_or(1.0);
        // Depth helps most in the middle, and ever less.
        sum += [0.010, 0.022, 0.016][stage - 1] * copies.ln() - 0.002 * (copies - 4.0).max(0.0);
        if let Some(kernel) = number(&format!("{scope}.kernel")) {
            sum += [-0.004, 0.003, 0.006][stage - 1] * (kernel - 3.0) / 2.0;
        }
        if let Some(expansion) = number(&format!("{scope}.expansion")) {
            sum -= 0.004 * (expansion / 4.0).max(0.05).ln().abs();
        }
        if let Some(out) = number(&format!("{scope}.out")) {
            if let Some((last, width)) = &before {
                sum += 0.012 * (out / width).ln().clamp(-1.0, 0.7);
                sum -= if *last == block { 0.006 } else { 0.0 };
            }
            before = Some((block, out));
        }
        sum += added(&REDUCTIONS, text(&format!("s{stage}.rc")));
    }
    sum += if text("r0.Conv.activation") == "Hardswish" { 0.004 } else { 0.0 };
    (sum + NOISE * deviate(draws)).clamp(0.1, 0.99)
}

/// A normal number that is a function of the draws.
fn deviate(draws: &[Param]) -> f64 {
    // FNV-1a, then the sum of twelve uniform numbers less six.
    let mut word: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in draws.iter().flat_map(|draw| format!("{}={}\n", draw.name, draw.value).into_bytes()) {
        word = (word ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut chance = nasgen_modules::chance::Chance::new(word, "score", 0);
    (0..12).map(|_| chance.unit()).sum::<f64>() - 6.0
}
