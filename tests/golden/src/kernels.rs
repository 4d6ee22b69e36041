//! `batch/frepo` and `batch/rcig`: methods that solve the last layer.

use burn::tensor::Tensor;
use delt_formats::{NamedTensor, TensorValues};
use delt_matching::frepo::regressed;
use delt_matching::rcig::Partial;
use delt_matching::rcig::problem::Problem;
use delt_matching::regression::margin;
use delt_ridge::Matrix;
use delt_tangent::Slot;
use delt_tangent::unrolled_sgd::Set;
use delt_tests::{Tensors, device, integers, json, number, tensors, values};
use serde_json::Value;

use crate::batch::{Net, within};

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

/// The problem of the file.
struct Convex {
    net: Net,
    set: Set,
    golden: Tensors,
    facts: Value,
}

impl Convex {
    fn open() -> Option<Self> {
        let (facts, golden) = (json("batch/rcig")?, tensors("batch/rcig")?);
        let net = Net::of(&facts["net"]);
        let set =
            Set { images: golden.tensor("images", &device()), targets: golden.tensor("labels", &device()) };
        Some(Self { net, set, golden, facts })
    }

    fn problem(&self) -> Problem<'_> {
        let l2 = number(&self.facts["l2"]) / self.set.images.dims()[0] as f64;
        let (function, at) = (&self.net.function, (&self.net.theta, self.net.norms()));
        Problem::new(function, at, &self.set, (l2, self.facts["flip"] == true), Partial::all()).unwrap()
    }

    /// The named direction, 0 for the matrix that is solved for.
    fn named(&self, tag: &str) -> Tensor<1> {
        let slots = self.net.function.form.slots();
        let solved = slots.into_iter().find(|slot| slot.name == "classifier.weight").unwrap().range;
        let vector = self.net.named(tag, number(&self.facts[format!("{tag}_scale")]));
        let zeros = Tensor::zeros([solved.len()], &device());
        vector.slice_assign([solved], zeros)
    }

    fn reached(&self, what: &str) -> f64 {
        number(&self.facts["reached"][what])
    }
}

fn the_inner_loss_and_its_second_derivatives_equal_autograd() {
    let Some(convex) = Convex::open() else { return };
    let (mut problem, Convex { net, golden, facts, .. }) = (convex.problem(), &convex);
    let (tau, v) = (convex.named("tau"), convex.named("v"));
    let found = problem.inner(&tau).unwrap();
    let reached = convex.reached("inner_grad");
    within("alpha", &found.alpha.to_f32(), &golden.values("alpha"), reached);
    within("inner loss", &[found.loss as f32], &[number(&facts["inner_loss"]) as f32], reached);
    net.assert_weights(golden, "inner_grad", found.gradient, reached);
    net.assert_weights(golden, "hv", problem.hessian(&v).unwrap(), convex.reached("hv"));
    assert_eq!(problem.at(&tau).unwrap().0, found.alpha, "without a graph");
}

fn direct_and_implicit_gradients_equal_double_backward() {
    let Some(convex) = Convex::open() else { return };
    let (mut problem, Convex { net, golden, facts, .. }) = (convex.problem(), &convex);
    let (tau, v) = (convex.named("tau"), convex.named("v"));
    let (alpha, _) = problem.at(&tau).unwrap();
    let real: Tensor<4> = golden.tensor("real", &device());
    let labels = integers(&facts["real_labels"]);
    let kappa = number(&facts["log_temperature"]);
    let outer = problem.outer((&tau, &alpha), (&real, &labels), kappa).unwrap();
    let classes = net.function.form.classes as f64;
    let labels = golden.values("labels").into_iter().map(f64::from).collect();
    let (margin, of_margin) = margin(&Matrix::new(4, 4, labels), 0.5 / classes);
    let scalar = |what: &str, ours: f64, reached: f64| {
        within(what, &[ours as f32], &[number(&facts[what]) as f32], reached);
    };
    scalar("outer_loss", outer.loss + margin, convex.reached("direct_log_temperature"));
    scalar("grad_log_temperature", outer.log_temperature, convex.reached("direct_log_temperature"));
    net.assert_weights(golden, "grad_tau", outer.tau.clone(), convex.reached("grad_tau"));
    let direct = problem.direct((&tau, &alpha), &outer);
    let mut targets = values(direct.targets);
    targets.iter_mut().zip(of_margin.to_f32()).for_each(|(target, margin)| *target += margin);
    let implicit = problem.implicit((&tau, &alpha), &v).unwrap();
    for (what, ours) in [
        ("direct_images", values(direct.images)),
        ("direct_labels", targets),
        ("implicit_images", values(implicit.images)),
        ("implicit_labels", values(implicit.targets)),
    ] {
        within(what, &ours, &golden.values(what), convex.reached(what));
    }
}

fn the_inverse_by_steps_of_adam_equals_the_published_loop() {
    let Some(convex) = Convex::open() else { return };
    let (mut problem, Convex { net, golden, facts, .. }) = (convex.problem(), &convex);
    let inverse = &facts["inverse_hv"];
    let b = net.function.values_of(&tagged(golden, net, "grad_tau")).unwrap();
    let steps = inverse["steps"].as_u64().unwrap() as u32;
    let lr = number(&inverse["adam_lr"]);
    let (v, objectives) = problem.inverse(&net.function.vector(b), lr, steps).unwrap();
    net.assert_weights(golden, "inverse_hv", v, convex.reached("grad_tau"));
    let expected: Vec<f32> =
        inverse["objective"].as_array().unwrap().iter().map(|value| number(value) as f32).collect();
    let ours: Vec<f32> = objectives.iter().map(|value| *value as f32).collect();
    within("objective", &ours, &expected, convex.reached("grad_tau"));
}

/// The tensors `tag.NAME` of all weights, 0 where there is none.
fn tagged(golden: &Tensors, net: &Net, tag: &str) -> Vec<NamedTensor> {
    let of = |Slot { name, shape, range }: Slot| {
        let file = format!("{tag}.{name}");
        let is_there = golden.names().any(|known| known == file);
        let found = if is_there { golden.values(&file) } else { vec![0.0; range.len()] };
        NamedTensor { name, shape, values: TensorValues::F32(found) }
    };
    net.function.form.slots().into_iter().map(of).collect()
}

tests! {
    regression_on_features_with_mirror_images_and_the_margin_equals_autograd,
    the_inner_loss_and_its_second_derivatives_equal_autograd,
    direct_and_implicit_gradients_equal_double_backward,
    the_inverse_by_steps_of_adam_equals_the_published_loop,
}
