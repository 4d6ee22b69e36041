//! What keeps the images of a class apart: the eigenvalues of their Gram matrix are evened out (G-VBSM, CVPR 2024, section 3.1, data
//! densification).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use delt_device::product;
use delt_pipeline::config::densification::Densification;
use delt_ridge::Matrix;
use delt_training::losses::class_indices;

use crate::recover::values;

/// The weighted loss, `[1]`: over classes with several images, `Σ_k p_k (ln p_k − ln q_k)` with q = softmax(λ), p = softmax(λ / τ) held
/// constant, λ the eigenvalues of the Gram matrix of the class's images; none where no class has several.
///
/// Eigenvectors v are found on the host; with them held constant, ‖Xᵀv‖² is λ with its exact gradient.
///
/// # Shapes
/// `images`: `[n, 3, size, size]`, normalized, augmented; `labels`: n class indices.
///
/// # Errors
/// A device that returns no values, or values that are NaN or infinite.
pub fn loss(images: Tensor<4>, labels: &[u32], config: Densification) -> Result<Option<Tensor<1>>> {
    let [n, channels, height, width] = images.dims();
    let rows = images.reshape([n, channels * height * width]);
    let device = rows.device().without_autodiff();
    let plain = rows.clone().inner();
    let gram = values(product(plain.clone(), plain.transpose()))?;
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, label) in labels.iter().enumerate() {
        classes.entry(*label).or_default().push(at);
    }
    let mut sum: Option<Tensor<1>> = None;
    for of_class in classes.values().filter(|of_class| of_class.len() > 1) {
        let count = of_class.len();
        let pairs = of_class.iter().flat_map(|row| of_class.iter().map(move |column| row * n + column));
        let entries: Vec<f32> = pairs.map(|place| gram[place]).collect();
        let vectors = Matrix::from_f32(count, count, &entries).eigenvectors();
        let vectors =
            vectors.context("the images hold values that are NaN or infinite; lower synthesize.lr")?;
        let vectors = Tensor::<2>::from_data(TensorData::new(vectors.to_f32(), [count, count]), &device);
        let own = rows.clone().select(0, class_indices(of_class.iter().map(|at| *at as u32), &device));
        let eigenvalues = product(own.transpose(), vectors.transpose()).square().sum_dim(0);
        let even = log_softmax(eigenvalues.clone().detach() / config.temperature, 1);
        let apart = (even.clone().exp() * (even - log_softmax(eigenvalues, 1))).sum();
        sum = Some(sum.map_or(apart.clone(), |sum| sum + apart));
    }
    Ok(sum.map(|sum| sum.mul_scalar(config.weight)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Four images of 2 x 2 px, two of them of one class.
    fn images(device: &Device) -> Tensor<4> {
        let values: Vec<f32> = (0..48).map(|at| ((at * 37 % 23) as f32 - 11.0) / 40.0).collect();
        Tensor::from_data(TensorData::new(values, [4, 3, 2, 2]), device)
    }

    #[test]
    fn images_of_one_class_that_are_alike_are_driven_apart() {
        // so high that p is the same whatever the images: differences then know no other gradient
        let config = Densification { weight: 1.0, temperature: 1e9 };
        let device = Device::flex();
        let of = |images: Tensor<4>| {
            let found = loss(images, &[0, 1, 0, 2], config).expect("computes").expect("a class has two");
            values(found.inner()).expect("values")[0]
        };
        let leaf = images(&device).autodiff().require_grad();
        let found = loss(leaf.clone(), &[0, 1, 0, 2], config).expect("computes").expect("a class has two");
        let gradient = leaf.grad(&found.backward()).expect("a gradient");
        let gradient_values = values(gradient.clone()).expect("values");
        // images of the other classes have no part in it
        assert!(gradient_values[12..24].iter().chain(&gradient_values[36..]).all(|value| *value == 0.0));
        // the gradient is that of differences
        for at in [0, 5, 11, 24, 30] {
            let mut step = vec![0.0; 48];
            step[at] = 1e-2;
            let step = Tensor::<4>::from_data(TensorData::new(step, [4, 3, 2, 2]), &device);
            let up = of((images(&device) + step.clone()).autodiff());
            let down = of((images(&device) - step).autodiff());
            let difference = (up - down) / 2e-2;
            let found = gradient_values[at];
            assert!((difference - found).abs() < 2e-3 + 0.03 * found.abs(), "{at}: {difference} and {found}");
        }
        let moved = images(&device) - gradient;
        assert!(of(moved.autodiff()) < of(images(&device).autodiff()));
        assert!(loss(images(&device).autodiff(), &[0, 1, 2, 3], config).expect("computes").is_none());
    }
}
