//! `diversity`, `evaluation.json`: cosine similarities, DD-Ranking's scores.

use delt_networks::diversity::of_class;
use delt_tests::{json, number, tensors};
use report::robust_score::{augmentation_robust_score, label_robust_score};

fn cosine_similarities_are_the_golden_ones() {
    let (Some(expected), Some(golden)) = (json("diversity"), tensors("diversity")) else { return };
    let [_, length] = golden.shape("features");
    let features = golden.values("features");
    let diversity = of_class(&features.chunks(length).collect::<Vec<_>>());
    let close = |ours: f64, key: &str| (ours - number(&expected[key])).abs() < 1e-6;
    assert!(close(diversity.cosine_to_centroid, "cosine_to_centroid"), "{diversity:?}");
    assert!(close(diversity.pairwise_cosine, "pairwise_cosine"), "{diversity:?}");
}

fn label_and_augmentation_robust_scores_are_the_golden_ones() {
    let Some(evaluation) = json("evaluation") else { return };
    let cases = |key: &str| evaluation[key].as_array().filter(|cases| !cases.is_empty()).unwrap().clone();
    for case in cases("label_robust_score") {
        let n = |key: &str| number(&case[key]);
        let ours = label_robust_score(n("real_hard"), n("syn_hard"), n("syn_any"), n("random_any"));
        assert!((ours - n("lrs")).abs() < 1e-12, "{ours}");
    }
    for case in cases("augmentation_robust_score") {
        let n = |key: &str| number(&case[key]);
        let ours =
            augmentation_robust_score(n("syn_aug"), n("random_aug"), n("syn_plain"), n("random_plain"));
        assert!((ours - n("ars")).abs() < 1e-12, "{ours}");
    }
}

tests! {
    cosine_similarities_are_the_golden_ones,
    label_and_augmentation_robust_scores_are_the_golden_ones,
}
