//! One augmented view from first draw to last value: RandAugment, crop, flip, normalization, then the batch's mix.
//!
//! [`draw_views`] decides everything about an epoch and [`build_views`] turns a batch of those decisions into values. `relabel`
//! draws, builds and stores; `evaluate` only builds.

use std::sync::LazyLock;

use delt_formats::{CropBox, Mix, Normalization, RgbImage, ViewRow};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::mix::lambdas;
use crate::shuffle_patches::{draw_patch_order, shuffle_patches};
use crate::{
    AugmentError, CHANNELS, Draws, Pixel, RandAugment, apply, apply_mix, draw_cutmix, draw_mixup,
    random_resized_crop, resized_crop, torch_order,
};

/// Patches a side, at most: more show nothing any more.
const MOST_PATCHES: u32 = 8;

/// Each 8-bit value as a share of full intensity.
static INTENSITIES: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|value| value as f32 / 255.0));

/// What is drawn for every view.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// ShufflePatches (RDED): the image is taken as a mosaic of so many patches a side, which change places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle_patches: Option<u32>,
    /// RandAugment policy, if any.
    pub randaugment: Option<RandAugment>,
    /// Smallest share of the image that RandomResizedCrop keeps; 1 means no crop.
    pub min_crop_scale: f64,
    /// Whether half of the views are mirrored.
    pub flip: bool,
    /// How a batch is mixed.
    pub mix: MixSpec,
    /// In which order an epoch shows the images.
    #[serde(default, skip_serializing_if = "Order::is_drawn")]
    pub order: Order,
}

/// In which order an epoch shows the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A new one for each seed and epoch.
    #[default]
    Drawn,
    /// That of [`torch_order`], which PyTorch loaders repeat; the same for all seeds.
    Torch,
}

impl Order {
    /// Whether it is the default, which no key names.
    pub fn is_drawn(&self) -> bool {
        *self == Self::Drawn
    }
}

/// How a batch is mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MixSpec {
    /// Not at all. (Braces: serde lets unknown keys pass beside a unit variant.)
    None {},
    /// A box of another image is pasted; λ ~ Beta(alpha, alpha).
    Cutmix {
        /// Parameter of the Beta distribution.
        alpha: f64,
    },
    /// Two images are averaged; λ ~ Beta(alpha, alpha).
    Mixup {
        /// Parameter of the Beta distribution.
        alpha: f64,
    },
}

impl ViewSpec {
    /// Checks all settings.
    ///
    /// # Errors
    /// Names the first setting outside its range.
    pub fn validate(&self) -> Result<(), AugmentError> {
        let scale = self.min_crop_scale;
        let is_share = scale > 0.0 && scale <= 1.0;
        AugmentError::check_setting("min_crop_scale", scale, is_share, "above 0 and at most 1")?;
        if let Some(side) = self.shuffle_patches {
            let (found, is_allowed) = (f64::from(side), (2..=MOST_PATCHES).contains(&side));
            AugmentError::check_setting("shuffle_patches", found, is_allowed, "2 to 8 patches a side")?;
        }
        if let Some(randaugment) = &self.randaugment {
            randaugment.validate()?;
        }
        match self.mix {
            MixSpec::None {} => Ok(()),
            MixSpec::Cutmix { alpha } | MixSpec::Mixup { alpha } => lambdas(alpha).map(drop),
        }
    }
}

