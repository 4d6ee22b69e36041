//! `batch/frepo` and `batch/rcig`: methods that solve the last layer.

use burn::tensor::Tensor;
use delt_matching::frepo::regressed;
use delt_tangent::unrolled_sgd::Set;
use delt_tests::{device, json, number, tensors, values};

use crate::batch::{Net, within};

#[test]
fn regression_on_features_with_mirror_images_and_the_margin_equals_autograd() {
    let (Some(facts), Some(golden)) = (json("batch/frepo"), tensors("batch/frepo")) else { return };
    for case in ["none_doubling", "pre_running_doubling"] {
        let (facts, reached) = (&facts["cases"][case], &facts["reached"][case]);
        let net = Net::of(&facts["net"]);
        let name = |leaf: &str| format!("{case}.{leaf}");
        let set = Set {
            images: golden.tensor(&name("images"), &device()),
            targets: golden.tensor(&name("labels"), &device()),
        };
        let real: Tensor<4> = golden.tensor(&name("real"), &device());
        let real_labels: Tensor<2> = golden.tensor(&name("real_labels"), &device());
        let how = (number(&facts["ridge"]), facts["flip"] == true);
        let at = (&net.theta, net.norms());
        let found = regressed(&net.function, at, &set, (&real, &real_labels), how).unwrap();
        let reached = |what: &str| number(&reached[what]);
        let loss = (found.error + found.margin) as f32;
        within(case, &[loss], &[number(&facts["loss"]) as f32], reached("loss"));
        assert!((found.margin - number(&facts["margin_loss"])).abs() < 1e-6, "{case}: {}", found.margin);
        let of = |leaf: &str| golden.values(&name(leaf));
        within(case, &values(found.images), &of("grad_images"), reached("grad_images"));
        within(case, &values(found.targets), &of("grad_labels"), reached("grad_labels"));
    }
}
