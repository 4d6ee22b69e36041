//! The synthetic images of an artifact, decoded.

use anyhow::{Context, Result};
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{RgbImage, SyntheticReader};

/// All images and their classes, in the order of the file.
///
/// # Errors
/// The first row that cannot be read or decoded.
pub fn decoded_images(reader: &SyntheticReader) -> Result<(Vec<RgbImage>, Vec<u32>)> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for row in reader.rows() {
        let row = row?;
        let image = RgbImage::decode(&row.png);
        images.push(image.with_context(|| format!("{SYNTHETIC_FILE}, row {}", images.len()))?);
        labels.push(row.label);
    }
    Ok((images, labels))
}
