//! What can be done to one image, each as torchvision's `transforms.v2.functional` does it to a tensor
//! of bytes.

/// A change of one image of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// Mirrors left to right.
    Flip,
    /// Turns around the middle, shears and moves, by the nearest pixel; what is uncovered is black.
    Affine {
        /// Degrees, clockwise.
        angle: f64,
        /// Pixels to the right and down.
        translate: [f64; 2],
        /// Degrees along x and y.
        shear: [f64; 2],
        /// Whether around the top left corner instead of the middle.
        at_corner: bool,
    },
    /// Mixes with black: 0 is black, 1 the image.
    Brightness(f64),
    /// Mixes with the mean grey.
    Contrast(f64),
    /// Mixes with the grey image; nothing for grey images.
    Saturation(f64),
    /// Turns the colours by this share of the circle, -0.5 to 0.5; nothing for grey images.
    Hue(f64),
    /// Mixes with a smoothed image.
    Sharpness(f64),
    /// Keeps so many of the upper bits, 0 to 8.
    Posterize(u32),
    /// Inverts what is at least so bright.
    Solarize(f64),
    /// Stretches each channel to the whole range.
    AutoContrast,
    /// Makes all values of each channel about equally frequent.
    Equalize,
    /// 255 minus the value.
    Invert,
    /// Gaussian blur.
    Blur {
        /// Side of the kernel, odd.
        kernel: usize,
        /// Standard deviation, pixels.
        sigma: f64,
    },
    /// Fills a rectangle with black.
    Erase {
        /// First row, first column, rows, columns.
        window: [usize; 4],
    },
    /// Cuts a window out and brings it back to the image's size, bilinearly.
    ResizedCrop {
        /// First row, first column, rows, columns.
        window: [usize; 4],
    },
}

/// An image of bytes, channels first.
pub struct Canvas<'a> {
    /// 1 or 3.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels × height × width`
    pub pixels: &'a mut [u8],
}

impl Operation {
    /// Does it.
    pub fn apply(self, canvas: &mut Canvas<'_>) {
        match self {
            Self::Flip => canvas.pixels.chunks_exact_mut(canvas.width).for_each(<[u8]>::reverse),
            Self::Affine { angle, translate, shear, at_corner } => affine(canvas, angle, translate, shear, at_corner),
            Self::Brightness(factor) => canvas.each(|value| mixed(value, 0.0, factor)),
            Self::Contrast(factor) => {
                let grey = canvas.grey();
                let mean = (grey.iter().map(|value| f64::from(*value)).sum::<f64>() / grey.len() as f64) as f32;
                canvas.each(|value| mixed(value, mean, factor));
            }
            Self::Saturation(factor) if canvas.channels == 3 => {
                let grey = canvas.grey();
                for plane in canvas.pixels.chunks_exact_mut(grey.len()) {
                    plane.iter_mut().zip(&grey).for_each(|(value, grey)| *value = mixed(*value, *grey, factor));
                }
            }
            Self::Saturation(_) => {}
            Self::Hue(turn) if canvas.channels == 3 => hue(canvas, turn as f32),
            Self::Hue(_) => {}
            Self::Sharpness(factor) => sharpness(canvas, factor),
            Self::Posterize(bits) => {
                let mask = if bits >= 8 { 255 } else { !(255u8 >> bits) };
                canvas.each(|value| value & mask);
            }
            Self::Solarize(threshold) => {
                canvas.each(|value| if f64::from(value) >= threshold { 255 - value } else { value });
            }
            Self::AutoContrast => canvas.planes().for_each(auto_contrast),
            Self::Equalize => canvas.planes().for_each(equalize),
            Self::Invert => canvas.each(|value| 255 - value),
            Self::Blur { kernel, sigma } => blur(canvas, kernel, sigma),
            Self::Erase { window: [top, left, rows, columns] } => {
                let (width, height) = (canvas.width, canvas.height);
                for plane in canvas.pixels.chunks_exact_mut(width * height) {
                    for row in plane.chunks_exact_mut(width).skip(top).take(rows) {
                        row[left.min(width)..(left + columns).min(width)].fill(0);
                    }
                }
            }
            Self::ResizedCrop { window } => resized_crop(canvas, window),
        }
    }
}

impl Canvas<'_> {
    fn each(&mut self, change: impl Fn(u8) -> u8) {
        look_up(self.pixels, change);
    }

    fn planes(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.pixels.chunks_exact_mut(self.height * self.width)
    }

    /// Brightness of each pixel, rounded down.
    fn grey(&self) -> Vec<f32> {
        let plane = self.height * self.width;
        if self.channels == 1 {
            return self.pixels.iter().map(|value| f32::from(*value)).collect();
        }
        let value = |channel: usize, pixel: usize| f32::from(self.pixels[channel * plane + pixel]);
        let grey = |pixel| value(0, pixel) * 0.2989 + value(1, pixel) * 0.587 + value(2, pixel) * 0.114;
        // Of what is not negative this is the floor, and no call of a function.
        (0..plane).map(|pixel| (grey(pixel) as u8).into()).collect()
    }
}

