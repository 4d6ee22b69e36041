//! A matrix product that every backend computes right.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

/// Whether a device is the CPU backend, with or without autodiff.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// `left` times `right`: on the CPU a product, on GPUs a 1x1 convolution. Burn 0.22 fuses a product and what follows it there
/// into kernels that may lose the product (tracel-ai/burn issues 5122 and 5257); convolutions it does not fuse, neither here nor
/// in the backward step.
///
/// # Shapes
/// `left`: `[rows, inner]`, `right`: `[inner, columns]`, the result: `[rows, columns]`.
pub fn product(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    if is_cpu(&left.device()) { left.matmul(right) } else { by_convolution(left, right) }
}

fn by_convolution(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let ([rows, inner], [_, columns]) = (left.dims(), right.dims());
    let pixels = left.reshape([rows, inner, 1, 1]);
    let filters = right.transpose().reshape([columns, inner, 1, 1]);
    conv2d(pixels, filters, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1)).reshape([rows, columns])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().expect("numbers")
    }

    #[test]
    fn the_convolution_is_the_product_and_so_are_its_gradients() {
        let device = Device::flex().autodiff();
        device.seed(7);
        for (rows, inner, columns) in [(1, 1, 1), (4, 256, 10), (100, 27, 3), (3, 64, 100)] {
            let random = |shape: [usize; 2]| {
                Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
            };
            let (left, right, weight) =
                (random([rows, inner]), random([inner, columns]), random([rows, columns]));
            let run = |multiply: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
                let result = multiply(left.clone(), right.clone());
                let mut gradients = (result.clone() * weight.clone()).sum().backward();
                [
                    values(result),
                    values(left.grad_remove(&mut gradients).expect("a gradient")),
                    values(right.grad_remove(&mut gradients).expect("a gradient")),
                ]
            };
            for (ours, plain) in run(by_convolution).iter().zip(&run(product)) {
                assert_eq!(ours.len(), plain.len());
                for (ours, plain) in ours.iter().zip(plain) {
                    assert!((ours - plain).abs() <= 1e-4 * (1.0 + plain.abs()), "{ours} against {plain}");
                }
            }
        }
    }
}
