//! Numbers as people write and read them.

/// Reads `500k`, `1.5M`, `20m`, `2G` or a plain number, as a whole count.
///
/// # Errors
/// Says what was wanted and what came.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let unit = |suffix: char| match suffix {
        'k' | 'K' => Some(1e3),
        'm' | 'M' => Some(1e6),
        'g' | 'G' | 'b' | 'B' => Some(1e9),
        _ => None,
    };
    let (digits, factor) = match text.char_indices().next_back().and_then(|(at, last)| Some((at, unit(last)?))) {
        Some((at, factor)) => (&text[..at], factor),
        None => (text, 1.0),
    };
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_');
    let number = digits.replace('_', "").parse::<f64>().ok().filter(|_| plain).map(|number| number * factor);
    match number {
        Some(number) if number <= 1e15 => Ok(number.round() as u64),
        _ => Err(format!("wanted a number such as 300000, 500k or 1.5M, got `{text}`")),
    }
}

/// Reads a seed.
///
/// # Errors
/// Says what was wanted and what came.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("wanted a whole number from 0 to {}, got `{text}`", u64::MAX))
}

/// `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits without an exponent: `0.00123`, `1.23`, `123`.
pub fn three_digits(value: f64) -> String {
    let size = value.abs();
    let decimals = if size > 0.0 && size.is_finite() { (2.0 - size.log10().floor()).clamp(0.0, 12.0) } else { 0.0 };
    format!("{value:.decimals$}", decimals = decimals as usize)
}

/// Three digits and a unit: `1.23 M`, `45.6 k`, `789`.
pub fn short(count: u64) -> String {
    let scaled = [(1e9, "G"), (1e6, "M"), (1e3, "k")].into_iter().find(|(unit, _)| count as f64 >= unit * 0.9995);
    match scaled {
        None => count.to_string(),
        Some((unit, letter)) => {
            let value = count as f64 / unit;
            let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
            format!("{value:.digits$} {letter}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept_however_small() {
        for (value, text) in
            [(0.001_234, "0.00123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1234"), (0.0, "0")]
        {
            assert_eq!(three_digits(value), text);
        }
    }

    #[test]
    fn counts_with_units() {
        for (text, count) in
            [("300", 300), ("500k", 500_000), ("1.5M", 1_500_000), ("20m", 20_000_000), ("1_000", 1000)]
        {
            assert_eq!(parse_count(text), Ok(count));
        }
        for text in ["", "k", "-3", "1e5", "3 M", "NaN", "inf", "1.2.3", "9999999G"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_for_people() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            [0, 999, 1000, 45_600, 999_950, 12_345_678].map(short),
            ["0", "999", "1.00 k", "45.6 k", "1.00 M", "12.3 M"]
        );
    }
}
