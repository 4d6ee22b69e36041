//! What can be wrong with a view, a batch or a setting.

use std::ops::Range;

use delt_formats::CropBox;
use thiserror::Error;

/// An augmentation that cannot be drawn or replayed.
#[derive(Debug, Error, PartialEq)]
pub enum AugmentError {
    /// A setting lies outside its range.
    #[error(
        "augmentation setting `{name}` is {found}, expected {expected}; correct it in the pipeline's YAML"
    )]
    Setting {
        /// Key of the setting.
        name: &'static str,
        /// Its value.
        found: f64,
        /// The allowed range in words.
        expected: &'static str,
    },
    /// The rows of a batch are not in position order.
    #[error(
        "row {index} of the batch has position {position}, expected {index}; pass the rows of one batch sorted by position"
    )]
    Position {
        /// Index of the row in the slice.
        index: usize,
        /// Position the row carries.
        position: u32,
    },
    /// A view names an image that the synthetic set does not have.
    #[error(
        "view at position {position} shows image {image_id}, but there are {images} synthetic images; the labels belong to another synthetic set, re-run relabel"
    )]
    Image {
        /// Position in the batch.
        position: usize,
        /// Image named by the view.
        image_id: u32,
        /// Images in the set.
        images: usize,
    },
    /// A synthetic image is not of the size the views were drawn for.
    #[error(
        "image {image_id} is {width}x{height} px, expected {size}x{size}; re-run delt-synthesize for this size"
    )]
    ImageSize {
        /// Image with the wrong size.
        image_id: u32,
        /// Its width in px.
        width: u32,
        /// Its height in px.
        height: u32,
        /// Side expected in px.
        size: u32,
    },
    /// A crop box is empty or leaves the image.
    #[error(
        "view at position {position} crops {}x{} px at top {}, left {}, outside its {size}x{size} image; re-run relabel",
        crop.height, crop.width, crop.top, crop.left
    )]
    Crop {
        /// Position in the batch.
        position: usize,
        /// The box.
        crop: CropBox,
        /// Side of the image in px.
        size: u32,
    },
    /// Patches that do not divide an image.
    #[error(
        "{patches} x {patches} patches do not divide {size} px; choose `shuffle_patches` so that they do"
    )]
    Patches {
        /// Patches a side.
        patches: u32,
        /// Side of the image in px.
        size: u32,
    },
    /// The mixes do not fit the batch.
    #[error(
        "{mixes} mixes and {values} values for a batch of {batch} images of {image_values} values; pass one mix per image"
    )]
    BatchShape {
        /// Mixes given.
        mixes: usize,
        /// Values given.
        values: usize,
        /// Images in the batch.
        batch: usize,
        /// Values per image.
        image_values: usize,
    },
    /// A mix names a partner that the batch does not have.
    #[error(
        "image at position {position} is mixed with position {partner} of a batch of {batch}; re-run relabel"
    )]
    Partner {
        /// Position in the batch.
        position: usize,
        /// Partner's position.
        partner: u32,
        /// Images in the batch.
        batch: usize,
    },
    /// A CutMix box leaves the image.
    #[error(
        "image at position {position} has CutMix rows {rows:?} and columns {columns:?} in a {height}x{width} image; re-run relabel"
    )]
    MixBox {
        /// Position in the batch.
        position: usize,
        /// Rows of the box.
        rows: Range<u32>,
        /// Columns of the box.
        columns: Range<u32>,
        /// Height of the image in px.
        height: usize,
        /// Width of the image in px.
        width: usize,
    },
}

impl AugmentError {
    /// Refuses a setting that is not allowed.
    pub(crate) fn check_setting(
        name: &'static str,
        found: f64,
        is_allowed: bool,
        expected: &'static str,
    ) -> Result<(), Self> {
        if is_allowed { Ok(()) } else { Err(Self::Setting { name, found, expected }) }
    }
}
