//! Every kind of image file as the same bytes.

use crate::program::nasgen;
use nasgen::data::{Fit, ImageFormat, Room, Source, read_image};
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
    let load =
        |path: &Path, channels| Source::Folder(path.to_owned()).load(&format(channels), &Room::default()).unwrap();
    let colour = load(&photos, 3);
    assert_eq!(colour.train.len(), 2 * (kinds().len() + 3));
    assert_eq!(colour.notes, ["10 grey images converted to colour"]);
    assert_eq!(load(&photos, 1).notes, ["22 colour images converted to grey"]);
}

/// Images that wait in a file are the images that wait in memory: weights, measures and answers are the same.
#[test]
fn a_training_is_the_same_wherever_its_images_wait() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for class in 0..2u8 {
        let photos = here.join(format!("photos/{class}"));
        fs::create_dir_all(&photos).unwrap();
        for number in 0..40u8 {
            let pixel = |x: u32, y: u32| image::Rgb([(x * 9) as u8 ^ number, (y * 7) as u8, class * 120 + number]);
            image::RgbImage::from_fn(20, 18, pixel).save(photos.join(format!("{number}.png"))).unwrap();
        }
        fs::write(photos.join("broken.png"), "text").unwrap();
    }
    fs::write(here.join("cfg.yml"), "input_size: [16, 16]\nbackbone: [[1, Conv, [8, 3, 2]], [1, GlobalAvgPool, []], [1, Flatten, []], [1, Linear, [2]]]\n").unwrap();
    let train = "train cfg.yml --data photos --epochs 2 --batch 8 --augment mixup --seed 3";
    let run = |name: &str, flags: &str| {
        let (code, stdout, stderr) = nasgen(here, &format!("{train} --run {name} {flags}"));
        assert_eq!(code, 0, "{stdout}{stderr}");
        let bytes = |file: &str| fs::read(here.join(name).join(file)).unwrap();
        (bytes("best.safetensors"), bytes("last.safetensors"), bytes("split.csv"), stdout + &stderr)
    };
    let memory = run("memory", "");
    let disk = run("disk", "--image-memory 1k --cache cache/images");
    assert!(memory.0 == disk.0 && memory.1 == disk.1 && memory.2 == disk.2);
    assert!(memory.3.contains("decoded, they take 61.4 kB of memory"), "{}", memory.3);
    assert!(disk.3.contains("61.4 kB wait in a temporary file in cache/images"), "{}", disk.3);
    assert!(disk.3.contains("decoded, they take 61.4 kB of disk"), "{}", disk.3);
    assert!(disk.3.contains("2 unreadable images skipped: 0/broken.png, 1/broken.png"), "{}", disk.3);
    assert_eq!(fs::read_dir(here.join("cache/images")).unwrap().count(), 0, "nothing is left behind");
    let measured = |flags: &str| nasgen(here, &format!("eval memory --split train --tta flips --json {flags}")).1;
    assert_eq!(measured("--image-memory 0 --cache cache"), measured(""));
    let (code, _, stderr) = nasgen(here, &format!("{train} --run none --image-memory 0 --cache cfg.yml/cache"));
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains(
            "of decoded images do not fit the memory, and a temporary file for them in `cfg.yml/cache` failed"
        ),
        "{stderr}"
    );
    assert!(!here.join("none").exists());
}
