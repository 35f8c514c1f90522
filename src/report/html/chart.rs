//! Charts over plain data, drawn as SVG: curves, points with a front, parallel coordinates, heat maps,
//! lanes of time. Points say their exact values when the pointer rests on them.

use super::{at, number};
use maud::{Markup, html};

/// Width and height of a chart. One unit is about a pixel on a narrow screen, where text must be legible.
const SIZE: [f64; 2] = [360.0, 230.0];
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 38.0;
/// Colours that the page has.
const COLOURS: usize = 6;
/// Points of a curve up to which each has a mark.
const MARKED: usize = 40;

/// One direction of a chart.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// Whether equal distances are equal factors. Values of 0 and less are then left out.
    pub log: bool,
    /// Values that must be on it, such as 0.
    pub include: Vec<f64>,
    /// Whether only whole numbers are named.
    pub whole: bool,
}

impl Axis {
    /// An axis that shows what the data has.
    pub fn new(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// An axis on which `values` are seen too.
    #[must_use]
    pub fn with(mut self, values: &[f64]) -> Self {
        self.include.extend(values);
        self
    }

    /// An axis of things that are counted.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// An axis of factors.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }
}

/// Points that belong together.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// Across and up.
    pub points: Vec<[f64; 2]>,
}

/// Curves: one colour for each series; `marks` are places across that bear a name.
pub fn lines(title: &str, across: &Axis, up: &Axis, series: &[Series], marks: &[(f64, String)]) -> Markup {
    let all = || series.iter().flat_map(|series| series.points.iter().copied());
    let Some(plane) = Plane::of(all(), across, up) else { return nothing(title) };
    let body = html! {
        (plane.frame())
        @for (place, _) in marks {
            @let x = plane.x(*place);
            line class="axis faint" stroke-dasharray="4 3" x1=(at(x)) x2=(at(x)) y1=(at(TOP)) y2=(at(SIZE[1] -
                BOTTOM)) {}
        }
        @for (index, series) in series.iter().enumerate() {
            @let points: Vec<[f64; 2]> = plane.places(&series.points).collect();
            g class={ "s" (index % COLOURS) } {
                polyline class="line stroke" points=(path(&points)) {}
                @if points.len() <= MARKED {
                    @for (place, value) in points.iter().zip(plane.visible(&series.points)) {
                        (dot(*place, 2.6, &format!("{}: {} at {}", series.name, number(value[1]), number(value[0]))))
                    }
                }
            }
        }
    };
    let names = series.iter().map(|series| series.name.as_str());
    figure(title, SIZE, &legend(names, marks.iter().map(|(_, name)| name.as_str())), &body)
}

/// A point of a scatter chart.
#[derive(Clone, Debug)]
pub struct Point {
    /// Across and up.
    pub place: [f64; 2],
    /// What it is, seen when the pointer rests on it.
    pub name: String,
    /// Whether it belongs to the front (or another line through the best points).
    pub front: bool,
}

/// Points, and a line through those of the front.
pub fn scatter(title: &str, across: &Axis, up: &Axis, points: &[Point], names: [&str; 2]) -> Markup {
    let Some(plane) = Plane::of(points.iter().map(|point| point.place), across, up) else { return nothing(title) };
    let mut front: Vec<[f64; 2]> = points.iter().filter(|point| point.front).map(|point| point.place).collect();
    front.sort_by(|one, other| one[0].total_cmp(&other[0]));
    let front: Vec<[f64; 2]> = plane.places(&front).collect();
    let body = html! {
        (plane.frame())
        g class="s0" { @for point in points.iter().filter(|point| !point.front && plane.sees(point.place)) {
            g class="faint" { (dot(plane.place(point.place), 3.0, &point.name)) }
        } }
        g class="s1" {
            polyline class="line stroke" points=(path(&front)) {}
            @for point in points.iter().filter(|point| point.front && plane.sees(point.place)) {
                (dot(plane.place(point.place), 4.0, &point.name))
            }
        }
    };
    figure(title, SIZE, &legend(names.into_iter(), [].into_iter()), &body)
}

/// One axis of parallel coordinates.
#[derive(Clone, Debug)]
pub struct Coordinate {
    /// What it shows.
    pub name: String,
    /// Names of its values from below, if they are no numbers; values are then positions in this list.
    pub names: Vec<String>,
    /// Whether equal distances are equal factors.
    pub log: bool,
}

