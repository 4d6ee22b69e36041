//! One augmented view from first draw to last value: RandAugment, crop, flip, normalization, then the batch's mix.
//!
//! [`draw_views`] decides everything about an epoch and [`build_views`] turns a batch of those decisions into values. `relabel`
//! draws, builds and stores; `evaluate` only builds.

use delt_formats::{CropBox, Mix, Normalization, Picture, ViewRow};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::mix::validate_alpha;
use crate::shuffle_patches::{draw_patch_order, shuffle_patches};
use crate::{
    AugmentError, Draws, Pixel, RandAugment, apply, apply_mix, draw_cutmix, draw_mixup, random_resized_crop,
    resized_crop,
};

const CHANNELS: usize = 3;

/// Patches a side, at most: more show nothing any more.
const MOST_PATCHES: u32 = 8;

/// Each 8-bit value as a share of full intensity.
static INTENSITIES: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut value = 0;
    while value < 256 {
        table[value] = value as f32 / 255.0;
        value += 1;
    }
    table
};

/// What is drawn for every view.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// ShufflePatches (RDED): the image is taken as a mosaic of so many patches a side, which change places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle_patches: Option<u32>,
    /// RandAugment policy, if any.
    pub randaugment: Option<RandAugment>,
    /// Smallest share of the picture that RandomResizedCrop keeps; 1 means no crop.
    pub min_crop_scale: f64,
    /// Whether half of the views are mirrored.
    pub flip: bool,
    /// How a batch is mixed.
    pub mix: MixSpec,
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
        if !(self.min_crop_scale > 0.0 && self.min_crop_scale <= 1.0) {
            let expected = "above 0 and at most 1";
            return Err(AugmentError::Setting {
                name: "min_crop_scale",
                found: self.min_crop_scale,
                expected,
            });
        }
        if let Some(side) = self.shuffle_patches
            && !(2..=MOST_PATCHES).contains(&side)
        {
            let expected = "2 to 8 patches a side";
            return Err(AugmentError::Setting { name: "shuffle_patches", found: f64::from(side), expected });
        }
        if let Some(randaugment) = &self.randaugment {
            randaugment.validate()?;
        }
        match self.mix {
            MixSpec::None {} => Ok(()),
            MixSpec::Cutmix { alpha } | MixSpec::Mixup { alpha } => validate_alpha(alpha),
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
    if batch == 0 {
        return Err(AugmentError::Setting { name: "batch", found: 0.0, expected: "1 or more" });
    }
    let mut order: Vec<u32> = (0..images as u32).collect();
    order.shuffle(&mut draws.stream("order", u64::from(epoch), 0));
    let mut rows = Vec::with_capacity(images);
    for (index, members) in order.chunks(batch).enumerate() {
        let mixes = draw_mixes(draws, epoch, index, members.len(), &spec.mix, size)?;
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
/// `pictures` are all synthetic images, `size` x `size`; `rows` are one batch in position order. The result is
/// `[rows, 3, size, size]`.
///
/// # Errors
/// If a row is out of order, names an absent image or partner, or has a box outside its picture, or a picture has another size.
pub fn build_views(
    pictures: &[Picture],
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

fn build_view(picture: &Picture, row: &ViewRow, normalization: &Normalization, out: &mut [f32]) {
    let side = picture.width as usize;
    let augmented = match row.patch_order.as_slice() {
        [] => apply(picture, &row.randaugment),
        order => apply(&shuffle_patches(picture, order), &row.randaugment),
    };
    let intensity = |value: u8| INTENSITIES[usize::from(value)];
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

fn draw_mixes(
    draws: &Draws,
    epoch: u32,
    batch: usize,
    images: usize,
    spec: &MixSpec,
    size: u32,
) -> Result<Vec<Mix>, AugmentError> {
    let mut rng = draws.stream("mix", u64::from(epoch), batch as u64);
    match *spec {
        MixSpec::None {} => Ok(vec![Mix::None; images]),
        MixSpec::Cutmix { alpha } => draw_cutmix(&mut rng, alpha, images, size),
        MixSpec::Mixup { alpha } => draw_mixup(&mut rng, alpha, images),
    }
}

fn check(index: usize, row: &ViewRow, pictures: &[Picture], size: u32) -> Result<(), AugmentError> {
    let (position, image_id, crop) = (row.position, row.image_id, row.crop);
    if position as usize != index {
        return Err(AugmentError::Position { index, position });
    }
    let Some(picture) = pictures.get(image_id as usize) else {
        return Err(AugmentError::Image { position: index, image_id, images: pictures.len() });
    };
    let (width, height) = (picture.width, picture.height);
    if (width, height) != (size, size) {
        return Err(AugmentError::PictureSize { image_id, width, height, size });
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
mod tests {
    use super::*;
    use crate::to_normalized;

    const SPEC: ViewSpec = ViewSpec {
        shuffle_patches: None,
        randaugment: Some(RandAugment { magnitude: 5.0, layers: 4, std: 1.0 }),
        min_crop_scale: 0.25,
        flip: true,
        mix: MixSpec::Cutmix { alpha: 1.0 },
    };
    const PLAIN: Normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };

    fn pictures(count: u32, size: u32) -> Vec<Picture> {
        let rgb = |id: u32| (0..size * size * 3).map(|i| ((i * 29 + id * 83) % 256) as u8).collect();
        (0..count).map(|id| Picture { width: size, height: size, rgb: rgb(id) }).collect()
    }

    #[test]
    fn an_epoch_shows_every_image_once_and_keeps_a_short_last_batch() {
        let rows = draw_views(&Draws::new(3407), 5, 10, 4, &SPEC, 32).unwrap();
        let mut shown: Vec<u32> = rows.iter().map(|row| row.image_id).collect();
        assert_ne!(shown, (0..10).collect::<Vec<_>>());
        shown.sort_unstable();
        assert_eq!(shown, (0..10).collect::<Vec<_>>());
        let places: Vec<(u32, u32)> = rows.iter().map(|row| (row.batch, row.position)).collect();
        assert_eq!(places, (0..10).map(|i| (i / 4, i % 4)).collect::<Vec<_>>());
        assert!(rows.iter().all(|row| row.epoch == 5 && row.logits.is_empty()));
    }

    #[test]
    fn draws_repeat_for_a_seed_and_differ_between_epochs_and_seeds() {
        let draw = |seed, epoch| draw_views(&Draws::new(seed), epoch, 10, 4, &SPEC, 32).unwrap();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn switching_one_part_off_leaves_the_others() {
        let draw = |spec| draw_views(&Draws::new(1), 0, 10, 4, &spec, 32).unwrap();
        let with = draw(SPEC);
        let without = draw(ViewSpec { randaugment: None, ..SPEC });
        assert!(without.iter().all(|row| row.randaugment.is_empty()));
        assert!(with.iter().zip(&without).all(|(a, b)| (a.crop, a.flip, a.mix) == (b.crop, b.flip, b.mix)));
    }

    #[test]
    fn shuffled_patches_leave_the_other_draws_as_they_were_and_need_whole_patches() {
        let spec = ViewSpec { shuffle_patches: Some(3), ..SPEC };
        let draw = |spec, size| draw_views(&Draws::new(1), 0, 10, 4, &spec, size).unwrap();
        let (with, without) = (draw(spec, 32), draw(SPEC, 32));
        assert!(with.iter().any(|row| row.patch_order != with[0].patch_order));
        let unshuffled = |row: &ViewRow| ViewRow { patch_order: Vec::new(), ..row.clone() };
        assert_eq!(with.iter().map(unshuffled).collect::<Vec<_>>(), without);
        assert_eq!(
            build_views(&pictures(10, 32), &with[..4], 32, &PLAIN).unwrap_err().to_string(),
            "3 x 3 patches do not divide 32 px; choose `shuffle_patches` so that they do"
        );
        let plain = ViewSpec {
            randaugment: None,
            min_crop_scale: 1.0,
            flip: false,
            mix: MixSpec::None {},
            shuffle_patches: Some(2),
        };
        let rows = draw(plain, 8);
        let pictures = pictures(10, 8);
        let values = build_views(&pictures, &rows[..4], 8, &PLAIN).unwrap();
        for (row, view) in rows.iter().zip(values.chunks_exact(192)) {
            let mut expected = vec![0.0; 192];
            let shuffled = shuffle_patches(&pictures[row.image_id as usize], &row.patch_order);
            to_normalized(&shuffled, &PLAIN, &mut expected);
            assert_eq!(view, expected);
        }
    }

    #[test]
    fn nothing_drawn_is_the_normalized_picture() {
        let spec = ViewSpec {
            shuffle_patches: None,
            randaugment: None,
            min_crop_scale: 1.0,
            flip: false,
            mix: MixSpec::None {},
        };
        let pictures = pictures(3, 8);
        let rows = draw_views(&Draws::new(1), 0, 3, 3, &spec, 8).unwrap();
        let values = build_views(&pictures, &rows, 8, &PLAIN).unwrap();
        for (row, view) in rows.iter().zip(values.chunks_exact(192)) {
            let mut expected = vec![0.0; 192];
            to_normalized(&pictures[row.image_id as usize], &PLAIN, &mut expected);
            assert_eq!(view, expected);
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let pictures = pictures(40, 16);
        let rows = draw_views(&Draws::new(1), 0, 40, 40, &SPEC, 16).unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| build_views(&pictures, &rows, 16, &PLAIN).unwrap())
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn rows_that_do_not_fit_are_named() {
        let pictures = pictures(2, 8);
        let rows = draw_views(&Draws::new(1), 0, 2, 2, &SPEC, 8).unwrap();
        let message = |change: fn(&mut ViewRow)| {
            let mut rows = rows.clone();
            change(&mut rows[1]);
            build_views(&pictures, &rows, 8, &PLAIN).unwrap_err().to_string()
        };
        assert_eq!(
            message(|row| row.position = 7),
            "row 1 of the batch has position 7, expected 1; pass the rows of one batch sorted by position"
        );
        assert_eq!(
            message(|row| row.image_id = 2),
            "view at position 1 shows image 2, but there are 2 synthetic images; the labels belong to another synthetic set, re-run relabel"
        );
        assert_eq!(
            message(|row| row.crop = CropBox { top: 1, left: 0, height: 8, width: 8 }),
            "view at position 1 crops 8x8 px at top 1, left 0, outside its 8x8 picture; re-run relabel"
        );
        assert_eq!(
            build_views(&pictures, &rows, 9, &PLAIN).unwrap_err().to_string(),
            format!(
                "image {} is 8x8 px, expected 9x9; re-run delt-synthesize for this size",
                rows[0].image_id
            )
        );
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let randaugment = RandAugment { magnitude: -1.0, layers: 1, std: 0.0 };
        let refusals = [
            (
                ViewSpec { min_crop_scale: 0.0, ..SPEC },
                "`min_crop_scale` is 0, expected above 0 and at most 1",
            ),
            (
                ViewSpec { min_crop_scale: 1.1, ..SPEC },
                "`min_crop_scale` is 1.1, expected above 0 and at most 1",
            ),
            (
                ViewSpec { mix: MixSpec::Mixup { alpha: -1.0 }, ..SPEC },
                "`mix.alpha` is -1, expected a finite number above 0",
            ),
            (
                ViewSpec { shuffle_patches: Some(1), ..SPEC },
                "`shuffle_patches` is 1, expected 2 to 8 patches a side",
            ),
            (
                ViewSpec { randaugment: Some(randaugment), ..SPEC },
                "`randaugment.magnitude` is -1, expected 0 to 10",
            ),
        ];
        let whole = |said: &str| format!("augmentation setting {said}; correct it in the pipeline's YAML");
        for (spec, said) in refusals {
            assert_eq!(spec.validate().unwrap_err().to_string(), whole(said));
        }
        assert_eq!(
            draw_views(&Draws::new(1), 0, 2, 0, &SPEC, 8).unwrap_err().to_string(),
            whole("`batch` is 0, expected 1 or more")
        );
    }
}
