//! ShufflePatches: the patches of a mosaic change places, so that a student cannot learn where they stand (RDED, CVPR 2024; the
//! first transform of its evaluation).

use delt_formats::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;

use crate::CHANNELS;

/// An order of `side` x `side` patches; every order is equally probable.
pub(crate) fn draw_patch_order(rng: &mut impl Rng, side: u32) -> Vec<u8> {
    let mut order: Vec<u8> = (0..=u8::MAX).take((side * side) as usize).collect();
    order.shuffle(rng);
    order
}

/// The image whose place `p`, row by row, shows patch `order[p]` of `image`.
///
/// `order` names each of a square number of patches once, and their number on a side divides both sides of the image.
pub fn shuffle_patches(image: &RgbImage, order: &[u8]) -> RgbImage {
    let patches = order.len().isqrt();
    let (width, height) = (image.width as usize, image.height as usize);
    let (patch_width, patch_height) = (width / patches, height / patches);
    let row_bytes = CHANNELS * patch_width;
    let mut rgb = Vec::with_capacity(image.rgb.len());
    for y in 0..height {
        for x in 0..patches {
            let patch = usize::from(order[y / patch_height * patches + x]);
            let (from_x, from_y) =
                (patch % patches * patch_width, patch / patches * patch_height + y % patch_height);
            let start = CHANNELS * (from_y * width + from_x);
            rgb.extend_from_slice(&image.rgb[start..start + row_bytes]);
        }
    }
    RgbImage { rgb, ..*image }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draws;

    #[test]
    fn each_place_shows_the_patch_that_the_order_names() {
        // 4 x 2 px, one value each, in 2 x 2 patches of 2 x 1 px
        let image = |values: [u8; 8]| RgbImage {
            width: 4,
            height: 2,
            rgb: values.iter().flat_map(|value| [*value; 3]).collect(),
        };
        let shuffled = shuffle_patches(&image([0, 1, 2, 3, 4, 5, 6, 7]), &[3, 0, 1, 2]);
        assert_eq!(shuffled, image([6, 7, 0, 1, 2, 3, 4, 5]));
        assert_eq!(shuffle_patches(&shuffled, &[1, 2, 3, 0]), image([0, 1, 2, 3, 4, 5, 6, 7]));
    }

    #[test]
    fn orders_are_permutations_that_all_occur() {
        let mut rng = Draws::new(0).stream("test", 0, 0);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let order = draw_patch_order(&mut rng, 2);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            seen.insert(order);
        }
        assert_eq!(seen.len(), 24);
    }
}
