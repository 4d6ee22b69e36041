//! `batch/distribution_matching` and `batch/gradient_matching`: losses of DM, DC and DSA with their gradients on the images.

use burn::tensor::Tensor;
use delt_augment::dsa::{Operation, Strategy};
use delt_matching::{distribution, gradient};
use delt_tests::{device, json, number, tensors, values};
use delt_training::dsa::apply;
use serde_json::Value;

use crate::batch::{Net, scalar_within, tensor, within};

/// The siamese operation that a file describes.
fn operation(of: &Value) -> Option<Operation> {
    let draw = |name: &str| of["draws"][name].as_f64().unwrap_or(0.0);
    let (strategy, draws) = match of["kind"].as_str()? {
        "flip" => (Strategy::Flip, [draw("coin"), 0.0, 0.0]),
        "crop" => (Strategy::Crop, [draw("down"), draw("right"), 0.0]),
        "rotate" => (Strategy::Rotate, [draw("angle"), 0.0, 0.0]),
        "color" => (Strategy::Color, [draw("brightness"), draw("saturation"), draw("contrast")]),
        other => panic!("{other}"),
    };
    Some(Operation { strategy, draws: vec![draws] })
}

fn view(of: &Value) -> impl Fn(Tensor<4>) -> Tensor<4> + use<> {
    let operation = operation(of);
    move |x| match &operation {
        Some(operation) => apply(operation, x),
        None => x,
    }
}

fn mean_features_of_augmented_classes_are_matched_as_by_autograd() {
    let name = "batch/distribution_matching";
    let (Some(facts), Some(golden)) = (json(name), tensors(name)) else { return };
    let net = Net::of(&facts["net"]);
    let leaf = golden.tensor::<4>("synthetic", &device()).autodiff().require_grad();
    let real: Tensor<4> = golden.tensor("real", &device());
    let size = |name: &str| facts[name].as_u64().unwrap() as usize;
    let (ipc, per_class) = (size("ipc"), size("real_per_class"));
    let (mut reals, mut synthetics) = (Vec::new(), Vec::new());
    for (class, augmentation) in facts["augmentation"].as_array().unwrap().iter().enumerate() {
        let view = view(augmentation);
        reals.push(view(real.clone().narrow(0, class * per_class, per_class)));
        synthetics.push(view(leaf.clone().narrow(0, class * ipc, ipc)));
    }
    let weights = net.function.weights(&net.theta);
    let loss = distribution::distance(&net.function, &weights, reals, synthetics);
    let reached = |what: &str| number(&facts["reached"][what]);
    scalar_within("loss", loss.clone().inner(), &facts["loss"], reached("loss"));
    let found = values(leaf.grad(&loss.backward()).unwrap());
    within("gradient", &found, &golden.values("grad"), reached("grad"));
}

fn the_distance_of_gradients_and_its_derivative_equal_autograd() {
    let name = "batch/gradient_matching";
    let (Some(facts), Some(golden)) = (json(name), tensors(name)) else { return };
    let net = Net::of(&facts["cases"]["instance"]["net"]);
    let scale = |name: &str| number(&facts["pair_scales"][name]);
    let a = net.named("pair.synthetic", scale("synthetic"));
    let b = net.named("pair.real", scale("real"));
    let found = gradient::distance(&net.function.form, &a, &b);
    scalar_within("pair", found.value, &facts["pair_distance"], 1e-7);
    net.assert_weights(&golden, "pair.grad", found.direction, number(&facts["reached"]["pair_grad"]));
}

fn gradients_are_matched_as_by_double_backward() {
    let name = "batch/gradient_matching";
    let (Some(facts), Some(golden)) = (json(name), tensors(name)) else { return };
    let classes = facts["classes"].as_u64().unwrap() as usize;
    for (name, case) in facts["cases"].as_object().unwrap() {
        let net = Net::of(&case["net"]);
        let label = case["label"].as_u64().unwrap() as usize;
        let images = |which: &str| {
            let images: Tensor<4> = golden.tensor(&format!("{name}.{which}"), &device());
            let [n, ..] = images.dims();
            let row = |class| if class == label { 1.0 } else { 0.0 };
            let targets = (0..n).flat_map(|_| (0..classes).map(row)).collect();
            (images, tensor(targets, [n, classes]))
        };
        let view = view(&case["augmentation"]);
        let at = (&net.theta, net.norms());
        let (value, found) = gradient::matched(&net.function, at, images("real"), images("synthetic"), &view);
        scalar_within(name, value, &case["distance"], 2e-7);
        let reached = number(&facts["reached"][name]);
        within(name, &values(found), &golden.values(&format!("{name}.grad")), reached);
    }
}

tests! {
    mean_features_of_augmented_classes_are_matched_as_by_autograd,
    the_distance_of_gradients_and_its_derivative_equal_autograd,
    gradients_are_matched_as_by_double_backward,
}
