//! An image as the dataset stores it: every one is decoded once; plain ones keep their bytes, others become RGB PNG.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use delt_formats::error::FormatError;
use delt_formats::rgb_image::RgbImage;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader};

use crate::channel_statistics::ChannelSums;
use crate::jpeg_markers::{JPEG_SIGNATURE, jpeg};
use crate::mistaken;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// How much of a file tells whether it is an image.
pub(crate) const FIRST_BYTES: u64 = 32;
/// Where the IHDR chunk, always first, holds bit depth and color type; 8 and 2 are plain RGB.
const PNG_DEPTH_AND_COLOR: std::ops::Range<usize> = 24..26;
const PLAIN_PNG: [u8; 2] = [8, 2];

/// An image in the form that costs least before it is known to be wanted.
#[derive(Debug)]
pub enum Content {
    /// The bytes of an image file.
    Encoded(Vec<u8>),
    /// An image file not read yet.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// An image file inside an archive, not read yet.
    Member {
        /// The archive.
        archive: PathBuf,
        /// Where the file begins in it.
        start: u64,
        /// Its size.
        bytes: u64,
    },
    /// Bare pixels.
    Pixels(RgbImage),
    /// A table's row without an image.
    Absent {
        /// What is missing, and what to do.
        problem: String,
    },
}