/// Parallel coordinates: a line for each row of values, those of `highlighted` on top and in another colour. A
/// value that is not finite is absent.
pub fn parallel(title: &str, coordinates: &[Coordinate], rows: &[Vec<f64>], highlighted: &[bool]) -> Markup {
    const STEP: f64 = 92.0;
    // Names stand aslant over their axes, so that long ones do not meet: of a letter's width so much is height.
    const LETTER: f64 = 6.4;
    const SLANT: f64 = 30.0;
    let longest = coordinates.iter().map(|coordinate| coordinate.name.chars().count()).max().unwrap_or(0) as f64;
    let (rise, reach) = (SLANT.to_radians().sin() * LETTER * longest, SLANT.to_radians().cos() * LETTER * longest);
    let top = 34.0 + rise;
    let size = [LEFT + STEP * (coordinates.len().max(2) - 1) as f64 + reach.max(STEP), top + 226.0];
    let bottom = size[1] - 22.0;
    let x = |index: usize| LEFT / 2.0 + 20.0 + STEP * index as f64;
    let scales: Vec<Option<Scale>> = coordinates
        .iter()
        .enumerate()
        .map(|(index, coordinate)| {
            let positions = (0..coordinate.names.len()).map(|position| position as f64);
            let values = rows.iter().filter_map(|row| row.get(index)).copied().chain(positions);
            Scale::of(values, coordinate.log, [bottom, top])
        })
        .collect();
    let place = |row: &[f64]| -> Vec<[f64; 2]> {
        let places = scales.iter().zip(row).enumerate();
        places
            .filter_map(|(index, (scale, value))| {
                let scale = scale.as_ref().filter(|scale| scale.sees(*value))?;
                Some([x(index), scale.at(*value)])
            })
            .collect()
    };
    let is_highlighted = |index: &usize| highlighted.get(*index).copied().unwrap_or(false);
    let body = html! {
        @for chosen in [false, true] {
            g class=(if chosen { "s1" } else { "s0 faint" }) {
                @for index in (0..rows.len()).filter(|index| is_highlighted(index) == chosen) {
                    polyline class="line stroke" points=(path(&place(&rows[index]))) {}
                }
            }
        }
        @for (index, (coordinate, scale)) in coordinates.iter().zip(&scales).enumerate() {
            line class="axis" x1=(at(x(index))) x2=(at(x(index))) y1=(at(top)) y2=(at(bottom)) {}
            text transform=(format!("translate({} {}) rotate(-{SLANT})", at(x(index)), at(top - 20.0))) { (coordinate.name) }
            @if let Some(scale) = scale {
                @if coordinate.names.is_empty() {
                    @for (value, y) in [(scale.high, top - 4.0), (scale.low, bottom + 14.0)] {
                        text class="soft" x=(at(x(index))) y=(at(y)) text-anchor="middle" { (number(value)) }
                    }
                } @else {
                    @for (position, name) in coordinate.names.iter().enumerate() {
                        text class="soft" x=(at(x(index) + 5.0)) y=(at(scale.at(position as f64) + 4.0)) { (name) }
                    }
                }
            }
        }
    };
    html! { div class="scroll" { (figure(title, size, &html! {}, &body)) } }
}

/// A table of counts or measures as colours: the higher the share of its row, the darker. On the diagonal
/// of a square one stand the right answers, elsewhere the wrong ones, in another colour.
pub fn heat_map(
    title: &str,
    rows: &[String],
    columns: &[String],
    values: &[Vec<f64>],
    axes: [&str; 2],
    diagonal: bool,
) -> Markup {
    const NUMBERED: usize = 30;
    let cell = if columns.len() <= 12 {
        34.0
    } else if columns.len() <= NUMBERED {
        26.0
    } else {
        10.0
    };
    let longest = |names: &[String]| names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(16) as f64;
    let (left, top) = (28.0 + 6.8 * longest(rows), 24.0 + 5.4 * longest(columns));
    let size =
        [left + cell * columns.len() as f64 + 8.0 + 3.6 * longest(columns), top + cell * rows.len() as f64 + 8.0];
    let cut = |name: &str| {
        if name.chars().count() > 16 {
            format!("{}…", name.chars().take(15).collect::<String>())
        } else {
            name.to_owned()
        }
    };
    let small = cell < 20.0;
    let body = html! {
        text class="soft" x=(at(left)) y="13" { (axes[1]) " →" }
        text class="soft" x="4" y=(at(top - 6.0)) { (axes[0]) " ↓" }
        @for (column, name) in columns.iter().enumerate().filter(|(column, _)| !small || column % 5 == 0) {
            @let x = left + cell * (column as f64 + 0.5) + 4.0;
            text transform=(format!("translate({} {}) rotate(-55)", at(x), at(top - 5.0))) { (cut(name)) }
        }
        @for (row, name) in rows.iter().enumerate() {
            @let (y, sum) = (top + cell * row as f64, values[row].iter().sum::<f64>());
            @if !small || row % 2 == 0 {
                text x=(at(left - 5.0)) y=(at(y + cell / 2.0 + 4.0)) text-anchor="end" { (cut(name)) }
            }
            @for (column, value) in values[row].iter().enumerate() {
                @let (x, share) = (left + cell * column as f64, if sum > 0.0 { value / sum } else { 0.0 });
                @let colour = if diagonal && row != column { "--bad" } else { "--heat" };
                rect x=(at(x + 0.5)) y=(at(y + 0.5)) width=(at(cell - 1.0)) height=(at(cell - 1.0)) rx="2"
                    style=(format!("fill: rgba(var({colour}), {:.3})", 0.06 + 0.74 * share.sqrt())) {
                    title { (name) " → " (columns[column]) ": " (number(*value)) }
                }
                @if !small && *value != 0.0 {
                    text x=(at(x + cell / 2.0)) y=(at(y + cell / 2.0 + 4.0)) text-anchor="middle" { (number(*value)) }
                }
            }
        }
    };
    html! { div class="scroll" { (figure(title, size, &html! {}, &body)) } }
}

