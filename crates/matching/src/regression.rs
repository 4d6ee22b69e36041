//! What the methods that solve the last layer share (FRePo, RCIG): mirror images, features on the host, the margin of labels.

use burn::tensor::{Tensor, TensorData};
use delt_ridge::Matrix;
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Function, Norms};

use crate::MatchingError;

/// Images that go through a network at once where no graph is kept: bounds the activations in memory.
pub(crate) const PART: usize = 128;

/// Images followed by their mirror images, where they count.
pub(crate) fn mirrored(images: Tensor<4>, mirror: bool) -> Tensor<4> {
    if mirror { Tensor::cat(vec![images.clone(), images.flip([3])], 0) } else { images }
}

/// Their targets, which are the same of both.
pub(crate) fn mirrored_targets(targets: Tensor<2>, mirror: bool) -> Tensor<2> {
    if mirror { Tensor::cat(vec![targets.clone(), targets], 0) } else { targets }
}

/// A set followed by its mirror images.
pub(crate) fn mirrored_set(set: &Set, mirror: bool) -> Set {
    Set {
        images: mirrored(set.images.clone(), mirror),
        targets: mirrored_targets(set.targets.clone(), mirror),
    }
}

/// A gradient on images and mirror images as one on the images.
pub(crate) fn folded(gradient: Tensor<4>, mirror: bool) -> Tensor<4> {
    if !mirror {
        return gradient;
    }
    let [first, second] = halves(gradient);
    first + second.flip([3])
}

/// The same of the targets.
pub(crate) fn folded_targets(gradient: Tensor<2>, mirror: bool) -> Tensor<2> {
    if !mirror {
        return gradient;
    }
    let [first, second] = halves(gradient);
    first + second
}

fn halves<const D: usize>(tensor: Tensor<D>) -> [Tensor<D>; 2] {
    let half = tensor.dims()[0] / 2;
    [tensor.clone().narrow(0, 0, half), tensor.narrow(0, half, half)]
}

/// The values of a tensor.
pub(crate) fn host(tensor: &Tensor<2>, what: &str) -> Result<Vec<f32>, MatchingError> {
    let values = tensor.clone().without_autodiff().try_into_vec_as::<f32>();
    values.map_err(|source| MatchingError::Read { what: what.to_owned(), source })
}

/// The values of a tensor, in 64 bits.
pub(crate) fn matrix(tensor: &Tensor<2>, what: &str) -> Result<Matrix, MatchingError> {
    let [rows, columns] = tensor.dims();
    Ok(Matrix::from_f32(rows, columns, &host(tensor, what)?))
}

/// A matrix where the network computes.
pub(crate) fn tensor(matrix: &Matrix, function: &Function) -> Tensor<2> {
    Tensor::from_data(TensorData::new(matrix.to_f32(), matrix.dims()), function.device())
}

/// Features of images under constant weights, part by part.
pub(crate) fn features(
    function: &Function,
    (theta, norms): (&Tensor<1>, Norms<'_>),
    images: &Tensor<4>,
) -> Result<Matrix, MatchingError> {
    let weights = function.weights(theta);
    let mut values = Vec::new();
    for part in images.clone().split(PART, 0) {
        values.extend(host(&function.forward(&weights, part, norms).features, "features")?);
    }
    Ok(Matrix::from_f32(images.dims()[0], function.form.features(), &values))
}

/// −mean of the gap between the two largest labels of each row, no more than `most`, and its gradient on the labels.
pub fn margin(labels: &Matrix, most: f64) -> (f64, Matrix) {
    let [rows, classes] = labels.dims();
    let mut gradient = Matrix::zeros(rows, classes);
    let mut sum = 0.0;
    if classes < 2 {
        return (0.0, gradient);
    }
    let rows_of = labels.values().chunks(classes).zip(gradient.values_mut().chunks_mut(classes));
    for (row, gradient) in rows_of {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let gap = row[order[0]] - row[order[1]];
        sum += gap.min(most);
        if gap < most {
            gradient[order[0]] = -1.0 / rows as f64;
            gradient[order[1]] = 1.0 / rows as f64;
        }
    }
    (-sum / rows as f64, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_counts_up_to_its_most_and_pulls_the_two_largest_apart_below_it() {
        let labels = Matrix::new(2, 3, vec![0.9, 0.1, 0.0, 0.2, 0.1, 0.5]);
        let (value, gradient) = margin(&labels, 0.4);
        assert!((value + (0.4 + 0.3) / 2.0).abs() < 1e-12, "{value}");
        assert_eq!(gradient.values(), [0.0, 0.0, 0.0, 0.5, 0.0, -0.5]);
    }
}
