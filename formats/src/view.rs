//! One stored view: everything needed to build the augmented image again, and the teacher's answer to it.

use std::fmt;
use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

/// timm's fifteen RandAugment operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Stretches each channel to the full range.
    AutoContrast,
    /// Flattens each channel's histogram.
    Equalize,
    /// Turns every value `v` into `255 - v`.
    Invert,
    /// Rotates by `argument` degrees.
    Rotate,
    /// Keeps `argument` bits of each value.
    Posterize,
    /// Inverts values of at least `argument`.
    Solarize,
    /// Adds `argument` to values below 128.
    SolarizeAdd,
    /// Blends with the gray image by factor `argument`.
    Color,
    /// Blends with the mean gray by factor `argument`.
    Contrast,
    /// Blends with black by factor `argument`.
    Brightness,
    /// Blends with the smoothed image by factor `argument`.
    Sharpness,
    /// Shears along x by factor `argument`.
    ShearX,
    /// Shears along y by factor `argument`.
    ShearY,
    /// Moves along x by `argument` of the width.
    TranslateXRel,
    /// Moves along y by `argument` of the height.
    TranslateYRel,
}

impl Op {
    /// All operations, in timm's order.
    pub const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateXRel,
        Self::TranslateYRel,
    ];

    /// timm's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AutoContrast => "AutoContrast",
            Self::Equalize => "Equalize",
            Self::Invert => "Invert",
            Self::Rotate => "Rotate",
            Self::Posterize => "Posterize",
            Self::Solarize => "Solarize",
            Self::SolarizeAdd => "SolarizeAdd",
            Self::Color => "Color",
            Self::Contrast => "Contrast",
            Self::Brightness => "Brightness",
            Self::Sharpness => "Sharpness",
            Self::ShearX => "ShearX",
            Self::ShearY => "ShearY",
            Self::TranslateXRel => "TranslateXRel",
            Self::TranslateYRel => "TranslateYRel",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text names no known value; it holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not known here")]
pub struct UnknownName(pub String);

impl FromStr for Op {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| UnknownName(name.to_owned()))
    }
}

/// How an operation that moves pixels resamples them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Pillow's bilinear.
    Bilinear,
    /// Pillow's bicubic.
    Bicubic,
}

impl Interpolation {
    /// The stored name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }
}

impl FromStr for Interpolation {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let all = [Self::Bilinear, Self::Bicubic];
        all.into_iter().find(|way| way.name() == name).ok_or_else(|| UnknownName(name.to_owned()))
    }
}

/// One applied RandAugment operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentOp {
    /// The operation.
    pub op: Op,
    /// Its argument, sign included; 0 for operations without one.
    pub argument: f32,
    /// How it resamples, where it moves pixels.
    pub interpolation: Interpolation,
}

/// The part of an image that a RandomResizedCrop keeps, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropBox {
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// What a view is mixed with. The stored logits are the teacher's of the mixed view, so that only a loss on hard labels needs
/// the shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mix {
    /// Nothing.
    None,
    /// A box of the partner's view replaces the same box of this one.
    Cutmix {
        /// The partner's position in the batch.
        partner: u32,
        /// λ as drawn, before the box of side `size · sqrt(1 - λ)` was clipped to the image: the share of this view's
        /// pixels that stay is `1 - (bottom - top) · (right - left) / size²`, which is λ or more.
        lambda: f32,
        /// First row of the box.
        top: u32,
        /// First column of the box.
        left: u32,
        /// The row after the box.
        bottom: u32,
        /// The column after the box.
        right: u32,
    },
    /// λ times this view plus 1 - λ times the partner's.
    Mixup {
        /// The partner's position in the batch.
        partner: u32,
        /// λ, the weight of this view in every pixel.
        lambda: f32,
    },
}

impl Mix {
    /// The stored name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cutmix { .. } => "cutmix",
            Self::Mixup { .. } => "mixup",
        }
    }

    /// The partner's position in the batch.
    pub fn partner(&self) -> Option<u32> {
        match *self {
            Self::None => None,
            Self::Cutmix { partner, .. } | Self::Mixup { partner, .. } => Some(partner),
        }
    }

    /// λ, see the two kinds.
    pub fn lambda(&self) -> Option<f32> {
        match *self {
            Self::None => None,
            Self::Cutmix { lambda, .. } | Self::Mixup { lambda, .. } => Some(lambda),
        }
    }
}

/// One image of one batch of one epoch, as the teacher labeled it and the student sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewRow {
    /// The epoch, from 0.
    pub epoch: u32,
    /// The batch in the epoch, from 0.
    pub batch: u32,
    /// The place in the batch, from 0.
    pub position: u32,
    /// The row of `synthetic.parquet`.
    pub image_id: u32,
    /// The patch of the stored image that each place of the view's mosaic shows, row by row; empty: the image as it is.
    pub patch_order: Vec<u8>,
    /// Operations on that 8-bit image, in order.
    pub randaugment: Vec<AugmentOp>,
    /// The part kept after them.
    pub crop: CropBox,
    /// Whether the crop is mirrored left to right.
    pub flip: bool,
    /// What the normalized view is mixed with.
    pub mix: Mix,
    /// The teacher's logits for exactly this view, before temperature: one per class.
    pub logits: Vec<f16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_agree_with_json() {
        for op in Op::ALL {
            assert_eq!(op.name().parse(), Ok(op));
            assert_eq!(serde_json::to_value(op).unwrap(), op.name());
        }
        for way in [Interpolation::Bilinear, Interpolation::Bicubic] {
            assert_eq!(way.name().parse(), Ok(way));
            assert_eq!(serde_json::to_value(way).unwrap(), way.name());
        }
        assert_eq!("Posterise".parse::<Op>().unwrap_err().to_string(), "`Posterise` is not known here");
    }
}
