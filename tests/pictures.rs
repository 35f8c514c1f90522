//! Every kind of image file as the same bytes.

use nasgen::data::{Fit, ImageFormat, Source, read_image};
use std::{fs, io::Write, path::Path};

/// Colours of four pixels, two by two, which all kinds of files can hold to the bit.
const COLOURS: [[u8; 3]; 4] = [[0, 0, 0], [255, 0, 0], [17, 153, 85], [255, 255, 255]];
/// The same for files without colours.
const GREYS: [u8; 4] = [0, 255, 85, 170];

/// A PNG file of 2×2 pixels; each of the two lines of `data` has no filter.
fn png(bits: u8, kind: u8, palette: Option<(&[u8], &[u8])>, data: [&[u8]; 2]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], content: &[u8]| {
        let named = [name, content].concat();
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(&named);
        file.extend(crc32fast::hash(&named).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 2, bits, kind, 0, 0, 0]);
    if let Some((colours, opacities)) = palette {
        chunk(b"PLTE", colours);
        if !opacities.is_empty() {
            chunk(b"tRNS", opacities);
        }
    }
    let lines = [&[0], data[0], &[0], data[1]].concat();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&lines).unwrap();
    chunk(b"IDAT", &packed.finish().unwrap());
    chunk(b"IEND", &[]);
    file
}

/// Two lines of pixels, each pixel written by `write`.
fn lines<T: Copy>(pixels: [T; 4], write: impl Fn(T) -> Vec<u8>) -> [Vec<u8>; 2] {
    [0, 2].map(|first| [write(pixels[first]), write(pixels[first + 1])].concat())
}

/// All kinds of colour type and depth that PNG has: its name, whether it has colours, the file.
fn kinds() -> Vec<(&'static str, bool, Vec<u8>)> {
    let deep = |value: u8| [value, value];
    let plain = |bits, kind, lines: [Vec<u8>; 2]| png(bits, kind, None, [&lines[0], &lines[1]]);
    let palette: Vec<u8> = COLOURS.concat();
    let indexed = |bits: u8, opacities: &[u8]| {
        let packed = |pixels: [u8; 2]| match bits {
            8 => pixels.to_vec(),
            bits => vec![pixels[0] << (8 - bits) | pixels[1] << (8 - 2 * bits)],
        };
        png(bits, 3, Some((&palette, opacities)), [&packed([0, 1]), &packed([2, 3])])
    };
    vec![
        ("grey, 2 bits", false, png(2, 0, None, [&[0b0011_0000], &[0b0110_0000]])),
        ("grey, 8 bits", false, plain(8, 0, lines(GREYS, |grey| vec![grey]))),
        ("grey, 16 bits", false, plain(16, 0, lines(GREYS, |grey| deep(grey).to_vec()))),
        ("grey and opacity", false, plain(8, 4, lines(GREYS, |grey| vec![grey, 77]))),
        ("grey and opacity, 16 bits", false, plain(16, 4, lines(GREYS, |grey| vec![grey, grey, 1, 2]))),
        ("RGB", true, plain(8, 2, lines(COLOURS, |colour| colour.to_vec()))),
        ("RGB, 16 bits", true, plain(16, 2, lines(COLOURS, |colour| colour.map(deep).concat()))),
        ("RGBA", true, plain(8, 6, lines(COLOURS, |[r, g, b]| vec![r, g, b, 0]))),
        ("RGBA, 16 bits", true, plain(16, 6, lines(COLOURS, |c| [c.map(deep).concat(), vec![0, 9]].concat()))),
        ("palette, 2 bits", true, indexed(2, &[])),
        ("palette, 4 bits", true, indexed(4, &[])),
        ("palette, 8 bits", true, indexed(8, &[])),
        ("palette with opacity", true, indexed(8, &[255, 0, 128])),
    ]
}

fn format(channels: usize) -> ImageFormat {
    ImageFormat { channels, height: 2, width: 2, fit: Fit::Letterbox }
}

#[test]
fn every_kind_of_png_gives_its_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.png");
    let planes: Vec<u8> = (0..3).flat_map(|channel| COLOURS.map(|colour| colour[channel])).collect();
    // What Pillow's `convert("L")` makes of the colours.
    let luma = [0, 76, 105, 255];
    for (name, has_colours, file) in kinds() {
        fs::write(&path, file).unwrap();
        let read = |channels| read_image(&path, &format(channels)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (colour, grey) = if has_colours { (planes.clone(), luma) } else { (GREYS.repeat(3), GREYS) };
        assert_eq!(read(3), colour, "{name}");
        assert_eq!(read(1), grey, "{name}");
    }
}

#[test]
fn a_folder_may_mix_kinds_and_formats() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    for class in ["a", "b"] {
        fs::create_dir_all(photos.join(class)).unwrap();
        for (number, (_, _, file)) in kinds().into_iter().enumerate() {
            fs::write(photos.join(class).join(format!("{number}.png")), file).unwrap();
        }
        let picture = image::RgbImage::from_pixel(2, 2, image::Rgb([200, 100, 50]));
        for ending in ["jpg", "bmp", "webp"] {
            picture.save(photos.join(class).join(format!("photo.{ending}"))).unwrap();
        }
    }
    let load = |path: &Path, channels| Source::Folder(path.to_owned()).load(&format(channels)).unwrap();
    let colour = load(&photos, 3);
    assert_eq!(colour.train.len(), 2 * (kinds().len() + 3));
    assert_eq!(colour.notes, ["10 grey images converted to colour"]);
    assert_eq!(load(&photos, 1).notes, ["22 colour images converted to grey"]);
}
