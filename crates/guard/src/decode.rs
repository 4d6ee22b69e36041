//! Images of others: a decoder that a hostile file breaks is an error of the file.

use delt_formats::{FormatError, RgbImage};
use image::error::{DecodingError, ImageError, ImageFormatHint};

use crate::foreign::guarded;

/// As [`RgbImage::decode`], of bytes that may break the decoder.
///
/// # Errors
///
/// As [`RgbImage::decode`], or what the decoder said when it broke off.
pub fn decode_image(bytes: &[u8]) -> Result<RgbImage, FormatError> {
    let broken = |said: String| {
        let cause = DecodingError::new(ImageFormatHint::Unknown, said);
        Err(ImageError::Decoding(cause).into())
    };
    guarded(|| RgbImage::decode(bytes)).unwrap_or_else(broken)
}
