//! RandomResizedCrop boxes as torchvision draws them, and the easy-to-hard curriculum for their smallest area.

use std::f64::consts::PI;

use delt_formats::CropBox;
use rand::{Rng, RngExt};

/// Smallest and largest width / height of a box (torchvision's default for RandomResizedCrop).
const ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

/// Boxes drawn before the center of the image is taken instead (torchvision).
const TRIES: u32 = 10;

/// Draws the box of a RandomResizedCrop from a `height` x `width` image.
///
/// `scale` bounds the share of the image's area. A box that leaves the image is drawn again, ten times at most; then the
/// largest central box with an allowed aspect ratio is taken.
pub fn random_resized_crop(rng: &mut impl Rng, height: u32, width: u32, scale: (f64, f64)) -> CropBox {
    draw_box(rng, height, width, scale, ASPECT)
}

/// As [`random_resized_crop`], all boxes square (RDED's patches).
pub fn random_square_crop(rng: &mut impl Rng, height: u32, width: u32, scale: (f64, f64)) -> CropBox {
    draw_box(rng, height, width, scale, (1.0, 1.0))
}

fn draw_box(rng: &mut impl Rng, height: u32, width: u32, scale: (f64, f64), aspects: (f64, f64)) -> CropBox {
    let area = f64::from(height) * f64::from(width);
    for _ in 0..TRIES {
        let target_area = area * uniform(rng, scale.0, scale.1);
        let aspect = uniform(rng, aspects.0.ln(), aspects.1.ln()).exp();
        let crop_width = (target_area * aspect).sqrt().round_ties_even() as u32;
        let crop_height = (target_area / aspect).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let top = rng.random_range(0..=height - crop_height);
            let left = rng.random_range(0..=width - crop_width);
            return CropBox { top, left, height: crop_height, width: crop_width };
        }
    }
    central_crop(height, width, aspects)
}

/// Returns the smallest crop scale at `iteration` of `total`: a cosine from 1 to `min_scale` that ends after the share
/// `milestone` of all iterations and then stays.
///
/// # Paper
/// CDA's curriculum as DELT's published recovery uses it (mode "cosine").
pub fn easy_to_hard(iteration: u32, total: u32, min_scale: f64, milestone: f64) -> f64 {
    let end = milestone * f64::from(total);
    let iteration = f64::from(iteration);
    if iteration >= end {
        return min_scale;
    }
    min_scale + (1.0 - min_scale) * (1.0 + (PI * iteration / end).cos()) / 2.0
}

fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

fn central_crop(height: u32, width: u32, aspects: (f64, f64)) -> CropBox {
    let aspect = f64::from(width) / f64::from(height);
    let (crop_height, crop_width) = if aspect < aspects.0 {
        ((f64::from(width) / aspects.0).round_ties_even() as u32, width)
    } else if aspect > aspects.1 {
        (height, (f64::from(height) * aspects.1).round_ties_even() as u32)
    } else {
        (height, width)
    };
    CropBox {
        top: (height - crop_height) / 2,
        left: (width - crop_width) / 2,
        height: crop_height,
        width: crop_width,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    #[test]
    fn the_curriculum_is_a_cosine_from_one_to_its_smallest_scale() {
        assert_eq!(easy_to_hard(0, 4000, 0.08, 1.0), 1.0);
        assert!((easy_to_hard(2000, 4000, 0.08, 1.0) - 0.54).abs() < 1e-12);
        // (1 + cos(pi / 4)) / 2 of the way
        assert!((easy_to_hard(1000, 4000, 0.08, 1.0) - 0.865_269_119_345_812).abs() < 1e-12);
        assert!(easy_to_hard(3999, 4000, 0.08, 1.0) - 0.08 < 1e-6);
        assert_eq!(easy_to_hard(4000, 4000, 0.08, 1.0), 0.08);
        assert!((1..4000).all(|i| easy_to_hard(i, 4000, 0.08, 1.0) < easy_to_hard(i - 1, 4000, 0.08, 1.0)));
    }

    #[test]
    fn an_early_milestone_ends_the_curriculum_early() {
        assert!((easy_to_hard(250, 1000, 0.08, 0.5) - 0.54).abs() < 1e-12);
        assert_eq!(easy_to_hard(500, 1000, 0.08, 0.5), 0.08);
        assert_eq!(easy_to_hard(0, 1000, 0.08, 0.0), 0.08);
    }

    #[test]
    fn boxes_stay_inside_their_picture() {
        let mut rng = Draws::new(1).stream("crop", 0, 0);
        for (height, width) in [(32, 32), (20, 90), (90, 20), (1, 1), (1, 7)] {
            for _ in 0..2_000 {
                let crop = random_resized_crop(&mut rng, height, width, (0.08, 1.0));
                assert!(crop.height >= 1 && crop.top + crop.height <= height);
                assert!(crop.width >= 1 && crop.left + crop.width <= width);
            }
        }
    }

    #[test]
    fn square_boxes_are_square_and_fall_back_to_the_largest() {
        let mut rng = Draws::new(1).stream("crop", 0, 0);
        for _ in 0..1_000 {
            let crop = random_square_crop(&mut rng, 40, 50, (0.08, 1.0));
            assert_eq!(crop.height, crop.width);
            assert!(crop.top + crop.height <= 40 && crop.left + crop.width <= 50);
        }
        let largest = CropBox { top: 0, left: 35, height: 30, width: 30 };
        assert_eq!(random_square_crop(&mut rng, 30, 100, (1.0, 1.0)), largest);
    }

    #[test]
    fn an_impossible_area_falls_back_to_the_center() {
        let mut rng = Draws::new(1).stream("crop", 0, 0);
        let wide = random_resized_crop(&mut rng, 30, 100, (1.0, 1.0));
        assert_eq!(wide, CropBox { top: 0, left: 30, height: 30, width: 40 });
        let tall = random_resized_crop(&mut rng, 100, 30, (1.0, 1.0));
        assert_eq!(tall, CropBox { top: 30, left: 0, height: 40, width: 30 });
    }
}
