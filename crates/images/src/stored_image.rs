//! An image as the dataset stores it: every one is decoded once; plain ones keep their bytes, others become RGB PNG.

use std::io::{self, Cursor};
use std::path::PathBuf;

use delt_formats::error::FormatError;
use delt_formats::rgb_image::RgbImage;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader};

use crate::channel_statistics::ChannelSums;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_SIGNATURE: &[u8] = b"\xff\xd8";
/// Where the IHDR chunk, always first, holds bit depth and color type; 8 and 2 are plain RGB.
const PNG_DEPTH_AND_COLOR: std::ops::Range<usize> = 24..26;
const PLAIN_PNG: [u8; 2] = [8, 2];

/// An image in the form that costs least before it is known to be wanted.
#[derive(Debug)]
pub enum Content {
    /// The bytes of a JPEG or PNG.
    Encoded(Vec<u8>),
    /// A JPEG or PNG not read yet.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Bare pixels.
    Pixels(RgbImage),
}

impl Content {
    /// Bytes of memory that it takes once it is read.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Encoded(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
            Self::Pixels(picture) => picture.rgb.len() as u64,
        }
    }
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum StoredImageError {
    /// A whole image perhaps, but of a format that is not read.
    #[error("found {found}, expected JPEG or PNG")]
    OtherFormat {
        /// The format's name.
        found: &'static str,
    },
    /// Not an image at all, or damaged.
    #[error(transparent)]
    Decode(FormatError),
    /// The file ends early. Decoders fill the rest with gray and say nothing.
    #[error("the JPEG is cut off: it has no end marker")]
    CutOff,
    /// The file cannot be read at all.
    #[error(transparent)]
    Read(io::Error),
}

impl StoredImageError {
    /// Whether the image is broken, as opposed to out of reach.
    pub fn is_broken(&self) -> bool {
        !matches!(self, Self::Read(_))
    }
}

/// What goes into the dataset of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// JPEG or PNG, 8-bit RGB; where an EXIF entry turns it, [`RgbImage::decode`] does.
    pub bytes: Vec<u8>,
    /// For mean and standard deviation: sums over the pixels as they will be decoded from `bytes`.
    pub sums: ChannelSums,
}

/// Reads and decodes an image and decides what is stored of it.
///
/// 8-bit RGB JPEG and PNG are kept byte by byte, those turned by an EXIF entry too: every stage reads them by
/// [`RgbImage::decode`], which obeys it, and a photograph as PNG would take five times the space. Gray, palette, alpha,
/// 16-bit and CMYK ones are stored as RGB PNG, so that no later stage has to know about them.
///
/// # Errors
/// [`StoredImageError`].
pub fn prepare(content: Content) -> Result<StoredImage, StoredImageError> {
    let bytes = match content {
        Content::Pixels(picture) => return encoded(&picture),
        Content::Encoded(bytes) => bytes,
        Content::File { path, .. } => fs_err::read(path).map_err(StoredImageError::Read)?,
    };
    if bytes.starts_with(JPEG_SIGNATURE) && !jpeg(&bytes).has_end {
        return Err(StoredImageError::CutOff);
    }
    if let Some(found) = other_format(&bytes) {
        return Err(StoredImageError::OtherFormat { found });
    }
    let picture = delt_guard::decode_image(&bytes).map_err(StoredImageError::Decode)?;
    if is_plain_rgb(&bytes) {
        let sums = ChannelSums::of(&picture);
        return Ok(StoredImage { bytes, sums });
    }
    encoded(&picture)
}

fn encoded(picture: &RgbImage) -> Result<StoredImage, StoredImageError> {
    let bytes = picture.encode_png().map_err(StoredImageError::Decode)?;
    Ok(StoredImage { bytes, sums: ChannelSums::of(picture) })
}

/// The name of an image format other than JPEG and PNG, going by the first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    // ISO media files: the size of the first box, `ftyp`, the brand
    if let Some(b"ftypheic" | b"ftypheix" | b"ftypmif1") = bytes.get(4..12) {
        return Some("HEIC");
    }
    match image::guess_format(bytes).ok()? {
        ImageFormat::Jpeg | ImageFormat::Png => None,
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Pnm => Some("PNM"),
        ImageFormat::Tiff => Some("TIFF"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Avif => Some("AVIF"),
        _ => Some("another image format"),
    }
}

