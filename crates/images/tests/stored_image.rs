//! Kinds of image files: what keeps its bytes and what is stored as RGB PNG.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

use std::io::Write as _;

use delt_formats::rgb_image::RgbImage;
use delt_images::stored_image::{Content, prepare};
use image::codecs::bmp::BmpEncoder;
use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType as Color, Frame, ImageEncoder as _, RgbaImage};

/// Color type of palette PNGs.
const PALETTE: u8 = 3;
/// Color type of RGB PNGs.
const RGB: u8 = 2;

const PNG_SIGNATURE: &[u8] = b"\x89PNG";
/// Offset of depth and color type in a PNG.
const DEPTH_AND_COLOR: std::ops::Range<usize> = 24..26;

/// An image in which neighboring pixels and channels differ, another one for each seed.
fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
    let rgb = (0..width * height * 3).map(|i| ((i * 37 + seed * 101 + i * i % 23) % 256) as u8).collect();
    RgbImage { width, height, rgb }
}

fn encoded_png(pixels: &[u8], width: u32, height: u32, color: Color) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, color).unwrap();
    bytes
}

fn jpeg(pixels: &[u8], width: u32, height: u32, color: Color) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 100).write_image(pixels, width, height, color).unwrap();
    bytes
}

/// A PNG written chunk by chunk, for kinds no encoder at hand writes. `lines` are the unfiltered rows.
fn png_of_chunks(color: u8, width: u32, lines: &[&[u8]], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend((lines.len() as u32).to_be_bytes());
    header.extend([8, color, 0, 0, 0]);
    let mut data = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    for line in lines {
        data.write_all(&[0]).unwrap();
        data.write_all(line).unwrap();
    }
    let data = data.finish().unwrap();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let first: [(&[u8; 4], &[u8]); 1] = [(b"IHDR", &header)];
    let last: [(&[u8; 4], &[u8]); 2] = [(b"IDAT", &data), (b"IEND", &[])];
    for (name, content) in first.iter().chain(chunks).chain(&last) {
        let mut crc = flate2::Crc::new();
        crc.update(*name);
        crc.update(content);
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(*name);
        bytes.extend(*content);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

/// Puts an EXIF segment with an orientation behind the start of a JPEG: TIFF, big endian, one entry, tag 0x0112.
fn with_orientation(mut jpeg: Vec<u8>, orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut segment = vec![0xff, 0xe1];
    segment.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    segment.extend(exif);
    jpeg.splice(2..2, segment);
    jpeg
}

/// The bytes and the pixels that are stored of an image file.
fn stored(name: &str, bytes: &[u8]) -> (Vec<u8>, RgbImage) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let stored = prepare(Content::File { path, bytes: bytes.len() as u64 }).unwrap().bytes;
    let picture = RgbImage::decode(&stored).unwrap();
    (stored, picture)
}

/// What EXIF means by an orientation: for each, which pixel of the stored image (`w` wide, `h` high) is shown at `x`, `y`.
fn upright(stored: &RgbImage, orientation: u8) -> RgbImage {
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
    RgbImage { width, height, rgb }
}

fn assert_plain_png(bytes: &[u8]) {
    assert!(bytes.starts_with(PNG_SIGNATURE));
    assert_eq!(bytes[DEPTH_AND_COLOR], [8, 2], "8 bits, RGB");
}

#[test]
fn a_color_jpeg_keeps_its_bytes() {
    let given = jpeg(&picture(1, 24, 16).rgb, 24, 16, Color::Rgb8);
    let (bytes, picture) = stored("x.jpg", &given);
    assert_eq!(bytes, given);
    assert_eq!((picture.width, picture.height), (24, 16));
}

#[test]
fn a_gray_jpeg_becomes_rgb() {
    let gray: Vec<u8> = (0..16 * 8).map(|i| (i * 2) as u8).collect();
    let given = jpeg(&gray, 16, 8, Color::L8);
    let (bytes, picture) = stored("x.jpeg", &given);
    assert_plain_png(&bytes);
    assert_eq!(picture, RgbImage::decode(&given).unwrap());
    assert!(picture.rgb.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
}

#[test]
fn a_palette_png_becomes_rgb() {
    let palette = [10, 20, 30, 40, 50, 60, 70, 80, 90];
    let given = png_of_chunks(PALETTE, 3, &[&[0, 1, 2], &[2, 2, 0]], &[(b"PLTE", &palette)]);
    let (bytes, picture) = stored("x.png", &given);
    assert_plain_png(&bytes);
    let rgb = vec![10, 20, 30, 40, 50, 60, 70, 80, 90, 70, 80, 90, 70, 80, 90, 10, 20, 30];
    assert_eq!(picture, RgbImage { width: 3, height: 2, rgb });
}

#[test]
fn gray_alpha_and_sixteen_bit_pngs_become_rgb() {
    let (bytes, picture) = stored("gray.png", &encoded_png(&[0, 100, 200], 1, 3, Color::L8));
    assert_plain_png(&bytes);
    assert_eq!(picture, RgbImage { width: 1, height: 3, rgb: vec![0, 0, 0, 100, 100, 100, 200, 200, 200] });
    let (bytes, picture) = stored("alpha.png", &encoded_png(&[1, 2, 3, 0, 4, 5, 6, 255], 2, 1, Color::Rgba8));
    assert_plain_png(&bytes);
    assert_eq!(picture, RgbImage { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] });
    let words: Vec<u8> = [0_u16, 257 * 9, 65535].into_iter().flat_map(u16::to_ne_bytes).collect();
    let (bytes, picture) = stored("deep.png", &encoded_png(&words, 1, 1, Color::Rgb16));
    assert_plain_png(&bytes);
    assert_eq!(picture.rgb, [0, 9, 255]);
}

#[test]
fn a_png_with_a_transparent_color_is_stored_without_it() {
    let given = png_of_chunks(RGB, 2, &[&[1, 2, 3, 4, 5, 6]], &[(b"tRNS", &[0, 1, 0, 2, 0, 3])]);
    let (bytes, picture) = stored("x.png", &given);
    assert_ne!(bytes, given);
    assert_plain_png(&bytes);
    assert_eq!(picture, RgbImage { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] });
}

