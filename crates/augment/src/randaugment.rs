//! RandAugment as timm's `rand-m{m}-n{n}-mstd{s}` (without the increasing variants) on Pillow's 8-bit images.
//!
//! Drawing and applying are apart: a draw is a list of [`AugmentOp`] that the labels artifact stores, and applying it needs no
//! random number.

use delt_formats::{AugmentOp, Interpolation, Op, RgbImage};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::affine::{rotation, transform};
use crate::{AugmentError, tone};

/// Largest magnitude; drawn magnitudes are clipped to 0 and this (timm's `_LEVEL_DENOM`).
pub const MAX_MAGNITUDE: f64 = 10.0;

/// Probability that a picked operation is applied (timm).
const APPLY: f64 = 0.5;

/// Tones below it are brightened by SolarizeAdd (timm).
const SOLARIZE_ADD_BELOW: u8 = 128;

/// The policy: how many operations, and how strong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// Mean magnitude m, 0 to 10.
    pub magnitude: f64,
    /// Operations picked per image, n; each is applied with probability one half.
    pub layers: u32,
    /// Standard deviation of the magnitude.
    pub std: f64,
}

impl RandAugment {
    /// Draws the operations for one image; only those that are applied.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<AugmentOp> {
        (0..self.layers).filter_map(|_| self.draw_layer(rng)).collect()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If the magnitude is not in 0..=10 or the standard deviation is negative or not finite.
    pub fn validate(&self) -> Result<(), AugmentError> {
        let Self { magnitude, std, .. } = *self;
        let is_level = (0.0..=MAX_MAGNITUDE).contains(&magnitude);
        AugmentError::check_setting("randaugment.magnitude", magnitude, is_level, "0 to 10")?;
        AugmentError::check_setting("randaugment.std", std, std >= 0.0 && std.is_finite(), "0 or more")
    }

    /// Every layer takes all its draws, applied or not, so that layers do not shift one another.
    fn draw_layer(&self, rng: &mut impl Rng) -> Option<AugmentOp> {
        let op = Op::ALL[rng.random_range(0..Op::ALL.len() as u32) as usize];
        let is_applied = rng.random_bool(APPLY);
        let deviation: f64 = rng.sample(StandardNormal);
        let magnitude = (self.magnitude + self.std * deviation).clamp(0.0, MAX_MAGNITUDE);
        let negate = rng.random_bool(0.5);
        let interpolation =
            if rng.random_bool(0.5) { Interpolation::Bilinear } else { Interpolation::Bicubic };
        is_applied.then(|| AugmentOp { op, argument: argument(op, magnitude, negate), interpolation })
    }
}

/// Returns the argument of an operation at a magnitude of 0 to 10; 0 for operations without one.
///
/// Units: degrees (Rotate), bits kept (Posterize), tones (Solarize, SolarizeAdd), blend factors (Color, Contrast, Brightness,
/// Sharpness; 1 changes nothing), tangent of the angle (shears), share of the side (translations). Only the geometric
/// operations heed `negate`.
///
/// Differs from the reference: Posterize keeps at least one bit (none gives a black image, and newer Pillow refuses).
pub fn argument(op: Op, magnitude: f64, negate: bool) -> f32 {
    let level = magnitude / MAX_MAGNITUDE;
    let signed = |value: f64| if negate { -value } else { value };
    let argument = match op {
        Op::AutoContrast | Op::Equalize | Op::Invert => 0.0,
        Op::Rotate => signed(level * 30.0),
        Op::Posterize => (level * 4.0).floor().max(1.0),
        Op::Solarize => (level * 256.0).floor().min(256.0),
        Op::SolarizeAdd => (level * 110.0).floor().min(128.0),
        Op::Color | Op::Contrast | Op::Brightness | Op::Sharpness => level * 1.8 + 0.1,
        Op::ShearX | Op::ShearY => signed(level * 0.3),
        Op::TranslateXRel | Op::TranslateYRel => signed(level * 0.45),
    };
    argument as f32
}

/// Applies operations in order.
///
/// # Panics
/// If the image does not hold `width * height * 3` values.
pub fn apply(image: &RgbImage, operations: &[AugmentOp]) -> RgbImage {
    let mut image = image.clone();
    for operation in operations {
        apply_one(&mut image, operation);
    }
    image
}

