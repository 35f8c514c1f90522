//! A network as a picture: one box for each row, from the image down to the class scores.

use super::at;
use crate::{
    network::Network,
    numbers::{grouped, short},
};
use maud::{Markup, html};

const WIDTH: f64 = 360.0;
const BOX: f64 = 40.0;
const GAP: f64 = 16.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 8.0;

/// Boxes with the module, its copies and what leaves it; a bar at the left of each box says which share of the
/// multiply-adds is its own. Rows that read another than the row before them have a line at the left.
pub fn network_diagram(network: &Network) -> Markup {
    let rows = &network.rows;
    let height = (BOX + GAP) * (rows.len() + 1) as f64;
    // The image stands above the rows.
    let top = |position: usize| (BOX + GAP) * position as f64 + 4.0;
    let most = rows.iter().map(|row| row.macs).max().unwrap_or(0).max(1) as f64;
    let total = network.macs().max(1) as f64;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", at(height))) width=(at(WIDTH * 1.2)) role="img"
            aria-label="The network, row by row" {
            (image(network, top(0)))
            @for (index, row) in rows.iter().enumerate() {
                @let y = top(index + 1);
                @for from in &row.from {
                    @let source = if *from < 0 { index as i64 + 1 + from } else { from + 1 };
                    (arrow(top(source.max(0) as usize) + BOX, y, source == index as i64))
                }
                rect class="box" x=(at(LEFT)) y=(at(y)) width=(at(WIDTH - LEFT - RIGHT)) height=(at(BOX)) rx="5" {
                    title { "row " (index) ": " (grouped(row.params)) " parameters, "
                        (format!("{:.1} % of the multiply-adds", row.macs as f64 / total * 100.0)) }
                }
                @let share = (BOX - 8.0) * row.macs as f64 / most;
                rect class="fill s0" x=(at(LEFT + 4.0)) y=(at(y + BOX - 4.0 - share)) width="5" height=(at(share))
                    rx="1" {}
                text class="soft" x=(at(LEFT - 6.0)) y=(at(y + BOX / 2.0 + 4.0)) text-anchor="end" { (index) }
                text x=(at(LEFT + 16.0)) y=(at(y + 17.0)) class="strong" {
                    (row.module) @if row.repeat > 1 { " ×" (row.repeat) }
                }
                text x=(at(WIDTH - RIGHT - 8.0)) y=(at(y + 17.0)) text-anchor="end" { (row.output) }
                text class="soft" x=(at(LEFT + 16.0)) y=(at(y + 33.0)) { (short(row.params)) " parameters" }
                text class="soft" x=(at(WIDTH - RIGHT - 8.0)) y=(at(y + 33.0)) text-anchor="end" { (short(row.macs))
                    " MACs" }
            }
        }
    }
}

fn image(network: &Network, y: f64) -> Markup {
    html! {
        rect class="box" x=(at(LEFT + 70.0)) y=(at(y)) width=(at(WIDTH - LEFT - RIGHT - 140.0)) height=(at(BOX))
            rx="20" {}
        text x=(at(f64::midpoint(LEFT, WIDTH - RIGHT))) y=(at(y + BOX / 2.0 + 4.0)) text-anchor="middle" { "image "
            (network.input) }
    }
}

/// From the end of a box to the beginning of a later one; past the boxes between them at the left.
fn arrow(from: f64, to: f64, is_next: bool) -> Markup {
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    html! {
        @if is_next {
            line class="flow" x1=(at(middle)) x2=(at(middle)) y1=(at(from)) y2=(at(to)) {}
            path class="flow" d=(format!("M {} {} l 4 -5 m -4 5 l -4 -5", at(middle), at(to))) {}
        } @else {
            @let (start, far) = (LEFT + 24.0, 8.0);
            path class="flow" d=(format!(
                "M {} {} C {far} {}, {far} {}, {far} {} C {far} {}, {far} {}, {} {}",
                at(start), at(from), at(from), at(from + 10.0), at(f64::midpoint(from, to)), at(to - 10.0), at(to),
                    at(start), at(to)
            )) {}
        }
    }
}