/// Changes values one by one; there are only 256.
fn look_up(values: &mut [u8], change: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|value| change(value as u8));
    values.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// The nearest whole number, of two the even one, for values below 2^22: as `round_ties_even`, which is a
/// call of a function on processors that need not have an instruction for it.
fn nearest(value: f32) -> f32 {
    const NO_ROOM_FOR_FRACTIONS: f32 = 12_582_912.0;
    (value + NO_ROOM_FOR_FRACTIONS) - NO_ROOM_FOR_FRACTIONS
}

/// The same for values below 2^51.
fn nearest_f64(value: f64) -> f64 {
    const NO_ROOM_FOR_FRACTIONS: f64 = 6_755_399_441_055_744.0;
    (value + NO_ROOM_FOR_FRACTIONS) - NO_ROOM_FOR_FRACTIONS
}

/// `factor` of `value`, the rest of `other`, rounded down.
fn mixed(value: u8, other: f32, factor: f64) -> u8 {
    (f32::from(value) * factor as f32 + other * (1.0 - factor) as f32).clamp(0.0, 255.0) as u8
}

/// Through hue, saturation and value, in `0.0..=1.0`.
fn hue(canvas: &mut Canvas<'_>, turn: f32) {
    let plane = canvas.height * canvas.width;
    let (red, rest) = canvas.pixels.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let [r, g, b] = [*red, *green, *blue].map(|value| f32::from(value) / 255.0);
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        if most == least {
            // Grey has no hue.
            continue;
        }
        let [r_from, g_from, b_from] = [r, g, b].map(|value| (most - value) / (most - least));
        let sixths = if most == r {
            b_from - g_from
        } else if most == g {
            r_from + 2.0 - b_from
        } else {
            g_from + 4.0 - r_from
        };
        let hue = (sixths * (1.0 / 6.0) + 1.0) % 1.0;
        let saturation = (most - least) / most;
        let sixths = (hue + turn).rem_euclid(1.0) * 6.0;
        let sector = sixths as u8;
        let (falling, rising) = (saturation * (sixths - f32::from(sector)), 1.0 - saturation);
        let [down, up, low] = [1.0 - falling, falling + rising, rising].map(|share| (share * most).clamp(0.0, 1.0));
        let colour = match sector % 6 {
            0 => [most, up, low],
            1 => [down, most, low],
            2 => [low, most, up],
            3 => [low, down, most],
            4 => [up, low, most],
            _ => [most, low, down],
        };
        // Each of the 256 values is given an equal share of the range, as torchvision does.
        [*red, *green, *blue] = colour.map(|value| (value * (256.0 - 1e-3)) as u8);
    }
}

/// Each pixel is the nearest one of where the inverse of the map takes its middle.
fn affine(canvas: &mut Canvas<'_>, angle: f64, translate: [f64; 2], shear: [f64; 2], at_corner: bool) {
    let (width, height) = (canvas.width as f64, canvas.height as f64);
    let centre = if at_corner { [-width / 2.0, -height / 2.0] } else { [0.0; 2] };
    let [turn, along_x, along_y] = [angle, shear[0], shear[1]].map(f64::to_radians);
    let [a, b, c, d] = [
        (turn - along_y).cos() / along_y.cos(),
        -(turn - along_y).cos() * along_x.tan() / along_y.cos() - turn.sin(),
        (turn - along_y).sin() / along_y.cos(),
        -(turn - along_y).sin() * along_x.tan() / along_y.cos() + turn.cos(),
    ];
    let back = |x: f64, y: f64| (d * x - b * y, -c * x + a * y);
    let before = canvas.pixels.to_vec();
    let plane = canvas.width * canvas.height;
    // Where each pixel comes from; none is black.
    let mut sources = vec![usize::MAX; plane];
    for (y, line) in sources.chunks_exact_mut(canvas.width).enumerate() {
        for (x, source) in line.iter_mut().enumerate() {
            let from_centre = (
                x as f64 + 0.5 - width / 2.0 - centre[0] - translate[0],
                y as f64 + 0.5 - height / 2.0 - centre[1] - translate[1],
            );
            let (x_from, y_from) = back(from_centre.0, from_centre.1);
            // Halves go to the even neighbour.
            let column = nearest_f64(x_from + centre[0] + width / 2.0 - 0.5);
            let row = nearest_f64(y_from + centre[1] + height / 2.0 - 0.5);
            if (0.0..width).contains(&column) && (0.0..height).contains(&row) {
                *source = (row * width + column) as i64 as usize;
            }
        }
    }
    for (plane, before) in canvas.planes().zip(before.chunks_exact(plane)) {
        for (value, source) in plane.iter_mut().zip(&sources) {
            *value = before.get(*source).copied().unwrap_or(0);
        }
    }
}

