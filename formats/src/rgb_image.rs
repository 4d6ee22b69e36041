//! Images as 8-bit RGB, decoded from JPEG or PNG (of others also from WebP, BMP and GIF) and stored as PNG.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader};

use crate::error::{FormatError, Result};

/// Bytes of a decoded image, at most: 89 million pixels of three bytes.
pub const MOST_RGB_BYTES: u64 = 256 * 1024 * 1024;
/// How many times an image may be as long as it is wide, or as wide as it is long: brought to a size by its short side, a
/// line of pixels would become an image of gigabytes.
pub const MOST_ASPECT: u32 = 64;

/// An 8-bit RGB image, row by row from the top left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `height * width * 3` bytes: height, then width, then red, green, blue.
    pub rgb: Vec<u8>,
}

impl RgbImage {
    /// Decodes a JPEG, PNG, WebP, BMP or GIF, of animated ones the first frame. Gray values are repeated, palettes looked up, 16-bit values rounded to 8 bits, alpha is
    /// dropped (as Pillow's `convert("RGB")` does), and the EXIF orientation is obeyed. Bytes of
    /// others go through `delt_guard::decode_image`.
    ///
    /// # Errors
    ///
    /// If the bytes are neither, or not a whole image; before anything is decoded, if its sides are beyond
    /// [`MOST_RGB_BYTES`] or [`MOST_ASPECT`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        let bytes = decoder.total_bytes();
        if bytes > MOST_RGB_BYTES {
            return Err(FormatError::LargeImage { width, height, bytes });
        }
        if u64::from(width.max(height)) > u64::from(MOST_ASPECT) * u64::from(width.min(height)) {
            return Err(FormatError::LongImage { width, height });
        }
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        let image = image.into_rgb8();
        Ok(Self { width: image.width(), height: image.height(), rgb: image.into_raw() })
    }

    /// Images of one size in rows, one below the other; a row that is shorter ends black.
    pub fn in_rows(rows: &[Vec<Self>]) -> Self {
        let first = rows.iter().flatten().next();
        let (width, height) = first.map_or((0, 0), |image| (image.width as usize, image.height as usize));
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let line = columns * width * 3;
        let mut rgb = vec![0; rows.len() * height * line];
        for (row, images) in rows.iter().enumerate() {
            for (column, image) in images.iter().enumerate() {
                for (y, pixels) in image.rgb.chunks_exact(width.max(1) * 3).take(height).enumerate() {
                    let start = (row * height + y) * line + column * width * 3;
                    rgb[start..start + pixels.len()].copy_from_slice(pixels);
                }
            }
        }
        Self { width: (columns * width) as u32, height: (rows.len() * height) as u32, rgb }
    }

    /// Encodes as PNG; the same image always gives the same bytes.
    ///
    /// # Errors
    ///
    /// If [`Self::rgb`] does not fill the sides.
    pub fn encode_png(&self) -> Result<Vec<u8>> {
        let (width, height) = (self.width, self.height);
        let expected = width as usize * height as usize * 3;
        if self.rgb.len() != expected || expected == 0 {
            return Err(FormatError::ImageSize { width, height, found: self.rgb.len(), expected });
        }
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive).write_image(
            &self.rgb,
            width,
            height,
            ExtendedColorType::Rgb8,
        )?;
        Ok(png)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ExtendedColorType as Color;

    /// 3 wide, 2 high, every byte different, so that no transposition goes unnoticed.
    fn distinct() -> RgbImage {
        RgbImage { width: 3, height: 2, rgb: (0..18).map(|i| i * 13).collect() }
    }

    fn png(bytes: &[u8], width: u32, height: u32, color: Color) -> Vec<u8> {
        let mut out = Vec::new();
        PngEncoder::new(&mut out).write_image(bytes, width, height, color).unwrap();
        out
    }

    #[test]
    fn png_round_trip_keeps_every_pixel_and_is_deterministic() {
        let encoded = distinct().encode_png().unwrap();
        assert_eq!(encoded, distinct().encode_png().unwrap());
        assert_eq!(RgbImage::decode(&encoded).unwrap(), distinct());
    }

    #[test]
    fn images_in_rows_lie_beside_and_below_each_other() {
        let of = |value: u8| RgbImage { width: 2, height: 1, rgb: vec![value; 6] };
        let all = RgbImage::in_rows(&[vec![of(1), of(2)], vec![of(3)]]);
        assert_eq!((all.width, all.height), (4, 2));
        assert_eq!(all.rgb.chunks(6).map(|part| part[0]).collect::<Vec<_>>(), [1, 2, 3, 0]);
    }

    #[test]
    fn gray_is_repeated_and_alpha_is_dropped() {
        let gray = RgbImage::decode(&png(&[7, 200], 2, 1, Color::L8)).unwrap();
        assert_eq!(gray, RgbImage { width: 2, height: 1, rgb: vec![7, 7, 7, 200, 200, 200] });
        let rgba = RgbImage::decode(&png(&[1, 2, 3, 0, 4, 5, 6, 255], 1, 2, Color::Rgba8)).unwrap();
        assert_eq!(rgba, RgbImage { width: 1, height: 2, rgb: vec![1, 2, 3, 4, 5, 6] });
    }

    #[test]
    fn sixteen_bits_become_eight() {
        let words: Vec<u8> = [0u16, 257 * 9, 65535].iter().flat_map(|w| w.to_ne_bytes()).collect();
        let deep = RgbImage::decode(&png(&words, 1, 1, Color::Rgb16)).unwrap();
        assert_eq!(deep.rgb, [0, 9, 255]);
    }

    #[test]
    fn exif_orientation_is_obeyed() {
        let mut jpeg = Vec::new();
        let (dark, light) = ([0u8; 3], [255u8; 3]);
        let rgb: Vec<u8> = (0..16 * 8).flat_map(|i| if i % 16 < 8 { dark } else { light }).collect();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100)
            .write_image(&rgb, 16, 8, Color::Rgb8)
            .unwrap();
        // APP1 segment: TIFF, big endian, one entry: tag 0x0112 orientation, type short, count 1, value 6 (turn right).
        let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut segment = vec![0xff, 0xe1];
        segment.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
        segment.extend(exif);
        jpeg.splice(2..2, segment);
        let picture = RgbImage::decode(&jpeg).unwrap();
        assert_eq!((picture.width, picture.height), (8, 16));
        assert!(picture.rgb[0] < 50 && *picture.rgb.last().unwrap() > 200);
    }

    #[test]
    fn palette_pictures_are_looked_up() {
        // 2 x 1 pixels of color type 3, palette [(10, 20, 30), (40, 50, 60)], indices 1 0; chunks put together with
        // Python's zlib: IHDR, PLTE, IDAT = compress(00 01 00), IEND.
        const PALETTE_PNG: [u8; 86] = [
            137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 8, 3, 0, 0,
            0, 195, 252, 143, 184, 0, 0, 0, 6, 80, 76, 84, 69, 10, 20, 30, 40, 50, 60, 213, 27, 180, 233, 0,
            0, 0, 11, 73, 68, 65, 84, 120, 156, 99, 96, 100, 0, 0, 0, 5, 0, 2, 209, 102, 51, 120, 0, 0, 0, 0,
            73, 69, 78, 68, 174, 66, 96, 130,
        ];
        let picture = RgbImage::decode(&PALETTE_PNG).unwrap();
        assert_eq!(picture, RgbImage { width: 2, height: 1, rgb: vec![40, 50, 60, 10, 20, 30] });
    }

    #[test]
    fn bytes_that_are_no_picture_and_cut_off_pictures_are_refused() {
        let message = "the image cannot be decoded or encoded: expected a complete JPEG, PNG, WebP, BMP or GIF; replace or leave out this image";
        assert_eq!(RgbImage::decode(b"not an image").unwrap_err().to_string(), message);
        let encoded = distinct().encode_png().unwrap();
        assert_eq!(RgbImage::decode(&encoded[..encoded.len() - 20]).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_picture_whose_bytes_do_not_fill_it_is_refused() {
        let error = RgbImage { width: 3, height: 2, rgb: vec![0; 17] }.encode_png().unwrap_err();
        assert_eq!(error.to_string(), "an image of 3 x 2 pixels has 17 bytes, expected 18");
    }
}