/// Something that took its time in a lane.
#[derive(Clone, Debug)]
pub struct Span {
    /// From, to.
    pub time: [f64; 2],
    /// Which of the kinds it is.
    pub kind: usize,
    /// What it is, seen when the pointer rests on it.
    pub name: String,
}

/// Lanes of time, each with its name; one colour for each of `kinds`.
pub fn timeline(title: &str, across: &Axis, lanes: &[(String, Vec<Span>)], kinds: &[&str]) -> Markup {
    const LANE: f64 = 24.0;
    let spans = || lanes.iter().flat_map(|(_, spans)| spans);
    let left = 16.0 + 6.8 * lanes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(24) as f64;
    let size = [SIZE[0].max(left + 260.0), TOP + LANE * lanes.len() as f64 + BOTTOM];
    let scale = Scale::of(
        spans().flat_map(|span| span.time).chain(across.include.iter().copied()),
        false,
        [left, size[0] - RIGHT],
    );
    let Some(scale) = scale else { return nothing(title) };
    let bottom = size[1] - BOTTOM;
    let body = html! {
        @for (value, name) in scale.ticks() {
            line class="rule" x1=(at(scale.at(value))) x2=(at(scale.at(value))) y1=(at(TOP)) y2=(at(bottom)) {}
            text class="soft" x=(at(scale.at(value))) y=(at(bottom + 15.0)) text-anchor="middle" { (name) }
        }
        text class="soft" x=(at(f64::midpoint(left, size[0]))) y=(at(size[1] - 5.0)) text-anchor="middle" {
            (across.label) }
        @for (lane, (name, spans)) in lanes.iter().enumerate() {
            @let y = TOP + LANE * lane as f64;
            text x=(at(left - 6.0)) y=(at(y + LANE / 2.0 + 4.0)) text-anchor="end" { (name) }
            @for span in spans {
                @let [from, to] = span.time.map(|time| scale.at(time));
                rect class={ "fill s" (span.kind % COLOURS) } x=(at(from)) y=(at(y + 3.0)) width=(at((to -
                    from).max(1.0))) height=(at(LANE - 6.0)) rx="2" {
                    title { (span.name) }
                }
            }
        }
    };
    html! { div class="scroll" { (figure(title, size, &legend(kinds.iter().copied(), [].into_iter()), &body)) } }
}

fn figure(title: &str, [width, height]: [f64; 2], legend: &Markup, body: &Markup) -> Markup {
    html! {
        figure {
            h3 { (title) }
            (legend)
            svg viewBox=(format!("0 0 {} {}", at(width), at(height))) width=(at(width * 1.2)) role="img"
                aria-label=(title) { (body) }
        }
    }
}

fn nothing(title: &str) -> Markup {
    html! { figure { h3 { (title) } p class="soft" { "Nothing to show yet." } } }
}

/// Names beside their colours, of which one alone needs none; then those of dashed lines.
fn legend<'a>(names: impl Iterator<Item = &'a str>, dashed: impl Iterator<Item = &'a str>) -> Markup {
    let names: Vec<&str> = names.collect();
    let colours = if names.len() > 1 { &names[..] } else { &[] };
    html! {
        div class="legend" {
            @for (index, name) in colours.iter().enumerate() { span class={ "s" (index % COLOURS) } { i {} (name) } }
            @for name in dashed { span { i class="dashed" {} (name) } }
        }
    }
}

