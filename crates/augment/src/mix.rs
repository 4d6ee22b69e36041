//! CutMix and MixUp: one λ, one box and one permutation for a whole batch.

use delt_formats::Mix;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};

use crate::AugmentError;

/// Returns (top, left, bottom, right) of the box that CutMix pastes; bottom and right are exclusive.
///
/// The side is `int(size * sqrt(1 - lambda))` and the box is clipped to the image. `center` is (row, column).
pub fn cutmix_box(size: u32, lambda: f64, center: (u32, u32)) -> (u32, u32, u32, u32) {
    let side = (f64::from(size) * (1.0 - lambda).sqrt()) as u32;
    let half = side / 2;
    let (row, column) = center;
    (row.saturating_sub(half), column.saturating_sub(half), (row + half).min(size), (column + half).min(size))
}

/// Draws CutMix for a batch of `n` images: λ ~ Beta(alpha, alpha), a uniform center, a permutation.
///
/// # Errors
/// If `alpha` is not a positive number.
pub fn draw_cutmix(rng: &mut impl Rng, alpha: f64, n: usize, size: u32) -> Result<Vec<Mix>, AugmentError> {
    let lambda = draw_lambda(rng, alpha)?;
    let center = (rng.random_range(0..size.max(1)), rng.random_range(0..size.max(1)));
    let (top, left, bottom, right) = cutmix_box(size, f64::from(lambda), center);
    let mix = |partner| Mix::Cutmix { partner, lambda, top, left, bottom, right };
    Ok(permutation(rng, n).into_iter().map(mix).collect())
}

/// Draws MixUp for a batch of `n` images: λ ~ Beta(alpha, alpha), a permutation.
///
/// # Errors
/// If `alpha` is not a positive number.
pub fn draw_mixup(rng: &mut impl Rng, alpha: f64, n: usize) -> Result<Vec<Mix>, AugmentError> {
    let lambda = draw_lambda(rng, alpha)?;
    Ok(permutation(rng, n).into_iter().map(|partner| Mix::Mixup { partner, lambda }).collect())
}

/// Mixes every image of a batch with its partner as the partner was before mixing.
///
/// # Shapes
/// `images` is `[n, channels, height, width]`, `dims` is (channels, height, width), `mixes` has one entry per image.
///
/// # Errors
/// If the counts disagree, a partner is not in the batch or a box leaves the image; then no image was changed.
pub fn apply_mix(
    images: &mut [f32],
    n: usize,
    dims: (usize, usize, usize),
    mixes: &[Mix],
) -> Result<(), AugmentError> {
    let (channels, height, width) = dims;
    let image_values = channels * height * width;
    if mixes.len() != n || images.len() != n * image_values {
        return Err(AugmentError::BatchShape {
            mixes: mixes.len(),
            values: images.len(),
            batch: n,
            image_values,
        });
    }
    for (position, mix) in mixes.iter().enumerate() {
        check(position, mix, n, height, width)?;
    }
    if image_values == 0 || mixes.iter().all(|mix| matches!(mix, Mix::None)) {
        return Ok(());
    }
    let before = images.to_vec();
    let partner_image = |partner: u32| &before[partner as usize * image_values..][..image_values];
    for (image, mix) in images.chunks_exact_mut(image_values).zip(mixes) {
        match *mix {
            Mix::None => {}
            Mix::Cutmix { partner, top, left, bottom, right, .. } => {
                let columns = left as usize..right as usize;
                let rows = |line: usize| (top as usize..bottom as usize).contains(&(line % height));
                let lines = image.chunks_exact_mut(width).zip(partner_image(partner).chunks_exact(width));
                for (_, (line, pasted)) in lines.enumerate().filter(|(line, _)| rows(*line)) {
                    line[columns.clone()].copy_from_slice(&pasted[columns.clone()]);
                }
            }
            Mix::Mixup { partner, lambda } => {
                for (value, other) in image.iter_mut().zip(partner_image(partner)) {
                    *value = *value * lambda + other * (1.0 - lambda);
                }
            }
        }
    }
    Ok(())
}

/// λ in single precision, as the labels artifact stores it: box and stored λ agree.
fn draw_lambda(rng: &mut impl Rng, alpha: f64) -> Result<f32, AugmentError> {
    Ok(lambdas(alpha)?.sample(rng) as f32)
}

