//! DD-Ranking's scores (arXiv 2505.13300). Accuracies are fractions in 0..=1.

/// Label-robust score: how much of the accuracy is the images' and not the labels'. Equal weights.
///
/// HLR = real_hard − synthetic_hard, IOR = synthetic − random (both with their own labels and one recipe),
/// α = ½ IOR − ½ HLR, LRS = (e^α − e⁻¹) / (e − e⁻¹).
pub fn label_robust_score(real_hard: f64, synthetic_hard: f64, synthetic: f64, random: f64) -> f64 {
    scaled(0.5 * (synthetic - random) - 0.5 * (real_hard - synthetic_hard))
}

/// Augmentation-robust score: the lead over random images with and without augmentation. Equal weights.
pub fn augmentation_robust_score(
    synthetic_augmented: f64,
    random_augmented: f64,
    synthetic_plain: f64,
    random_plain: f64,
) -> f64 {
    scaled(0.5 * (synthetic_augmented - random_augmented) + 0.5 * (synthetic_plain - random_plain))
}

fn scaled(exponent: f64) -> f64 {
    let e = std::f64::consts::E;
    (exponent.exp() - 1.0 / e) / (e - 1.0 / e)
}