/// Smooths with 1 1 1, 1 5 1, 1 1 1; the outermost pixels stay.
fn sharpness(canvas: &mut Canvas<'_>, factor: f64) {
    let (width, height) = (canvas.width, canvas.height);
    if width <= 2 || height <= 2 {
        return;
    }
    let before = canvas.pixels.to_vec();
    let mut columns = vec![0u16; width];
    for (plane, before) in canvas.planes().zip(before.chunks_exact(width * height)) {
        for y in 1..height - 1 {
            let [above, middle, below] = [y - 1, y, y + 1].map(|row| &before[row * width..][..width]);
            for (x, sum) in columns.iter_mut().enumerate() {
                *sum = u16::from(above[x]) + u16::from(middle[x]) + u16::from(below[x]);
            }
            let line = &mut plane[y * width + 1..][..width - 2];
            for ((value, sums), centre) in line.iter_mut().zip(columns.windows(3)).zip(&middle[1..]) {
                let sum = sums[0] + sums[1] + sums[2] + 4 * u16::from(*centre);
                *value = mixed(*centre, nearest(f32::from(sum) / 13.0), factor);
            }
        }
    }
}

fn auto_contrast(plane: &mut [u8]) {
    let (low, high) = plane.iter().fold((255, 0), |(low, high), value| (low.min(*value), high.max(*value)));
    if low >= high {
        return;
    }
    let scale = f32::from(high - low) * (1.0 / 255.0);
    look_up(plane, |value| (f32::from(value.saturating_sub(low)) / scale).clamp(0.0, 255.0) as u8);
}

/// Pillow's scheme.
fn equalize(plane: &mut [u8]) {
    let mut counts = [0usize; 256];
    plane.iter().for_each(|value| counts[usize::from(*value)] += 1);
    let brightest = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let step = (plane.len() - counts[brightest]) / 255;
    if step == 0 {
        return;
    }
    let mut below = 0;
    let table: Vec<u8> = counts
        .iter()
        .map(|count| {
            let value = if below == 0 { 0 } else { ((below + step / 2) / step).min(255) };
            below += count;
            value as u8
        })
        .collect();
    plane.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// The border is mirrored, without the outermost pixel.
fn blur(canvas: &mut Canvas<'_>, kernel: usize, sigma: f64) {
    let (width, height) = (canvas.width, canvas.height);
    let half = (kernel / 2) as isize;
    let mut weights: Vec<f32> =
        (-half..=half).map(|offset| (-0.5 * (offset as f64 / sigma).powi(2)).exp() as f32).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    let mirrored = |at: isize, length: usize| {
        let last = length as isize - 1;
        let at = if at < 0 { -at } else { at };
        let at = if at > last { 2 * last - at } else { at };
        at.clamp(0, last) as usize
    };
    let mut across = vec![0.0f32; width * height];
    let mut line = vec![0.0f32; width + 2 * half as usize];
    for plane in canvas.pixels.chunks_exact_mut(width * height) {
        for (row, across) in plane.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            for (value, at) in line.iter_mut().zip(-half..) {
                *value = f32::from(row[mirrored(at, width)]);
            }
            for (sum, values) in across.iter_mut().zip(line.windows(weights.len())) {
                *sum = weights.iter().zip(values).map(|(weight, value)| weight * value).sum();
            }
        }
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            let sums = &mut line[..width];
            sums.fill(0.0);
            for (weight, offset) in weights.iter().zip(-half..) {
                let from = &across[mirrored(y as isize + offset, height) * width..][..width];
                sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
            }
            row.iter_mut().zip(sums).for_each(|(value, sum)| *value = nearest(*sum).clamp(0.0, 255.0) as u8);
        }
    }
}

/// First across, then down; what stands between is rounded to bytes, as torchvision does.
fn resized_crop(canvas: &mut Canvas<'_>, [top, left, rows, columns]: [usize; 4]) {
    let (width, height) = (canvas.width, canvas.height);
    let before = canvas.pixels.to_vec();
    let (across, down) = (taps(columns, width), taps(rows, height));
    let rounded = |sum: f32| nearest(sum).clamp(0.0, 255.0) as u8;
    let mut narrow = vec![0u8; rows * width];
    for (plane, before) in canvas.planes().zip(before.chunks_exact(width * height)) {
        for (row, line) in narrow.chunks_exact_mut(width).enumerate() {
            let from = &before[(top + row) * width + left..];
            for (value, taps) in line.iter_mut().zip(&across) {
                *value = rounded(taps.iter().map(|(column, weight)| weight * f32::from(from[*column])).sum());
            }
        }
        for (y, taps) in down.iter().enumerate() {
            for x in 0..width {
                let value = |(row, weight): &(usize, f32)| weight * f32::from(narrow[row * width + x]);
                plane[y * width + x] = rounded(taps.iter().map(value).sum());
            }
        }
    }
}

/// For each of `to` places the ones of `from` that it is a mean of, with their weights: a triangle as wide
/// as a place, so that shrinking averages.
fn taps(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let place = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).floor().max(0.0) as usize;
        let last = ((centre + support + 0.5).floor() as usize).min(from);
        let weight = |at: usize| (1.0 - ((at as f64 + 0.5 - centre) / support).abs()).max(0.0);
        let sum: f64 = (first..last).map(weight).sum();
        (first..last).map(|at| (at, (weight(at) / sum) as f32)).collect()
    };
    (0..to).map(place).collect()
}
