//! Images sampled bilinearly at other places. Burn's gather takes several times as long on the CPU as the sums themselves, and its
//! backward step one thread; there it is one operation, a task for each image. Other backends gather.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::{Int, Tensor, TensorData};
use delt_augment::warp::{Tap, Warp};
use rayon::prelude::*;

use crate::dsa::constant;

/// A tensor of the CPU backend.
type Values = FloatTensor<Flex>;

/// The taps of each image, or one list for all.
type Taps = Vec<Vec<Tap>>;

/// Images as one warp for all, or one for each, shows them.
///
/// # Shapes
/// `images` and the result: `[n, channels, side, side]`.
pub(crate) fn warped(images: Tensor<4>, warps: &[Warp]) -> Tensor<4> {
    const MESSAGE: &str = "a tensor of the CPU backend";
    let [_, _, side, _] = images.dims();
    let taps: Taps = warps.par_iter().map(|warp| warp.taps(side)).collect();
    if !delt_device::is_cpu(&images.device()) {
        return gathered(images, &taps);
    }
    if !images.device().is_autodiff() {
        let images = images.try_into_primitive::<Flex>().expect(MESSAGE);
        return Tensor::from_primitive::<Flex>(run(&images, &taps, sampled));
    }
    let images = images.try_into_primitive::<Autodiff<Flex>>().expect(MESSAGE);
    let (images, node) = images.into_parts();
    let sampled = run(&images, &taps, sampled);
    let tracked = match WarpBackward.prepare::<NoCheckpointing>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Arc::new(taps), sampled),
        OpsKind::UnTracked(prep) => prep.finish(sampled),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(tracked)
}

#[derive(Debug)]
struct WarpBackward;

impl Backward<Flex, 1> for WarpBackward {
    type State = Arc<Taps>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        grads.register::<Flex>(parent.id, run(&gradient, &ops.state, scattered));
    }
}

/// Turns each plane of each image into another by the taps of the image.
fn run(images: &Values, taps: &Taps, plane: fn(&[Tap], &[f32], &mut [f32])) -> Values {
    let images = images.to_contiguous();
    let shape = images.shape();
    let [n, pixels] = [shape[0], shape[2] * shape[3]];
    let from: &[f32] = images.as_slice().expect("contiguous values of 32 bits");
    let mut to = vec![0.0; from.len()];
    let values = (from.len() / n.max(1)).max(1);
    to.par_chunks_exact_mut(values).zip(from.par_chunks_exact(values)).enumerate().for_each(
        |(at, (to, from))| {
            let taps = &taps[if taps.len() == 1 { 0 } else { at }];
            for (to, from) in to.chunks_exact_mut(pixels).zip(from.chunks_exact(pixels)) {
                plane(taps, from, to);
            }
        },
    );
    Values::from_data(TensorData::new(to, shape))
}

/// Each pixel as the sum of its taps.
fn sampled(taps: &[Tap], from: &[f32], to: &mut [f32]) {
    for (to, Tap { at, weight }) in to.iter_mut().zip(taps) {
        *to = (0..4).map(|k| weight[k] * from[at[k] as usize]).sum();
    }
}

/// Each pixel given back to where its taps come from.
fn scattered(taps: &[Tap], from: &[f32], to: &mut [f32]) {
    for (from, Tap { at, weight }) in from.iter().zip(taps) {
        for (at, weight) in at.iter().zip(weight) {
            to[*at as usize] += weight * from;
        }
    }
}

/// The same by operations that every backend has.
fn gathered(images: Tensor<4>, taps: &Taps) -> Tensor<4> {
    let [n, c, h, w] = images.dims();
    let (lists, pixels) = (taps.len(), h * w);
    let flat: Vec<&Tap> = taps.iter().flatten().collect();
    let device = images.device().without_autodiff();
    let planes = images.clone().reshape([n, c, pixels]);
    let term = |k: usize| {
        let at = flat.iter().map(|tap| tap.at[k] as i32).collect::<Vec<_>>();
        let at = Tensor::<3, Int>::from_data(TensorData::new(at, [lists, 1, pixels]), &device);
        let weight = flat.iter().map(|tap| tap.weight[k]).collect();
        let weight = constant(weight, [lists, 1, pixels], &images);
        planes.clone().gather(2, at.expand([n, c, pixels])) * weight
    };
    (term(0) + term(1) + term(2) + term(3)).reshape([n, c, h, w])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use delt_augment::warp::Border;

    use super::*;

    #[test]
    fn the_operation_is_the_gather_and_so_is_its_gradient() {
        let device = Device::flex().autodiff();
        device.seed(2);
        let random = || Tensor::<4>::random([2, 3, 5, 5], Distribution::Normal(0.0, 1.0), &device);
        let (leaf, weight) = (random().require_grad(), random());
        let warp = |angle: f64, border| {
            let (sine, cosine) = angle.sin_cos();
            Warp { matrix: [cosine, -sine, sine, cosine], shift: [0.3, -1.6], border }
        };
        let warps = [warp(0.4, Border::Zeros), warp(-0.2, Border::Repeats)];
        for warps in [&warps[..], &warps[..1], &warps[1..]] {
            let taps: Taps = warps.iter().map(|warp| warp.taps(5)).collect();
            let [ours, plain] = [warped(leaf.clone(), warps), gathered(leaf.clone(), &taps)].map(|result| {
                let gradients = (result.clone() * weight.clone()).sum().backward();
                let both = [result.inner(), leaf.grad(&gradients).expect("a gradient")];
                both.map(|tensor| tensor.try_into_vec_as::<f32>().expect("numbers"))
            });
            for (ours, plain) in ours.iter().flatten().zip(plain.iter().flatten()) {
                assert!((ours - plain).abs() < 1e-5, "{ours} against {plain}");
            }
        }
    }
}