#[test]
fn a_jpeg_turned_by_exif_keeps_its_bytes_and_is_read_upright() {
    let dark_left: Vec<u8> = (0..16 * 8).flat_map(|i| if i % 16 < 8 { [0; 3] } else { [255; 3] }).collect();
    let given = jpeg(&dark_left, 16, 8, Color::Rgb8);
    let plain = RgbImage::decode(&given).unwrap();
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

#[test]
fn webp_and_bmp_and_the_first_frame_of_a_gif_become_png() {
    let given = picture(3, 7, 5);
    let (mut webp, mut bmp, mut gif) = (Vec::new(), Vec::new(), Vec::new());
    WebPEncoder::new_lossless(&mut webp).write_image(&given.rgb, 7, 5, Color::Rgb8).unwrap();
    BmpEncoder::new(&mut bmp).write_image(&given.rgb, 7, 5, Color::Rgb8).unwrap();
    let frame = |rgb: &[u8]| {
        let rgba = rgb.chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
        Frame::new(RgbaImage::from_raw(7, 5, rgba).unwrap())
    };
    let mut encoder = GifEncoder::new(&mut gif);
    encoder.encode_frames([frame(&given.rgb), frame(&[9; 105])]).unwrap();
    drop(encoder);
    for (name, bytes) in [("x.webp", webp), ("x.bmp", bmp), ("x.gif", gif)] {
        let (png, stored) = stored(name, &bytes);
        assert_plain_png(&png);
        assert_eq!(stored, given, "{name}");
    }
}

#[test]
fn a_jpeg_with_color_sampled_finer_than_brightness_is_refused_with_its_sampling() {
    let mut bytes = jpeg(&picture(1, 24, 16).rgb, 24, 16, Color::Rgb8);
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (index, both) in [0x11, 0x22, 0x11].into_iter().enumerate() {
        bytes[frame + 11 + 3 * index] = both;
    }
    let error = prepare(Content::Encoded(bytes.clone())).unwrap_err();
    assert!(error.is_broken());
    assert_eq!(
        error.to_string(),
        "found a JPEG sampled 1x1,2x2,1x1, which its decoder here gets wrong, expected JPEG, PNG, WebP, BMP or GIF; convert it to PNG"
    );
    // three times as many samples of brightness: the decoder knows that it cannot
    bytes[frame + 11] = 0x31;
    assert!(
        prepare(Content::Encoded(bytes))
            .unwrap_err()
            .to_string()
            .starts_with("found a JPEG sampled 3x1,2x2,1x1")
    );
}
