//! Differentiable augmentation of a batch: an operation that was drawn, applied to tensors.

use burn::tensor::{Tensor, TensorData};
use delt_augment::dsa::{Changes, Operation, Tones};

use crate::warp::warped;

/// Applies an operation to images; gradients flow through it on every backend. The draws of the operation are constants.
///
/// # Shapes
/// `images` and the result: `[n, channels, side, side]`; the operation holds one draw, or one for each image.
///
/// # Panics
/// Where the operation holds another number of draws.
pub fn apply(operation: &Operation, images: Tensor<4>) -> Tensor<4> {
    let [n, _, side, _] = images.dims();
    let draws = operation.draws.len();
    assert!(draws == 1 || draws == n, "{draws} draws for {n} images");
    match operation.changes(side) {
        Changes::Warps(warps) => warped(images, &warps),
        Changes::Tones(tones) => toned(images, &tones),
        Changes::Holes(holes) => {
            let mut mask = vec![1.0; draws * side * side];
            for (mask, [rows, columns]) in mask.chunks_exact_mut(side * side).zip(holes) {
                for row in rows {
                    mask[row * side..][columns.clone()].fill(0.0);
                }
            }
            let mask = constant(mask, [draws, 1, side, side], &images);
            images * mask
        }
    }
}

/// With m the mean of a pixel's channels and M that of the image, both of the brighter image: ((x - m) s + m - M) c + M.
fn toned(images: Tensor<4>, tones: &[Tones]) -> Tensor<4> {
    let of = |value: &dyn Fn(&Tones) -> f64| {
        let values: Vec<f32> = tones.iter().map(|tones| value(tones) as f32).collect();
        constant(values, [tones.len(), 1, 1, 1], &images)
    };
    let scaled = of(&|t| t.saturation * t.contrast);
    let from_pixel = of(&|t| (1.0 - t.saturation) * t.contrast);
    let from_image = of(&|t| 1.0 - t.contrast);
    let brightness = of(&|t| t.brightness);
    let pixel = images.clone().mean_dim(1);
    let image = pixel.clone().mean_dim(3).mean_dim(2);
    images * scaled + (pixel * from_pixel + image * from_image + brightness)
}

/// Values where images are, outside their graph.
pub(crate) fn constant<const D: usize>(values: Vec<f32>, shape: [usize; D], images: &Tensor<4>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &images.device().without_autodiff())
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use delt_augment::Draws;
    use delt_augment::dsa::{Images, Strategy, draw};

    use super::*;

    fn images(n: usize, side: usize) -> Tensor<4> {
        let device = Device::flex();
        device.seed(3);
        Tensor::random([n, 3, side, side], Distribution::Normal(0.0, 1.0), &device)
    }

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().expect("numbers")
    }

    #[test]
    fn draws_that_say_nothing_change_nothing() {
        let images = images(2, 8);
        let nothing = [
            (Strategy::Color, [0.5, 0.5, 0.5]),
            (Strategy::SoftColor, [0.5, 0.5, 0.5]),
            (Strategy::Crop, [0.0; 3]),
            (Strategy::Flip, [0.5, 0.0, 0.0]),
            (Strategy::Rotate, [0.5, 0.0, 0.0]),
            (Strategy::Turn, [0.5, 0.0, 0.0]),
            (Strategy::Translate, [0.5, 0.5, 0.0]),
        ];
        for (strategy, draw) in nothing {
            let same = apply(&Operation { strategy, draws: vec![draw] }, images.clone());
            assert_eq!(values(same), values(images.clone()), "{strategy:?}");
        }
        let scale = Operation { strategy: Strategy::Scale, draws: vec![[6.0 / 11.0 - 1.0 / 11.0; 3]] };
        for (ours, same) in values(apply(&scale, images.clone())).iter().zip(values(images)) {
            assert!((ours - same).abs() < 1e-5, "a scale of 1");
        }
    }

    #[test]
    fn siamese_draws_do_the_same_to_both_sides_and_draws_of_each_what_each_alone_gets() {
        let (real, side) = (images(3, 8), 8);
        let synthetic = real.clone().narrow(0, 1, 1);
        for strategy in Strategy::DSA.into_iter().chain(Strategy::FREPO) {
            let mut rng = Draws::new(5).stream("test", 0, strategy as u64);
            let siamese = draw(&[strategy], &mut rng, Images::One, side).expect("an operation");
            let one = |tensor: Tensor<4>| values(tensor.narrow(0, 1, 1));
            let alone = values(apply(&siamese, synthetic.clone()));
            assert_eq!(one(apply(&siamese, real.clone())), alone, "{strategy:?}");
            let each = draw(&[strategy], &mut rng, Images::Each(3), side).expect("an operation");
            let second = Operation { strategy, draws: vec![each.draws[1]] };
            assert_eq!(one(apply(&each, real.clone())), values(apply(&second, synthetic.clone())));
        }
    }
}
