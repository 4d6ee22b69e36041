//! Kinds of picture files: what keeps its bytes and what is stored as RGB PNG.

use delt_formats::picture::Picture;
use image::ExtendedColorType as Color;

use crate::made_up::{
    Dataset, PALETTE, RGB, encoded_png, ingest, jpeg, picture, png, png_of_chunks, put, with_orientation,
};

const PNG_SIGNATURE: &[u8] = b"\x89PNG";
/// Offset of depth and colour type in a PNG.
const DEPTH_AND_COLOR: std::ops::Range<usize> = 24..26;

/// Ingests one picture, and returns the bytes and the pixels that the dataset has of it.
fn stored(name: &str, bytes: &[u8]) -> (Vec<u8>, Picture) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &format!("train/a/{name}"), bytes);
    put(dir.path(), "train/b/x.png", &png(1, 3, 2));
    put(dir.path(), "val/a/x.png", &png(1, 3, 2));
    let dataset: Dataset =
        ingest(&format!("source: {{kind: image_folder, path: {}}}", dir.path().display())).unwrap();
    let bytes = dataset.train[0].bytes.clone();
    let picture = Picture::decode(&bytes).unwrap();
    (bytes, picture)
}

/// What EXIF means by an orientation: for each, which pixel of the stored picture (`w` wide, `h` high) is shown at `x`, `y`.
fn upright(stored: &Picture, orientation: u8) -> Picture {
    let (w, h) = (stored.width, stored.height);
    let (width, height) = if orientation < 5 { (w, h) } else { (h, w) };
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (column, row) = match orientation {
                1 => (x, y),
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                _ => (w - 1 - y, x),
            };
            rgb.extend_from_slice(&stored.rgb[((row * w + column) * 3) as usize..][..3]);
        }
    }
    Picture { width, height, rgb }
}

fn assert_plain_png(bytes: &[u8]) {
    assert!(bytes.starts_with(PNG_SIGNATURE));
    assert_eq!(bytes[DEPTH_AND_COLOR], [8, 2], "8 bits, RGB");
}

#[test]
fn a_colour_jpeg_keeps_its_bytes() {
    let given = jpeg(&picture(1, 24, 16).rgb, 24, 16, Color::Rgb8);
    let (bytes, picture) = stored("x.jpg", &given);
    assert_eq!(bytes, given);
    assert_eq!((picture.width, picture.height), (24, 16));
}

#[test]
fn a_grey_jpeg_becomes_rgb() {
    let grey: Vec<u8> = (0..16 * 8).map(|i| (i * 2) as u8).collect();
    let given = jpeg(&grey, 16, 8, Color::L8);
    let (bytes, picture) = stored("x.jpeg", &given);
    assert_plain_png(&bytes);
    assert_eq!(picture, Picture::decode(&given).unwrap());
    assert!(picture.rgb.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
}

#[test]
fn a_palette_png_becomes_rgb() {
    let palette = [10, 20, 30, 40, 50, 60, 70, 80, 90];
    let given = png_of_chunks(PALETTE, 3, &[&[0, 1, 2], &[2, 2, 0]], &[(b"PLTE", &palette)]);
    let (bytes, picture) = stored("x.png", &given);
    assert_plain_png(&bytes);
    let rgb = vec![10, 20, 30, 40, 50, 60, 70, 80, 90, 70, 80, 90, 70, 80, 90, 10, 20, 30];
    assert_eq!(picture, Picture { width: 3, height: 2, rgb });
}

#[test]
fn grey_alpha_and_sixteen_bit_pngs_become_rgb() {
    let (bytes, picture) = stored("grey.png", &encoded_png(&[0, 100, 200], 1, 3, Color::L8));
    assert_plain_png(&bytes);
    assert_eq!(picture, Picture { width: 1, height: 3, rgb: vec![0, 0, 0, 100, 100, 100, 200, 200, 200] });
    let (bytes, picture) = stored("alpha.png", &encoded_png(&[1, 2, 3, 0, 4, 5, 6, 255], 2, 1, Color::Rgba8));
    assert_plain_png(&bytes);
    assert_eq!(picture, Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] });
    let words: Vec<u8> = [0_u16, 257 * 9, 65535].into_iter().flat_map(u16::to_ne_bytes).collect();
    let (bytes, picture) = stored("deep.png", &encoded_png(&words, 1, 1, Color::Rgb16));
    assert_plain_png(&bytes);
    assert_eq!(picture.rgb, [0, 9, 255]);
}

#[test]
fn a_png_with_a_transparent_colour_is_stored_without_it() {
    let given = png_of_chunks(RGB, 2, &[&[1, 2, 3, 4, 5, 6]], &[(b"tRNS", &[0, 1, 0, 2, 0, 3])]);
    let (bytes, picture) = stored("x.png", &given);
    assert_ne!(bytes, given);
    assert_plain_png(&bytes);
    assert_eq!(picture, Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] });
}

#[test]
fn a_jpeg_turned_by_exif_keeps_its_bytes_and_is_read_upright() {
    let dark_left: Vec<u8> = (0..16 * 8).flat_map(|i| if i % 16 < 8 { [0; 3] } else { [255; 3] }).collect();
    let given = jpeg(&dark_left, 16, 8, Color::Rgb8);
    let plain = Picture::decode(&given).unwrap();
    for orientation in 1..=8 {
        let turned = with_orientation(given.clone(), orientation);
        let (bytes, picture) = stored("turned.jpg", &turned);
        assert_eq!(bytes, turned);
        assert_eq!(picture, upright(&plain, orientation), "orientation {orientation}");
    }
    let (_, picture) = stored("portrait.jpg", &with_orientation(given, 6));
    assert_eq!((picture.width, picture.height), (8, 16));
    assert!(picture.rgb[0] < 50 && picture.rgb[8 * 16 * 3 - 1] > 200, "dark above, light below");
}

#[test]
fn a_jpeg_named_png_is_known_by_its_content() {
    let given = jpeg(&picture(1, 24, 16).rgb, 24, 16, Color::Rgb8);
    assert_eq!(stored("x.png", &given).0, given);
}