/// The distribution of λ; checks its parameter.
pub(crate) fn lambdas(alpha: f64) -> Result<Beta<f64>, AugmentError> {
    let beta = Beta::new(alpha, alpha).ok().filter(|_| alpha.is_finite());
    beta.ok_or(AugmentError::Setting { name: "mix.alpha", found: alpha, expected: "a finite number above 0" })
}

fn permutation(rng: &mut impl Rng, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.shuffle(rng);
    order
}

fn check(position: usize, mix: &Mix, batch: usize, height: usize, width: usize) -> Result<(), AugmentError> {
    let partner = match *mix {
        Mix::None => return Ok(()),
        Mix::Cutmix { partner, .. } | Mix::Mixup { partner, .. } => partner,
    };
    if partner as usize >= batch {
        return Err(AugmentError::Partner { position, partner, batch });
    }
    if let Mix::Cutmix { top, left, bottom, right, .. } = *mix {
        let is_inside =
            top <= bottom && bottom as usize <= height && left <= right && right as usize <= width;
        if !is_inside {
            let (rows, columns) = (top..bottom, left..right);
            return Err(AugmentError::MixBox { position, rows, columns, height, width });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    #[test]
    fn a_batch_shares_one_lambda_and_one_box_and_permutes() {
        let mut rng = Draws::new(1).stream("mix", 0, 0);
        let mixes = draw_cutmix(&mut rng, 1.0, 7, 32).unwrap();
        let mut partners = Vec::new();
        let mut boxes = Vec::new();
        for mix in mixes {
            let Mix::Cutmix { partner, lambda, top, left, bottom, right } = mix else { panic!("not CutMix") };
            partners.push(partner);
            boxes.push((lambda, top, left, bottom, right));
        }
        assert!(boxes.windows(2).all(|pair| pair[0] == pair[1]));
        partners.sort_unstable();
        assert_eq!(partners, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn lambda_of_beta_one_is_uniform() {
        let mut rng = Draws::new(1).stream("mix", 0, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(draw_lambda(&mut rng, 1.0).unwrap())).collect();
        for share in [0.1, 0.5, 0.9] {
            let below = draws.iter().filter(|lambda| **lambda < share).count() as f64 / 20_000.0;
            assert!((below - share).abs() < 0.015);
        }
    }

    #[test]
    fn only_the_box_is_pasted_and_from_the_unmixed_partner() {
        let mut images: Vec<f32> = (0..2 * 4 * 4).map(|i| i as f32).collect();
        let original = images.clone();
        let mix = |partner| Mix::Cutmix { partner, lambda: 0.5, top: 1, left: 2, bottom: 3, right: 4 };
        apply_mix(&mut images, 2, (1, 4, 4), &[mix(1), mix(0)]).unwrap();
        for at in 0..16 {
            let inside = (1..3).contains(&(at / 4)) && (2..4).contains(&(at % 4));
            let (first, second) = if inside { (at + 16, at) } else { (at, at + 16) };
            assert_eq!((images[at], images[at + 16]), (original[first], original[second]));
        }
    }

    #[test]
    fn mixes_that_do_not_fit_are_refused_and_nothing_changes() {
        let mut images = vec![1.0; 2 * 16];
        let absent = Mix::Mixup { partner: 2, lambda: 0.0 };
        assert_eq!(
            apply_mix(&mut images, 2, (1, 4, 4), &[Mix::None, absent]).unwrap_err().to_string(),
            "image at position 1 is mixed with position 2 of a batch of 2; re-run relabel"
        );
        let outside = Mix::Cutmix { partner: 0, lambda: 0.0, top: 0, left: 0, bottom: 5, right: 4 };
        assert_eq!(
            apply_mix(&mut images, 2, (1, 4, 4), &[outside, Mix::None]).unwrap_err().to_string(),
            "image at position 0 has CutMix rows 0..5 and columns 0..4 in a 4x4 image; re-run relabel"
        );
        assert_eq!(
            apply_mix(&mut images, 2, (1, 4, 4), &[Mix::None]).unwrap_err().to_string(),
            "1 mixes and 32 values for a batch of 2 images of 16 values; pass one mix per image"
        );
        assert_eq!(images, vec![1.0; 32]);
        assert_eq!(
            draw_mixup(&mut Draws::new(1).stream("mix", 0, 0), 0.0, 2).unwrap_err().to_string(),
            "augmentation setting `mix.alpha` is 0, expected a finite number above 0; correct it in the pipeline's YAML"
        );
    }
}
