//! The teacher's training transform on small images: pad with black, random crop, random flip.

use delt_formats::Normalization;
use rand::{Rng, RngExt};

use crate::pixel_range;

/// Draws one padded crop and one flip, as torchvision's `RandomCrop(size, padding=pad)` and `RandomHorizontalFlip`; with
/// `flip` false no image is mirrored.
///
/// The border is black in pixel space, hence the lower end of the pixel range in normalized space.
///
/// # Shapes
/// `chw` and the result are normalized values `[3, size, size]`.
///
/// # Panics
/// If `chw` has another number of values.
pub fn pad_crop_flip(
    rng: &mut impl Rng,
    chw: &[f32],
    size: usize,
    pad: usize,
    flip: bool,
    normalization: &Normalization,
) -> Vec<f32> {
    let down = rng.random_range(0..=2 * pad as u32) as usize;
    let right = rng.random_range(0..=2 * pad as u32) as usize;
    let flip = rng.random_bool(0.5) && flip;
    shift(chw, size, (down, right), pad, flip, pixel_range(normalization).map(|(black, _)| black))
}

/// Cuts the window whose corner lies `corner` within the padded image.
fn shift(
    chw: &[f32],
    size: usize,
    corner: (usize, usize),
    pad: usize,
    flip: bool,
    black: [f32; 3],
) -> Vec<f32> {
    assert_eq!(chw.len(), black.len() * size * size, "values of a [3, {size}, {size}] image");
    let mut window = Vec::with_capacity(chw.len());
    for (plane, black) in chw.chunks_exact((size * size).max(1)).zip(black) {
        for y in 0..size {
            let row = (y + corner.0).checked_sub(pad).filter(|row| *row < size);
            let start = window.len();
            window.extend((0..size).map(|x| {
                let column = (x + corner.1).checked_sub(pad).filter(|column| *column < size);
                row.zip(column).map_or(black, |(row, column)| plane[row * size + column])
            }));
            if flip {
                window[start..].reverse();
            }
        }
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    const BLACK: [f32; 3] = [-1.0, -2.0, -3.0];

    #[test]
    fn the_middle_corner_leaves_the_picture_and_others_bring_black_in() {
        let image: Vec<f32> = (0..27).map(|i| i as f32).collect();
        assert_eq!(shift(&image, 3, (4, 4), 4, false, BLACK), image);
        let moved = shift(&image, 3, (3, 5), 4, false, BLACK);
        assert_eq!(moved[..9], [-1.0, -1.0, -1.0, 1.0, 2.0, -1.0, 4.0, 5.0, -1.0]);
        let mirrored = shift(&image, 3, (4, 4), 4, true, BLACK);
        assert_eq!(mirrored[..3], [2.0, 1.0, 0.0]);
        assert!(shift(&image, 3, (8, 0), 4, false, BLACK).iter().all(|value| *value < 0.0));
    }

    #[test]
    fn draws_cover_every_shift_and_both_directions() {
        let normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };
        let image: Vec<f32> = (0..3 * 4).map(|i| i as f32 + 1.0).collect();
        let mut rng = Draws::new(1).stream("pad_crop_flip", 0, 0);
        let seen: std::collections::BTreeSet<Vec<u32>> = (0..500)
            .map(|_| pad_crop_flip(&mut rng, &image, 2, 1, true, &normalization))
            .map(|window| window.into_iter().map(f32::to_bits).collect())
            .collect();
        assert_eq!(seen.len(), 9 * 2, "nine shifts, two directions");
        assert!(seen.iter().flatten().any(|bits| f32::from_bits(*bits) == -2.0), "black is -mean / std");
    }
}
