//! Squeeze-excitation whose weights do not change: every channel of an image times a factor, which follows from the means of all.

use crate::frozen::FrozenConvNorm;
use crate::gates::sigmoid;
use crate::memory::room;
use crate::plan::{Plan, Scratch};
use crate::shape::ConvShape;
use crate::vectors::with_vectors;

/// Pixels whose values are added before they go to the sums.
const ADDED_TOGETHER: usize = 4;

/// The factors' weights: a product to few channels with what follows it, and one back, whose sigmoid they are.
#[derive(Clone, Debug)]
pub struct FrozenSqueeze {
    products: [FrozenConvNorm; 2],
}

impl FrozenSqueeze {
    /// Takes the 1x1 convolutions to few channels and back.
    pub fn new(to_few: FrozenConvNorm, back: FrozenConvNorm) -> Self {
        Self { products: [to_few, back] }
    }

    /// The products for images with so many channels.
    pub(crate) fn shapes(&self, [images, .., channels]: [usize; 4]) -> [ConvShape; 2] {
        let [to_few, back] = &self.products;
        let few = to_few.shape([images, 1, 1, channels]);
        [few, back.shape([images, 1, 1, few.outputs])]
    }

    pub(crate) fn pack(&self, shapes: &[ConvShape]) {
        self.products.iter().zip(shapes).for_each(|(product, shape)| product.pack(shape));
    }

    /// Images of so many values, in their place; the factors of all images at a time, each by its own sums.
    pub(crate) fn run(
        &self,
        (shapes, plans): (&[ConvShape], &[Plan]),
        images: &mut [f32],
        values: usize,
        (memory, scratch): (&mut Vec<f32>, &mut Scratch),
    ) {
        let [channels, few] = [shapes[0].inputs, shapes[0].outputs];
        let count = images.len() / values;
        let (factors, squeezed) = room(memory, count * (channels + few)).split_at_mut(count * channels);
        with_vectors!({
            for (image, means) in images.chunks_exact(values).zip(factors.chunks_exact_mut(channels)) {
                mean(image, means);
            }
        });
        // no pooling, which alone would need memory
        let [to_few, back] = &self.products;
        to_few.infer((&shapes[0], &plans[0]), factors, &[], squeezed, (&mut Vec::new(), scratch));
        back.infer((&shapes[1], &plans[1]), squeezed, &[], factors, (&mut Vec::new(), scratch));
        with_vectors!({
            for (image, factors) in images.chunks_exact_mut(values).zip(factors.chunks_exact_mut(channels)) {
                for factor in factors.iter_mut() {
                    *factor = sigmoid(*factor);
                }
                for pixel in image.chunks_exact_mut(channels) {
                    for (value, factor) in pixel.iter_mut().zip(&*factors) {
                        *value *= factor;
                    }
                }
            }
        });
    }
}

/// Mean over the pixels of an image, by channel.
#[inline(always)]
fn mean(image: &[f32], means: &mut [f32]) {
    let channels = means.len();
    means.fill(0.0);
    let together = image.chunks_exact(ADDED_TOGETHER * channels);
    for pixel in together.remainder().chunks_exact(channels) {
        for (sum, value) in means.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    for pixels in together {
        let (ab, cd) = pixels.split_at(2 * channels);
        let [(a, b), (c, d)] = [ab, cd].map(|pair| pair.split_at(channels));
        for ((((sum, a), b), c), d) in means.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *sum += (a + b) + (c + d);
        }
    }
    let share = channels as f32 / image.len() as f32;
    for mean in means {
        *mean *= share;
    }
}