/// Whether the file holds 8-bit RGB pixels, going by its header.
fn is_plain_rgb(bytes: &[u8]) -> bool {
    let is_plain_format = if bytes.starts_with(PNG_SIGNATURE) {
        bytes.get(PNG_DEPTH_AND_COLOR) == Some(&PLAIN_PNG[..])
    } else {
        jpeg(bytes).components == 3
    };
    is_plain_format && is_rgb8(bytes).unwrap_or(false)
}

/// Transparency given in a chunk of its own makes a plain PNG decode to four channels.
fn is_rgb8(bytes: &[u8]) -> image::ImageResult<bool> {
    let decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
    Ok(decoder.color_type() == ColorType::Rgb8)
}

/// What the markers of a JPEG tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct JpegMarkers {
    /// Color components of the frame: 1 gray, 3 color, 4 CMYK.
    components: u8,
    /// Whether the image's data end with the end marker.
    has_end: bool,
}

/// Walks the marker segments up to the image's data; a thumbnail lies inside a segment and is skipped with it.
fn jpeg(bytes: &[u8]) -> JpegMarkers {
    const END: u8 = 0xd9;
    const START_OF_SCAN: u8 = 0xda;
    let mut markers = JpegMarkers::default();
    let mut at = JPEG_SIGNATURE.len();
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        let is_padding = marker == 0xff;
        if is_padding {
            at += 1;
            continue;
        }
        let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { break };
        // Start of frame is C0..CF without the tables C4, C8, CC: length (2), depth (1), height (2), width (2), components.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            markers.components = bytes.get(at + 9).copied().unwrap_or(0);
        }
        if marker == START_OF_SCAN {
            // Inside the data a byte FF is always followed by 00 or a restart marker, so FF D9 can only be the end.
            markers.has_end = bytes[at..].windows(2).any(|pair| pair == [0xff, END]);
            break;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    markers
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    fn color_jpeg() -> Vec<u8> {
        let rgb: Vec<u8> = (0..32 * 24 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut bytes = Vec::new();
        JpegEncoder::new(&mut bytes).write_image(&rgb, 32, 24, ExtendedColorType::Rgb8).expect("encodes");
        bytes
    }

    #[test]
    fn plain_jpeg_and_png_keep_their_bytes() {
        let bytes = color_jpeg();
        assert_eq!(prepare(Content::Encoded(bytes.clone())).expect("whole").bytes, bytes);
        let picture = RgbImage { width: 3, height: 1, rgb: (0..9).collect() };
        let png = picture.encode_png().expect("encodes");
        let stored = prepare(Content::Encoded(png.clone())).expect("whole");
        assert_eq!(stored, StoredImage { bytes: png.clone(), sums: ChannelSums::of(&picture) });
        assert_eq!(prepare(Content::Pixels(picture)).expect("whole").bytes, png);
    }

    #[test]
    fn a_jpeg_that_ends_early_is_broken_at_any_length() {
        let bytes = color_jpeg();
        for length in [3, 100, bytes.len() / 2, bytes.len() - 2] {
            let error = prepare(Content::Encoded(bytes[..length].to_vec())).expect_err("cut off");
            assert_eq!(error.to_string(), "the JPEG is cut off: it has no end marker");
            assert!(error.is_broken());
        }
    }

    #[test]
    fn other_picture_formats_are_named_by_their_first_bytes() {
        let begun: [(&[u8], &str); 8] = [
            (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP"),
            (b"GIF89a\x01\0", "GIF"),
            (b"BM\x3a\0\0\0", "BMP"),
            (b"II*\0\x08\0\0\0", "TIFF"),
            (b"P6 2 1 255\n", "PNM"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
            (b"\0\0\x01\0\x01\0", "another image format"),
        ];
        for (bytes, found) in begun {
            let error = prepare(Content::Encoded(bytes.to_vec())).expect_err("not read");
            assert_eq!(error.to_string(), format!("found {found}, expected JPEG or PNG"));
            assert!(error.is_broken());
        }
        assert!(matches!(prepare(Content::Encoded(b"no image".to_vec())), Err(StoredImageError::Decode(_))));
    }

    #[test]
    fn a_file_that_is_not_there_is_no_broken_picture() {
        let absent = Content::File { path: "no/such/file.png".into(), bytes: 1 };
        let error = prepare(absent).expect_err("absent");
        assert!(!error.is_broken());
        assert!(error.to_string().contains("no/such/file.png"), "{error}");
    }
}
