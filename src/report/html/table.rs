//! Tables.

use maud::{Markup, html};

/// What a cell holds.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, as it is to be read.
    Number(String),
    /// A share in `0.0..=1.0`, as a bar with its number.
    Share(f64),
    /// Words that lead to another file.
    Link {
        /// Relative to the page.
        href: String,
        /// The words.
        text: String,
    },
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number, as it is to be read.
    pub fn number(text: impl ToString) -> Self {
        Self::Number(text.to_string())
    }
}

/// A table that scrolls sideways where it is too wide. Columns are aligned as their first cell.
pub fn table(header: &[&str], rows: &[Vec<Cell>]) -> Markup {
    let numeric = |column: usize| {
        rows.first().and_then(|row| row.get(column)).is_some_and(|cell| matches!(cell, Cell::Number(_)))
    };
    html! {
        div class="scroll" {
            table {
                thead { tr { @for (column, name) in header.iter().enumerate() {
                    th class=[numeric(column).then_some("n")] { (name) }
                } } }
                tbody { @for row in rows { tr { @for cell in row { (self::cell(cell)) } } } }
            }
        }
    }
}

fn cell(cell: &Cell) -> Markup {
    html! {
        @match cell {
            Cell::Text(text) => td class="w" { (text) },
            Cell::Link { href, text } => td class="w" { a href=(href) { (text) } },
            Cell::Number(text) => td class="n" { (text) },
            Cell::Share(share) => {
                @let width = format!("width: {:.0}%", share.clamp(0.0, 1.0) * 100.0);
                td class="n" { span class="bar" { b style=(width) {} } " " (format!("{share:.3}")) }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_and_aligned() {
        let rows = [vec![Cell::text("<b>"), Cell::number(3), Cell::Share(0.5)]];
        let table = table(&["<i>", "n", "share"], &rows).into_string();
        assert!(table.contains("&lt;b&gt;") && table.contains("<th>&lt;i&gt;</th><th class=\"n\">n</th>"), "{table}");
        assert!(table.contains("width: 50%"));
    }
}