/// Draws all views of one epoch: every image once, in a new order, in batches of `batch`; a short last batch is kept.
///
/// Logits are left empty. Each part has its own stream, so that switching one off leaves the others as they were. The draws of an
/// image depend on the epoch and the image alone, those of a mix on the epoch and the batch alone.
///
/// # Errors
/// If the specification does not validate or `batch` is 0.
pub fn draw_views(
    draws: &Draws,
    epoch: u32,
    images: usize,
    batch: usize,
    spec: &ViewSpec,
    size: u32,
) -> Result<Vec<ViewRow>, AugmentError> {
    spec.validate()?;
    AugmentError::check_setting("batch", 0.0, batch > 0, "1 or more")?;
    let order = match spec.order {
        Order::Drawn => {
            let mut order: Vec<u32> = (0..images as u32).collect();
            order.shuffle(&mut draws.stream("order", u64::from(epoch), 0));
            order
        }
        Order::Torch => torch_order(epoch, images),
    };
    let mut rows = Vec::with_capacity(images);
    for (index, members) in order.chunks(batch).enumerate() {
        let mut rng = draws.stream("mix", u64::from(epoch), index as u64);
        let mixes = match spec.mix {
            MixSpec::None {} => vec![Mix::None; members.len()],
            MixSpec::Cutmix { alpha } => draw_cutmix(&mut rng, alpha, members.len(), size)?,
            MixSpec::Mixup { alpha } => draw_mixup(&mut rng, alpha, members.len())?,
        };
        for (position, (image_id, mix)) in members.iter().zip(mixes).enumerate() {
            let stream = |purpose| draws.stream(purpose, u64::from(epoch), u64::from(*image_id));
            rows.push(ViewRow {
                epoch,
                batch: index as u32,
                position: position as u32,
                image_id: *image_id,
                patch_order: spec
                    .shuffle_patches
                    .map_or_else(Vec::new, |side| draw_patch_order(&mut stream("shuffle-patches"), side)),
                randaugment: spec
                    .randaugment
                    .map_or_else(Vec::new, |policy| policy.draw(&mut stream("randaugment"))),
                crop: if spec.min_crop_scale < 1.0 {
                    random_resized_crop(&mut stream("crop"), size, size, (spec.min_crop_scale, 1.0))
                } else {
                    CropBox { top: 0, left: 0, height: size, width: size }
                },
                flip: spec.flip && stream("flip").random_bool(0.5),
                mix,
                logits: Vec::new(),
            });
        }
    }
    Ok(rows)
}

/// Builds the normalized, mixed values of one batch.
///
/// The result depends on nothing but the arguments; images are built in parallel.
///
/// # Shapes
/// `images` are all synthetic images, `size` x `size`; `rows` are one batch in position order. The result is
/// `[rows, 3, size, size]`.
///
/// # Errors
/// If a row is out of order, names an absent image or partner, or has a box outside its image, or an image has another size.
pub fn build_views(
    pictures: &[RgbImage],
    rows: &[ViewRow],
    size: u32,
    normalization: &Normalization,
) -> Result<Vec<f32>, AugmentError> {
    for (index, row) in rows.iter().enumerate() {
        check(index, row, pictures, size)?;
    }
    let side = size as usize;
    let image_values = CHANNELS * side * side;
    let mut values = vec![0.0; rows.len() * image_values];
    values
        .par_chunks_exact_mut(image_values.max(1))
        .zip(rows)
        .for_each(|(out, row)| build_view(&pictures[row.image_id as usize], row, normalization, out));
    let mixes: Vec<Mix> = rows.iter().map(|row| row.mix).collect();
    apply_mix(&mut values, rows.len(), (CHANNELS, side, side), &mixes)?;
    Ok(values)
}

fn build_view(picture: &RgbImage, row: &ViewRow, normalization: &Normalization, out: &mut [f32]) {
    let side = picture.width as usize;
    let augmented = match row.patch_order.as_slice() {
        [] => apply(picture, &row.randaugment),
        order => apply(&shuffle_patches(picture, order), &row.randaugment),
    };
    let intensities = &*INTENSITIES;
    let intensity = |value: u8| intensities[usize::from(value)];
    let pixels: Vec<Pixel> = augmented
        .rgb
        .chunks_exact(CHANNELS)
        .map(|rgb| [intensity(rgb[0]), intensity(rgb[1]), intensity(rgb[2]), 0.0])
        .collect();
    let cropped = resized_crop(&pixels, side, row.crop, side, row.flip);
    for (channel, plane) in out.chunks_exact_mut(side * side).enumerate() {
        let (mean, std) = (normalization.mean[channel], normalization.std[channel]);
        for (value, pixel) in plane.iter_mut().zip(&cropped) {
            *value = (pixel[channel] - mean) / std;
        }
    }
}

fn check(index: usize, row: &ViewRow, pictures: &[RgbImage], size: u32) -> Result<(), AugmentError> {
    let (position, image_id, crop) = (row.position, row.image_id, row.crop);
    if position as usize != index {
        return Err(AugmentError::Position { index, position });
    }
    let Some(picture) = pictures.get(image_id as usize) else {
        return Err(AugmentError::Image { position: index, image_id, images: pictures.len() });
    };
    let (width, height) = (picture.width, picture.height);
    if (width, height) != (size, size) {
        return Err(AugmentError::ImageSize { image_id, width, height, size });
    }
    let fits =
        |start: u32, length: u32| length > 0 && start.checked_add(length).is_some_and(|end| end <= size);
    if !(fits(crop.top, crop.height) && fits(crop.left, crop.width)) {
        return Err(AugmentError::Crop { position: index, crop, size });
    }
    let patches = row.patch_order.len().isqrt() as u32;
    if patches > 0 && !size.is_multiple_of(patches) {
        return Err(AugmentError::Patches { patches, size });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
