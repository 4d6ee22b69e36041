//! The losses of training: on soft labels and on hard ones.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Class indices on a device, `[n]`.
pub fn class_indices(labels: impl IntoIterator<Item = u32>, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = labels.into_iter().map(|label| label as i32).collect();
    let count = labels.len();
    Tensor::from_data(TensorData::new(labels, [count]), device)
}

/// KL(teacher ‖ student) of both softmax distributions at `temperature`, mean over the batch, without the factor T².
///
/// # Shapes
///
/// Logits `[n, classes]` → `[1]`. No gradient reaches the teacher's.
pub fn kl_divergence(student_logits: Tensor<2>, teacher_logits: Tensor<2>, temperature: f64) -> Tensor<1> {
    let teacher_logits = teacher_logits.detach() / temperature;
    let teacher = softmax(teacher_logits.clone(), 1);
    let log_ratio = log_softmax(teacher_logits, 1) - log_softmax(student_logits / temperature, 1);
    (teacher * log_ratio).sum_dim(1).mean()
}

/// Cross-entropy to class indices, mean over the batch; `smoothing` is the share of the target that is spread evenly over
/// all classes, as in PyTorch.
///
/// # Shapes
///
/// Logits `[n, classes]`, labels `[n]` → `[1]`.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let log_probabilities = log_softmax(logits, 1);
    let true_class = -log_probabilities.clone().gather(1, labels.unsqueeze_dim(1)).mean();
    if smoothing == 0.0 {
        return true_class;
    }
    let all_classes = -log_probabilities.mean_dim(1).mean();
    true_class * (1.0 - smoothing) + all_classes * smoothing
}

/// Mean squared distance of logits, over images and classes, plus `ce_weight` times the cross-entropy to class indices
/// (MSE-GT of G-VBSM).
///
/// # Shapes
///
/// Logits `[n, classes]`, labels `[n]` → `[1]`. No gradient reaches the teacher's.
pub fn mse_gt(
    student_logits: Tensor<2>,
    teacher_logits: Tensor<2>,
    labels: Tensor<1, Int>,
    ce_weight: f64,
) -> Tensor<1> {
    let apart = student_logits.clone() - teacher_logits.detach();
    apart.square().mean() + cross_entropy(student_logits, labels, 0.0) * ce_weight
}

/// Cross-entropy to a distribution per image, mean over the batch: for labels mixed by CutMix or MixUp.
///
/// # Shapes
///
/// Logits and targets `[n, classes]` → `[1]`.
pub fn cross_entropy_to_distribution(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * targets).sum_dim(1).mean()
}

/// Half the squared distance of logits and targets, summed over the classes, mean over the batch.
///
/// # Shapes
///
/// Logits and targets `[n, classes]` → `[1]`.
pub fn half_squared_error(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (logits - targets).square().sum_dim(1).mean() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_squared_error_is_a_mean_over_images_and_a_sum_over_classes() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[0.0, 0.0], [1.0, 3.0]], &device);
        let targets = Tensor::<2>::from_data([[1.0, 0.0], [1.0, 1.0]], &device);
        let found = half_squared_error(logits, targets).try_into_scalar::<f32>().expect("readable");
        assert!((found - 1.25).abs() < 1e-6, "{found}");
    }

    #[test]
    fn mse_gt_is_the_mean_over_images_and_classes_and_a_share_of_cross_entropy() {
        let device = Device::flex();
        let student = Tensor::<2>::from_data([[0.0, 0.0], [1.0, 3.0]], &device);
        let teacher = Tensor::<2>::from_data([[1.0, 0.0], [1.0, 1.0]], &device);
        let labels = Tensor::<1, Int>::from_data([0, 1], &device);
        let found = mse_gt(student, teacher, labels, 0.15).try_into_scalar::<f32>().expect("readable");
        // (1 + 0 + 0 + 4) / 4, and cross-entropies ln 2 and ln(1 + e⁻²)
        let ce = (2.0_f64.ln() + (-2.0_f64).exp().ln_1p()) / 2.0;
        assert!((f64::from(found) - (1.25 + 0.15 * ce)).abs() < 1e-6, "{found}");
    }
}
