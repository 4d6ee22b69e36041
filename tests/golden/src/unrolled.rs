//! `batch/trajectory_matching` and `batch/rat_bptt`: reverse through unrolled SGD and Adam.

use burn::tensor::Tensor;
use delt_augment::dsa::{Operation, Strategy};
use delt_tangent::unrolled_adam::{self, Adam};
use delt_tangent::unrolled_sgd::{self, InnerBatch, Set, View};
use delt_tangent::{Norms, cross_entropy};
use delt_tests::{device, integers, json, number, numbers, tensors, values};
use delt_training::dsa::apply;
use serde_json::Value;

use crate::batch::{Net, scalar_within, tensor, within};

/// The operation that a file describes, with draws of its own for each image.
fn view(of: &Value) -> View {
    let draws = |names: &[&str]| -> Vec<[f64; 3]> {
        let columns: Vec<Vec<f64>> = names.iter().map(|name| numbers(&of["draws"][name])).collect();
        let value = |at: usize, which: usize| columns.get(which).map_or(0.0, |column| column[at]);
        (0..columns[0].len()).map(|at| [0, 1, 2].map(|which| value(at, which))).collect()
    };
    let (strategy, draws) = match of["kind"].as_str().unwrap() {
        "flip" => (Strategy::Flip, draws(&["coin"])),
        "crop" => (Strategy::Crop, draws(&["down", "right"])),
        "color" => (Strategy::Color, draws(&["brightness", "saturation", "contrast"])),
        "scale" => (Strategy::Scale, draws(&["sx", "sy"])),
        "rotate" => (Strategy::Rotate, draws(&["angle"])),
        "cutout" => (Strategy::Cutout, draws(&["row", "column"])),
        other => panic!("{other}"),
    };
    let operation = Operation { strategy, draws };
    Box::new(move |x| apply(&operation, x))
}

/// The batches of a file, with the augmentation of a case.
fn batches(facts: &Value, case: &str) -> Vec<InnerBatch> {
    let rows = facts["batches"].as_array().unwrap().iter().map(integers);
    let views = facts["cases"][case]["augmentation"].as_array();
    let batch = |(step, rows): (usize, Vec<u32>)| InnerBatch {
        rows: rows.iter().map(|row| *row as usize).collect(),
        view: views.map_or_else(|| Box::new(|x| x) as View, |views| view(&views[step])),
    };
    rows.enumerate().map(batch).collect()
}

fn reverse_through_sgd_equals_autograd_and_a_constant_path_is_tesla() {
    let name = "batch/trajectory_matching";
    let (Some(facts), Some(golden)) = (json(name), tensors(name)) else { return };
    let (net, lr) = (Net::of(&facts["net"]), number(&facts["lr"]));
    for (images, method, curvature) in
        [("plain", "mtt", true), ("plain", "tesla", false), ("augmented", "mtt", true)]
    {
        let case = format!("{images}.{method}");
        let set = Set {
            images: golden.tensor(&format!("{images}.images"), &device()),
            targets: golden.tensor("targets", &device()),
        };
        let batches = batches(&facts, &case);
        let path = unrolled_sgd::train(&net.function, net.theta.clone(), &set, &batches, lr);
        let end = path.weights.last().unwrap().clone();
        net.assert_weights(&golden, &format!("{images}.end"), end.clone(), 1e-6);
        let target = net.theta.clone() + net.named("target", number(&facts["target_scale"]));
        let way = (net.theta.clone() - target.clone()).square().sum();
        let apart = end - target;
        let loss = apart.clone().square().sum() / way.clone();
        scalar_within("loss", loss, &facts["cases"][&case]["loss"], 1e-6);
        let (how, lambda) = ((lr, curvature, true), apart * (way.recip() * 2.0));
        let found = unrolled_sgd::backward(&net.function, &path, &set, &batches, how, lambda);
        let of = |leaf: &str| golden.values(&format!("{case}.{leaf}"));
        within(&case, &values(found.set.images), &of("grad_images"), 1e-6);
        within(&case, &values(found.set.targets), &of("grad_targets"), 4e-7);
        scalar_within(&case, found.lr, &facts["cases"][&case]["grad_lr"], 2e-7);
    }
}

fn reverse_through_adam_equals_autograd() {
    let (Some(facts), Some(golden)) = (json("batch/rat_bptt"), tensors("batch/rat_bptt")) else { return };
    let net = Net::of(&facts["net"]);
    let set =
        Set { images: golden.tensor("images", &device()), targets: golden.tensor("targets", &device()) };
    let of = |name: &str| number(&facts["adam"][name]);
    let adam = Adam { lr: of("lr"), beta_1: of("beta_1"), beta_2: of("beta_2"), epsilon: of("epsilon") };
    let size = |name: &str| facts[name].as_u64().unwrap() as usize;
    let batch = || InnerBatch { rows: vec![0, 1, 2, 3], view: Box::new(|x| x) };
    let batches: Vec<InnerBatch> = (0..size("steps")).map(|_| batch()).collect();
    let path = unrolled_adam::train(&net.function, net.theta.clone(), &set, &batches, &adam, size("window"));
    net.assert_weights(&golden, "end", path.end.weights.clone(), 1e-5);
    let real: Tensor<4> = golden.tensor("real", &device());
    let classes = net.function.form.classes;
    let labels = integers(&facts["real_labels"]);
    let one_hot = labels
        .iter()
        .flat_map(|label| (0..classes).map(move |class| f32::from(u8::from(class as u32 == *label))));
    let one_hot = tensor(one_hot.collect(), [labels.len(), classes]);
    let end = &path.end.weights;
    let found = net.function.gradient_of(end, real, Norms::Own, |logits| cross_entropy(logits, one_hot));
    scalar_within("loss", found.loss, &facts["loss"], 1e-6);
    let back = (found.weights, true);
    let found = unrolled_adam::backward(&net.function, &path, &set, &batches, &adam, back);
    let reached = |what: &str| number(&facts["reached"][what]);
    within("images", &values(found.images), &golden.values("grad_images"), reached("grad_images"));
    within("targets", &values(found.targets), &golden.values("grad_targets"), reached("grad_targets"));
}

tests! {
    reverse_through_sgd_equals_autograd_and_a_constant_path_is_tesla,
    reverse_through_adam_equals_autograd,
}
