//! A range test of learning rates as a picture.

use crate::train::{RATES, RangeTest};
use embedded_graphics::{
    mono_font::{MonoTextStyle, ascii::FONT_10X20},
    pixelcolor::Rgb888,
    prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Point, Primitive, RgbColor, Size},
    primitives::{Circle, Line, Polyline, PrimitiveStyle},
    text::{Alignment, Text, TextStyleBuilder},
};
use image::{ImageError, RgbImage, codecs::png::PngEncoder};
use std::{convert::Infallible, io::Cursor};

const WIDTH: i32 = 1000;
const HEIGHT: i32 = 620;
/// Of the plot within the picture.
const LEFT: i32 = 90;
const RIGHT: i32 = 960;
const TOP: i32 = 80;
const BOTTOM: i32 = 530;

const INK: Rgb888 = Rgb888::new(40, 40, 40);
const FAINT: Rgb888 = Rgb888::new(222, 222, 222);
const SINGLE: Rgb888 = Rgb888::new(160, 185, 215);
const SMOOTH: Rgb888 = Rgb888::new(31, 90, 180);
const CHOSEN: Rgb888 = Rgb888::new(200, 60, 20);

/// Pixels that shapes are drawn on.
struct Sheet(RgbImage);

impl OriginDimensions for Sheet {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Sheet {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = image::Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

/// A PNG file: the loss over the learning rate, its smoothed course, and the suggested rate.
///
/// # Errors
/// When the picture cannot be written.
pub fn lr_chart(test: &RangeTest) -> Result<Vec<u8>, ImageError> {
    let mut sheet = Sheet(RgbImage::from_pixel(WIDTH as u32, HEIGHT as u32, image::Rgb([255; 3])));
    let Ok(()) = draw(&mut sheet, test);
    let mut file = Cursor::new(Vec::new());
    sheet.0.write_with_encoder(PngEncoder::new(&mut file))?;
    Ok(file.into_inner())
}

/// From values to pixels.
struct Axes {
    /// Logarithms (base 10) of the lowest and the highest rate.
    rates: [f64; 2],
    losses: [f64; 2],
}

impl Axes {
    fn of(test: &RangeTest) -> Self {
        if test.points.is_empty() {
            return Self { rates: RATES.map(f64::log10), losses: [0.0, 1.0] };
        }
        let rates: Vec<f64> = test.points.iter().map(|point| point.learning_rate.log10()).collect();
        let lowest = test.points.iter().map(|point| point.loss.min(point.smoothed)).fold(f64::INFINITY, f64::min);
        // What explodes leaves the picture: else all the rest of it would be flat.
        let first = test.points.first().map_or(1.0, |point| point.smoothed);
        let highest = test.points.iter().map(|point| point.loss).fold(first, f64::max).min(first + (first - lowest));
        let margin = ((highest - lowest) * 0.08).max(1e-3);
        let rates = [rates.first().copied().unwrap_or(-6.0), rates.last().copied().unwrap_or(0.0)];
        Self { rates: [rates[0], rates[1].max(rates[0] + 1e-3)], losses: [lowest - margin, highest + margin] }
    }

    fn x(&self, rate: f64) -> i32 {
        let share = (rate.log10() - self.rates[0]) / (self.rates[1] - self.rates[0]);
        LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn y(&self, loss: f64) -> i32 {
        let share = ((loss - self.losses[0]) / (self.losses[1] - self.losses[0])).clamp(-0.02, 1.02);
        BOTTOM - (share * f64::from(BOTTOM - TOP)).round() as i32
    }
}

fn draw(sheet: &mut Sheet, test: &RangeTest) -> Result<(), Infallible> {
    let axes = Axes::of(test);
    let write = |sheet: &mut Sheet, text: &str, at: Point, colour: Rgb888, alignment: Alignment| {
        let style = TextStyleBuilder::new().alignment(alignment).build();
        Text::with_text_style(text, at, MonoTextStyle::new(&FONT_10X20, colour), style).draw(sheet).map(drop)
    };
    let line = |sheet: &mut Sheet, from: [i32; 2], to: [i32; 2], colour: Rgb888, width: u32| {
        let line = Line::new(Point::new(from[0], from[1]), Point::new(to[0], to[1]));
        line.into_styled(PrimitiveStyle::with_stroke(colour, width)).draw(sheet)
    };
    for power in axes.rates[0].round() as i32..=axes.rates[1].round() as i32 {
        let x = axes.x(10f64.powi(power)).clamp(LEFT, RIGHT);
        line(sheet, [x, TOP], [x, BOTTOM], FAINT, 1)?;
        write(sheet, &format!("1e{power}"), Point::new(x, BOTTOM + 26), INK, Alignment::Center)?;
    }
    for loss in ticks(axes.losses) {
        let y = axes.y(loss);
        line(sheet, [LEFT, y], [RIGHT, y], FAINT, 1)?;
        write(sheet, &format!("{loss:.2}"), Point::new(LEFT - 10, y + 6), INK, Alignment::Right)?;
    }
    line(sheet, [LEFT, BOTTOM], [RIGHT, BOTTOM], INK, 2)?;
    line(sheet, [LEFT, TOP], [LEFT, BOTTOM], INK, 2)?;

    for point in &test.points {
        let centre = Point::new(axes.x(point.learning_rate), axes.y(point.loss));
        Circle::with_center(centre, 5).into_styled(PrimitiveStyle::with_fill(SINGLE)).draw(sheet)?;
    }
    let course: Vec<Point> =
        test.points.iter().map(|point| Point::new(axes.x(point.learning_rate), axes.y(point.smoothed))).collect();
    Polyline::new(&course).into_styled(PrimitiveStyle::with_stroke(SMOOTH, 3)).draw(sheet)?;

    let heading = match test.suggestion() {
        Some(rate) => {
            let x = axes.x(rate);
            line(sheet, [x, TOP], [x, BOTTOM], CHOSEN, 2)?;
            format!("suggested learning rate {rate:.2e}: the loss falls most steeply here")
        }
        None => "no suggestion: the loss does not fall".into(),
    };
    write(sheet, &heading, Point::new(LEFT, 34), CHOSEN, Alignment::Left)?;
    write(sheet, "o  loss of one step", Point::new(LEFT, 62), SINGLE, Alignment::Left)?;
    write(sheet, "-  smoothed loss", Point::new(LEFT + 240, 62), SMOOTH, Alignment::Left)?;
    if test.exploded {
        write(sheet, "it ended early: the loss exploded", Point::new(RIGHT, 62), INK, Alignment::Right)?;
    }
    write(sheet, "learning rate", Point::new((LEFT + RIGHT) / 2, BOTTOM + 62), INK, Alignment::Center)?;
    write(sheet, "loss", Point::new(LEFT - 10, TOP - 12), INK, Alignment::Right)
}

/// Round numbers between two others, about six of them.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..).map(|count| count as f64 * step).take_while(|tick| *tick <= high).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let rounded: Vec<String> = ticks([0.93, 2.41]).iter().map(|tick| format!("{tick:.2}")).collect();
        assert_eq!(rounded, ["1.00", "1.50", "2.00"]);
        assert_eq!(ticks([0.0, 6.0]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_test_without_points_has_a_picture_too() {
        let picture = image::load_from_memory(&lr_chart(&RangeTest::default()).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (1000, 620));
    }
}
