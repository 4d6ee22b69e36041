//! The mean cross-entropy of scaled predictions on the host, in 64 bits.

use delt_ridge::Matrix;

/// Of some of the images.
pub(super) struct CrossEntropy {
    /// Their part of the mean.
    pub(super) loss: f64,
    /// Its gradient, `[some, classes]`.
    pub(super) of_predictions: Matrix,
}

/// What predictions of some of `count` images, times e^κ, add to their mean cross-entropy.
///
/// # Shapes
/// `predicted`: `[some, classes]`, with a label each.
pub(super) fn cross_entropy(
    predicted: &Matrix,
    labels: &[u32],
    log_temperature: f64,
    count: usize,
) -> CrossEntropy {
    let [_, classes] = predicted.dims();
    let factor = log_temperature.exp();
    let mut of_predictions = Matrix::zeros(labels.len(), classes);
    let mut loss = 0.0;
    let rows = predicted.values().chunks(classes).zip(of_predictions.values_mut().chunks_mut(classes));
    for ((row, gradient), label) in rows.zip(labels) {
        let most = row.iter().fold(f64::NEG_INFINITY, |most, value| most.max(value * factor));
        let exponents = row.iter().map(|value| (value * factor - most).exp());
        gradient.iter_mut().zip(exponents).for_each(|(gradient, exponent)| *gradient = exponent);
        let sum: f64 = gradient.iter().sum();
        let label = *label as usize;
        loss += (sum.ln() + most - row[label] * factor) / count as f64;
        gradient.iter_mut().for_each(|gradient| *gradient *= factor / (sum * count as f64));
        gradient[label] -= factor / count as f64;
    }
    CrossEntropy { loss, of_predictions }
}