fn dot([x, y]: [f64; 2], radius: f64, name: &str) -> Markup {
    html! { circle class="fill" cx=(at(x)) cy=(at(y)) r=(at(radius)) { title { (name) } } }
}

fn path(points: &[[f64; 2]]) -> String {
    points.iter().map(|[x, y]| format!("{},{}", at(*x), at(*y))).collect::<Vec<_>>().join(" ")
}

/// From values to places along one direction.
#[derive(Clone, Debug)]
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    whole: bool,
    /// Places of the low and the high value.
    ends: [f64; 2],
}

impl Scale {
    /// None where there is nothing to see.
    fn of(values: impl Iterator<Item = f64>, log: bool, ends: [f64; 2]) -> Option<Self> {
        let seen = values.filter(|value| value.is_finite() && (!log || *value > 0.0));
        let (low, high) =
            seen.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        // One value alone lies in the middle.
        let (low, high) = match (low < high, log) {
            (true, _) => (low, high),
            (false, true) => (low / 2.0, high * 2.0),
            (false, false) => (low - low.abs().max(1.0) * 0.1, high + high.abs().max(1.0) * 0.1),
        };
        Some(Self { low, high, log, whole: false, ends })
    }

    fn sees(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.ends[0] + share * (self.ends[1] - self.ends[0])
    }

    /// Round values on the scale, with their names.
    fn ticks(&self) -> Vec<(f64, String)> {
        let even = || ticks(self.low, self.high);
        // Within one power of ten there may be no round factor.
        let factors = self.log.then(|| log_ticks(self.low, self.high)).filter(|ticks| ticks.len() > 1);
        let mut values = factors.unwrap_or_else(even);
        values.retain(|value| !self.whole || value.fract().abs() < 1e-9);
        let names: Vec<String> = values.iter().map(|value| number(*value)).collect();
        if names.windows(2).all(|pair| pair[0] != pair[1]) {
            return values.into_iter().zip(names).collect();
        }
        // As many digits as tell neighbours apart.
        let nearest = values.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        let decimals = (-nearest.log10().floor()).clamp(0.0, 12.0) as usize;
        values.into_iter().map(|value| (value, format!("{value:.decimals$}"))).collect()
    }
}

/// About five multiples of 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    // Times the step, so that no error adds up.
    (first..=last).map(|index| index as f64 * step).collect()
}

/// Powers of ten, and halves between where there are few.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let every = (powers.clone().count() as i32 / 6).max(1);
    let factors: &[f64] = if powers.clone().count() <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let values =
        powers.step_by(every as usize).flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    values.filter(|value| (low * 0.999..=high * 1.001).contains(value)).collect()
}

/// Two scales.
struct Plane {
    across: Scale,
    up: Scale,
    labels: [String; 2],
}

impl Plane {
    fn of(points: impl Iterator<Item = [f64; 2]> + Clone, across: &Axis, up: &Axis) -> Option<Self> {
        let seen = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
        let visible = points.filter(|point| seen(point[0], across.log) && seen(point[1], up.log));
        let scale = |index: usize, axis: &Axis, ends| {
            let values = visible.clone().map(|point| point[index]);
            visible.clone().next()?;
            let scale = Scale::of(values.chain(axis.include.iter().copied()), axis.log, ends)?;
            Some(Scale { whole: axis.whole, ..scale })
        };
        Some(Self {
            across: scale(0, across, [LEFT, SIZE[0] - RIGHT])?,
            up: scale(1, up, [SIZE[1] - BOTTOM, TOP])?,
            labels: [across.label.clone(), up.label.clone()],
        })
    }

    fn sees(&self, [x, y]: [f64; 2]) -> bool {
        self.across.sees(x) && self.up.sees(y)
    }

    fn x(&self, value: f64) -> f64 {
        self.across.at(value)
    }

    fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.across.at(x), self.up.at(y)]
    }

    fn visible<'a>(&'a self, points: &'a [[f64; 2]]) -> impl Iterator<Item = [f64; 2]> + 'a {
        points.iter().copied().filter(|point| self.sees(*point))
    }

    fn places<'a>(&'a self, points: &'a [[f64; 2]]) -> impl Iterator<Item = [f64; 2]> + 'a {
        self.visible(points).map(|point| self.place(point))
    }

    /// Axes, their names and ticks.
    fn frame(&self) -> Markup {
        let bottom = SIZE[1] - BOTTOM;
        html! {
            @for (value, name) in self.up.ticks() {
                @let y = self.up.at(value);
                line class="rule" x1=(at(LEFT)) x2=(at(SIZE[0] - RIGHT)) y1=(at(y)) y2=(at(y)) {}
                text class="soft" x=(at(LEFT - 5.0)) y=(at(y + 4.0)) text-anchor="end" { (name) }
            }
            @for (value, name) in self.across.ticks() {
                @let x = self.across.at(value);
                line class="rule" x1=(at(x)) x2=(at(x)) y1=(at(TOP)) y2=(at(bottom)) {}
                text class="soft" x=(at(x)) y=(at(bottom + 15.0)) text-anchor="middle" { (name) }
            }
            line class="axis" x1=(at(LEFT)) x2=(at(SIZE[0] - RIGHT)) y1=(at(bottom)) y2=(at(bottom)) {}
            text class="soft" x=(at(f64::midpoint(LEFT, SIZE[0] - RIGHT))) y=(at(SIZE[1] - 5.0)) text-anchor="middle"
                { (self.labels[0]) }
            text class="soft" transform=(format!("translate(11 {}) rotate(-90)", at(f64::midpoint(TOP, bottom))))
                text-anchor="middle" { (self.labels[1]) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(1.0, 30.0), [10.0, 20.0, 30.0]);
        assert_eq!(log_ticks(1e-4, 1e-1), [1e-4, 1e-3, 1e-2, 1e-1]);
        assert_eq!(log_ticks(2e5, 9e5), [2e5, 5e5]);
    }

    #[test]
    fn narrow_ranges_have_ticks_that_differ() {
        let names = |low: f64, high: f64, log: bool| -> Vec<String> {
            let scale = Scale::of([low, high].into_iter(), log, [0.0, 100.0]).unwrap();
            scale.ticks().into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names(1.0986, 1.0994, false), ["1.0986", "1.0988", "1.0990", "1.0992", "1.0994"]);
        assert_eq!(names(1.2, 1.8, true), ["1.2", "1.4", "1.6", "1.8"]);
        assert_eq!(names(1.0, 1000.0, true), ["1", "10", "100", "1000"]);
        assert_eq!(names(0.0, 4.0, false), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn charts_escape_names_and_leave_out_what_cannot_be_drawn() {
        let series = [Series { name: "<b>".into(), points: vec![[1.0, f64::NAN], [2.0, 3.0], [3.0, f64::INFINITY]] }];
        let chart =
            lines("a & b", &Axis::new("<x>"), &Axis::new("y"), &series, &[(2.0, "<best>".into())]).into_string();
        assert!(!chart.contains("<b>") && !chart.contains("<x>") && !chart.contains("<best>"), "{chart}");
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
        assert_eq!(chart.matches("<circle").count(), 1);
        let empty = lines("empty", &Axis::new("x"), &Axis::new("y"), &[], &[]).into_string();
        assert!(empty.contains("Nothing to show yet"));
        let point = |place, front| Point { place, name: "<p>".into(), front };
        let points = [point([1e5, 0.5], true), point([1e6, 0.4], false), point([-1.0, 0.4], false)];
        let chart = scatter("front", &Axis::new("params").log(), &Axis::new("accuracy"), &points, ["others", "front"]);
        assert_eq!(chart.into_string().matches("<circle").count(), 2);
        let coordinate = |names: &[&str]| Coordinate {
            name: "<c>".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            log: false,
        };
        let rows = [vec![0.1, 1.0], vec![0.3, f64::NAN]];
        let chart = parallel("p", &[coordinate(&[]), coordinate(&["<sgd>", "adam"])], &rows, &[true]).into_string();
        assert!(
            chart.matches("<polyline").count() == 2 && !chart.contains("NaN") && !chart.contains("<sgd>"),
            "{chart}"
        );
        let span = Span { time: [0.0, 4.0], kind: 1, name: "<s>".into() };
        let chart = timeline("t", &Axis::new("seconds"), &[("<lane>".into(), vec![span])], &["a", "b"]).into_string();
        assert!(chart.contains("&lt;lane&gt;") && !chart.contains("<s>"), "{chart}");
        let names = ["<one>".to_owned(), "two".into()];
        let chart =
            heat_map("h", &names, &names, &[vec![3.0, 1.0], vec![0.0, 0.0]], ["is", "said"], true).into_string();
        assert!(chart.matches("<rect").count() == 4 && !chart.contains("<one>") && !chart.contains("NaN"), "{chart}");
    }
}
