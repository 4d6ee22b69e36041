//! Views per second of the published augmentation, as `relabel` and the students build them.

use anyhow::Result;
use delt_augment::{Draws, MixSpec, Order, RandAugment, ViewSpec, build_views, draw_views};
use delt_formats::RgbImage;
use delt_formula::formula_uniform;

use crate::compute::NORMALIZATION;
use crate::{spread, timed};

/// Sides of the images, px.
const SIZES: [u32; 3] = [32, 64, 224];

/// Images of a run, each with draws of its own.
const PICTURES: usize = 200;

const BATCH: usize = 100;

const SPEC: ViewSpec = ViewSpec {
    shuffle_patches: None,
    randaugment: Some(RandAugment { magnitude: 5.0, layers: 4, std: 1.0 }),
    min_crop_scale: 0.25,
    flip: true,
    mix: MixSpec::Cutmix { alpha: 1.0 },
    order: Order::Drawn,
};

/// Prints views per second.
///
/// # Errors
/// None that is not a mistake in this file.
pub(crate) fn measure(runs: usize, only: &str) -> Result<()> {
    for size in SIZES {
        let name = format!("views-{size}");
        if !name.contains(only) {
            continue;
        }
        let values = formula_uniform("bench/", "image", (3 * size * size) as usize);
        let rgb: Vec<u8> = values.into_iter().map(|u| ((u + 1.0) * 127.5) as u8).collect();
        let pictures = vec![RgbImage { width: size, height: size, rgb }; PICTURES];
        let rows = draw_views(&Draws::new(0), 0, PICTURES, BATCH, &SPEC, size)?;
        let mut seconds = timed(
            &mut || {
                for batch in rows.chunk_by(|a, b| a.batch == b.batch) {
                    build_views(&pictures, batch, size, &NORMALIZATION)?;
                }
                Ok(())
            },
            runs,
        )?;
        let (low, median, high) = spread(&mut seconds);
        let rate = |seconds: f64| PICTURES as f64 / seconds;
        println!("{name} {:.0} views/s ({:.0} to {:.0})", rate(median), rate(high), rate(low));
    }
    Ok(())
}
