//! `mix`: CutMix and MixUp with a given permutation, λ and center; boxes of several sizes.

use delt_augment::{apply_mix, cutmix_box};
use delt_formats::Mix;
use delt_tests::{assert_close, integers, json, number, tensors};
use serde_json::Value;

/// The box of a case, which gives `lam` and `center`.
fn our_box(size: u32, case: &Value) -> [u32; 4] {
    let center = integers(&case["center"]);
    cutmix_box(size, number(&case["lam"]), (center[0], center[1])).into()
}

fn cutmix_boxes_are_exact() {
    let Some(golden) = json("mix") else { return };
    let cases = golden["boxes"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let size = case["size"].as_u64().unwrap() as u32;
        assert_eq!(our_box(size, case).as_slice(), integers(&case["box"]), "{case}");
    }
}

fn mixed_batches_equal_the_published_ones() {
    let (Some(case), Some(golden)) = (json("mix"), tensors("mix")) else { return };
    let [n, channels, height, width] = golden.shape("images");
    let box_of_all = our_box(height as u32, &case);
    assert_eq!(box_of_all.as_slice(), integers(&case["cutmix_box"]));
    let [top, left, bottom, right] = box_of_all;
    let lambda = number(&case["lam"]) as f32;
    let partners = integers(&case["permutation"]);
    let cutmix = |partner: &u32| Mix::Cutmix { partner: *partner, lambda, top, left, bottom, right };
    let mixup = |partner: &u32| Mix::Mixup { partner: *partner, lambda };
    let cutmixes: Vec<Mix> = partners.iter().map(cutmix).collect();
    let mixups: Vec<Mix> = partners.iter().map(mixup).collect();
    for (name, mixes) in [("cutmix", cutmixes), ("mixup", mixups)] {
        let mut images = golden.values("images");
        apply_mix(&mut images, n, (channels, height, width), &mixes).unwrap();
        assert_close(name, &images, &golden.values(name), 1e-5);
    }
}

tests! {
    cutmix_boxes_are_exact,
    mixed_batches_equal_the_published_ones,
}