impl Content {
    /// Bytes of memory that it takes once it is read.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Encoded(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } | Self::Member { bytes, .. } => *bytes,
            Self::Pixels(picture) => picture.rgb.len() as u64,
            Self::Absent { .. } => 0,
        }
    }
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum StoredImageError {
    /// An image perhaps, but of a format that is not read, or something else that is known by its first bytes.
    #[error("found {found}, expected JPEG, PNG, WebP, BMP or GIF; {cure}")]
    OtherFormat {
        /// What it is.
        found: String,
        /// What to do about it.
        cure: &'static str,
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
    /// There is none.
    #[error("{0}")]
    Absent(String),
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
/// 16-bit and CMYK ones are stored as RGB PNG, so that no later stage has to know about them; so are WebP, BMP and GIF, of
/// animated ones the first frame.
///
/// # Errors
/// [`StoredImageError`].
pub fn prepare(content: Content) -> Result<StoredImage, StoredImageError> {
    prepare_resized(content, |_| None)
}

/// As [`prepare`], where `resized` gives what is stored, as RGB PNG, in place of an image that is too large.
///
/// # Errors
/// [`StoredImageError`].
pub fn prepare_resized(
    content: Content,
    resized: impl Fn(&RgbImage) -> Option<RgbImage>,
) -> Result<StoredImage, StoredImageError> {
    let bytes = match content {
        Content::Pixels(picture) => return encoded(&resized(&picture).unwrap_or(picture)),
        Content::Absent { problem } => return Err(StoredImageError::Absent(problem)),
        Content::Encoded(bytes) => bytes,
        Content::File { bytes: 0, .. } | Content::Member { bytes: 0, .. } => {
            let found = "an empty file".to_owned();
            return Err(StoredImageError::OtherFormat { found, cure: "copy, download or unpack it again" });
        }
        Content::File { path, .. } => fs_err::read(path).map_err(StoredImageError::Read)?,
        Content::Member { archive, start, bytes } => {
            member(&archive, start, bytes).map_err(StoredImageError::Read)?
        }
    };
    if let Some(error) = refusal(&bytes) {
        return Err(error);
    }
    let picture = delt_guard::decode_image(&bytes).map_err(|error| undecoded(&bytes, error))?;
    if let Some(smaller) = resized(&picture) {
        return encoded(&smaller);
    }
    if is_plain_rgb(&bytes) {
        let sums = ChannelSums::of(&picture);
        return Ok(StoredImage { bytes, sums });
    }
    encoded(&picture)
}

fn member(archive: &Path, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut archive = fs_err::File::open(archive)?;
    archive.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    archive.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn encoded(picture: &RgbImage) -> Result<StoredImage, StoredImageError> {
    let bytes = picture.encode_png().map_err(StoredImageError::Decode)?;
    Ok(StoredImage { bytes, sums: ChannelSums::of(picture) })
}

/// Whether a file of another name begins as an image that is read. Two letters are all that tells BMP: its header must fit too.
pub(crate) fn begins_as_image(first: &[u8]) -> bool {
    match image::guess_format(first) {
        Ok(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP) => true,
        // reserved: two numbers of 0; the size of the second header
        Ok(ImageFormat::Bmp) => {
            first.get(6..10) == Some(&[0; 4]) && matches!(first.get(14..18), Some(&[12..=124, 0, 0, 0]))
        }
        _ => false,
    }
}

/// Why bytes are not decoded at all.
fn refusal(bytes: &[u8]) -> Option<StoredImageError> {
    let other = |found: String, cure| Some(StoredImageError::OtherFormat { found, cure });
    if let Some((found, cure)) = mistaken::content(bytes) {
        return other(found.to_owned(), cure);
    }
    if bytes.starts_with(JPEG_SIGNATURE) {
        let markers = jpeg(bytes);
        if !markers.has_end {
            return Some(StoredImageError::CutOff);
        }
        return if markers.sampling.is_decoded_wrongly() { Some(odd_jpeg(bytes)) } else { None };
    }
    other(other_format(bytes)?.to_owned(), "convert it")
}

/// Why bytes could not be decoded.
fn undecoded(bytes: &[u8], error: FormatError) -> StoredImageError {
    let is_odd = bytes.starts_with(JPEG_SIGNATURE) && !jpeg(bytes).sampling.is_usual();
    if is_odd { odd_jpeg(bytes) } else { StoredImageError::Decode(error) }
}

/// A JPEG whose components are sampled as its decoder does not expect.
fn odd_jpeg(bytes: &[u8]) -> StoredImageError {
    let found = format!("a JPEG sampled {}, which its decoder here gets wrong", jpeg(bytes).sampling);
    StoredImageError::OtherFormat { found, cure: "convert it to PNG" }
}

/// The name of an image format that is not read, going by the first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    // ISO media files: the size of the first box, `ftyp`, the brand
    if let Some(b"ftypheic" | b"ftypheix" | b"ftypmif1") = bytes.get(4..12) {
        return Some("HEIC");
    }
    match image::guess_format(bytes).ok()? {
        ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP | ImageFormat::Bmp => {
            None
        }
        ImageFormat::Pnm => Some("PNM"),
        ImageFormat::Tiff => Some("TIFF"),
        ImageFormat::Avif => Some("AVIF"),
        _ => Some("another image format"),
    }
}

/// Whether the file holds 8-bit RGB pixels, going by its header.
fn is_plain_rgb(bytes: &[u8]) -> bool {
    let is_plain_format = if bytes.starts_with(PNG_SIGNATURE) {
        bytes.get(PNG_DEPTH_AND_COLOR) == Some(&PLAIN_PNG[..])
    } else {
        bytes.starts_with(JPEG_SIGNATURE) && jpeg(bytes).components == 3
    };
    is_plain_format && is_rgb8(bytes).unwrap_or(false)
}

/// Transparency given in a chunk of its own makes a plain PNG decode to four channels.
fn is_rgb8(bytes: &[u8]) -> image::ImageResult<bool> {
    let decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
    Ok(decoder.color_type() == ColorType::Rgb8)
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
        let begun: [(&[u8], &str, &str); 10] = [
            (b"II*\0\x08\0\0\0", "TIFF", "convert it"),
            (b"P6 2 1 255\n", "PNM", "convert it"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF", "convert it"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC", "convert it"),
            (b"\0\0\x01\0\x01\0", "another image format", "convert it"),
            (b"\x1f\x8b\x08\0", "gzip", "unpack it"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid ..",
                "a Git LFS pointer",
                "run `git lfs pull` in its clone",
            ),
            (
                b"/annex/objects/SHA256E-s1--0.png\n",
                "a git-annex pointer",
                "run `git annex get` in its clone",
            ),
            (
                b"\n<!DOCTYPE html><html>404</html>",
                "a web page (HTML)",
                "a server answered with it in place of the file: download that again",
            ),
            (b"<?xml version='1.0'?>\n<svg width='1'/>", "SVG", "convert it"),
        ];
        for (bytes, found, cure) in begun {
            let error = prepare(Content::Encoded(bytes.to_vec())).expect_err("not read");
            let expected = format!("found {found}, expected JPEG, PNG, WebP, BMP or GIF; {cure}");
            assert_eq!(error.to_string(), expected);
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
