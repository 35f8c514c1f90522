//! Pages that are one file and need no network: text, tables and drawn charts. All text that comes
//! from outside is escaped by `maud`; colours are variables of the page, for light and dark.

pub mod chart;
pub mod diagram;
pub mod page;
pub mod table;

/// A coordinate: one decimal is less than a pixel of any screen.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A number for people: four digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else {
        let decimals = (3.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

/// A share as `12.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.05, 1234.5678, 0.000_012, 2.5e7, -3.0, 0.1 + 0.2].map(number);
        assert_eq!(shown, ["0", "0.05", "1235", "1.2e-5", "2.5e7", "-3", "0.3"]);
        assert_eq!([at(3.0), at(2.25)], ["3", "2.2"]);
    }
}