fn apply_one(image: &mut RgbImage, &AugmentOp { op, argument: factor, interpolation }: &AugmentOp) {
    let exact = decimal(factor);
    let (width, height) = (image.width, image.height);
    let affine = |image: &mut RgbImage, matrix| *image = transform(image, &matrix, interpolation);
    match op {
        Op::AutoContrast => tone::autocontrast(image),
        Op::Equalize => tone::equalize(image),
        Op::Invert => tone::map(image, |value| 255 - value),
        Op::Posterize => tone::map(image, |value| value & kept_bits(factor)),
        Op::Solarize => {
            let below = |value| f32::from(value) < factor;
            tone::map(image, |value| if below(value) { value } else { 255 - value });
        }
        Op::SolarizeAdd => tone::map(image, |value| {
            if value < SOLARIZE_ADD_BELOW { value.saturating_add(factor as u8) } else { value }
        }),
        Op::Color => tone::color(image, factor),
        Op::Contrast => tone::contrast(image, factor),
        Op::Brightness => tone::brightness(image, factor),
        Op::Sharpness => tone::sharpness(image, factor),
        Op::Rotate => affine(image, rotation(width, height, exact)),
        Op::ShearX => affine(image, [1.0, exact, 0.0, 0.0, 1.0, 0.0]),
        Op::ShearY => affine(image, [1.0, 0.0, 0.0, exact, 1.0, 0.0]),
        Op::TranslateXRel => affine(image, [1.0, 0.0, exact * f64::from(width), 0.0, 1.0, 0.0]),
        Op::TranslateYRel => affine(image, [1.0, 0.0, 0.0, 0.0, 1.0, exact * f64::from(height)]),
    }
}

/// Mask of the upper bits that Posterize keeps.
fn kept_bits(bits: f32) -> u8 {
    let dropped = 8 - (bits as u32).clamp(1, 8);
    u8::MAX << dropped
}

/// Widens a stored argument to the six-decimal number it stands for.
///
/// Pillow computes in double precision and a pixel exactly on the border (a shear of 0.12 has one) is outside; the nearest
/// single-precision number to 0.12 would put it inside.
fn decimal(argument: f32) -> f64 {
    (f64::from(argument) * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    #[test]
    fn draws_follow_the_policy() {
        let policy = RandAugment { magnitude: 5.0, layers: 4, std: 1.0 };
        let mut rng = Draws::new(1).stream("randaugment", 0, 0);
        let (mut applied, mut counts) = (0, [0; 15]);
        let mut rotations = Vec::new();
        for _ in 0..20_000 {
            let operations = policy.draw(&mut rng);
            assert!(operations.len() <= 4);
            applied += operations.len();
            for operation in operations {
                counts[Op::ALL.iter().position(|op| *op == operation.op).unwrap()] += 1;
                if operation.op == Op::Rotate {
                    rotations.push(f64::from(operation.argument));
                }
            }
        }
        assert!((applied as f64 / 80_000.0 - 0.5).abs() < 0.01);
        assert!(counts.iter().all(|count| (f64::from(*count) / applied as f64 - 1.0 / 15.0).abs() < 0.01));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean(&rotations).abs() < 1.5, "both signs");
        let sizes: Vec<f64> = rotations.iter().map(|degrees| degrees.abs()).collect();
        assert!((mean(&sizes) - 15.0).abs() < 0.3, "magnitude 5 is 15 degrees");
    }

    #[test]
    fn posterize_never_makes_a_picture_black() {
        assert_eq!(argument(Op::Posterize, 0.0, false), 1.0);
        assert_eq!(argument(Op::Posterize, 2.49, false), 1.0);
        assert_eq!(argument(Op::Posterize, 10.0, false), 4.0);
        assert_eq!(kept_bits(0.0), 0b1000_0000);
        assert_eq!(kept_bits(4.0), 0b1111_0000);
    }

    #[test]
    fn a_solarize_threshold_of_256_changes_nothing() {
        let image = RgbImage { width: 4, height: 4, rgb: (0..48).map(|i| i * 5).collect() };
        let solarize = AugmentOp {
            op: Op::Solarize,
            argument: argument(Op::Solarize, 10.0, false),
            interpolation: Interpolation::Bilinear,
        };
        assert_eq!(apply(&image, &[solarize]).rgb, image.rgb);
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let error = RandAugment { magnitude: 11.0, layers: 1, std: 0.0 }.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "augmentation setting `randaugment.magnitude` is 11, expected 0 to 10; correct it in the pipeline's YAML"
        );
        assert!(RandAugment { magnitude: 5.0, layers: 1, std: f64::NAN }.validate().is_err());
    }
}
