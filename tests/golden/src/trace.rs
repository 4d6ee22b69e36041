//! `trace_conv3`, `trace_conv3_augmented`: twelve recovery iterations, with the draws of the published run injected.

use delt_augment::Draws;
use delt_formats::{Architecture, CropBox, Normalization};
use delt_formula::{by_formula, formula_uniform};
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::EarlyLate;
use delt_synthesize::augmentation::Augmentation;
use delt_synthesize::recover::{Recovery, RecoveryTeacher};
use delt_tests::{assert_close, integers, json, number, numbers, prefix, tensors, values};
use serde_json::Value;

const SIZE: usize = 32;

fn three(value: &Value) -> [f32; 3] {
    numbers(value).iter().map(|v| *v as f32).collect::<Vec<_>>().try_into().unwrap()
}

fn config(case: &Value) -> Synthesize {
    let (number, betas) = (|key: &str| number(&case[key]), numbers(&case["betas"]));
    Synthesize {
        max_iterations: number("max_iterations") as u32,
        round_iterations: number("round_iterations") as u32,
        lr: number("lr"),
        beta_1: betas[0],
        beta_2: betas[1],
        epsilon: number("eps"),
        bn_matching_weight: number("r_bn"),
        first_bn_multiplier: number("first_bn_multiplier"),
        ..Synthesize::published()
    }
}

fn teacher(case: &Value) -> RecoveryTeacher {
    let device = delt_tests::device();
    let architecture = Architecture::convnet(3, 16);
    let network = Network::build(&architecture, 10, SIZE, &device, &mut by_formula(&prefix())).unwrap();
    let constants = Normalization { mean: three(&case["mean"]), std: three(&case["std"]) };
    RecoveryTeacher::new(FrozenNetwork::new(network, &device), &constants, &device)
}

fn augmentation(draw: &Value) -> Augmentation {
    let Some([top, left, height, width, flip]) = draw.as_array().map(Vec::as_slice) else {
        return Augmentation::identity(SIZE as u32);
    };
    let n = |v: &Value| v.as_u64().unwrap() as u32;
    let crop = CropBox { top: n(top), left: n(left), height: n(height), width: n(width) };
    Augmentation { crop, flip: flip.as_bool().unwrap(), roll: (0, 0) }
}

fn replay(name: &str) {
    let (Some(case), Some(golden)) = (json(name), tensors(name)) else { return };
    let (config, teacher) = (config(&case), teacher(&case));
    let targets = integers(&case["targets"]);
    let classes = targets.iter().max().unwrap() + 1;
    let ipc = case["ipc"].as_u64().unwrap() as u32;
    let schedule = EarlyLate::new(&config, ipc, 0..classes, &Draws::new(0)).batches.remove(0);
    assert_eq!(schedule.labels, targets);
    let rounds: Vec<_> = case["rounds"].as_array().unwrap().iter().map(integers).collect();
    assert_eq!(schedule.rounds, rounds);

    let mut compared = 0;
    let mut recovery = Recovery::start(&schedule, &golden.values("start"), SIZE, &config, teacher.device());
    for (iteration, (loss, lr)) in numbers(&case["losses"]).iter().zip(numbers(&case["lrs"])).enumerate() {
        let classes = vec![String::new(); 10];
        recovery.step(&teacher, &augmentation(&case["draws"][iteration]), &classes).unwrap();
        let row = recovery.trace.last().unwrap().clone();
        let ours = f64::from(row.ce) + config.bn_matching_weight * f64::from(row.bn);
        assert!(
            (ours - loss).abs() / loss < 1e-4,
            "{name} iteration {iteration}: loss {ours}, expected {loss}"
        );
        assert!((row.lr - lr).abs() < 1e-12, "{name} iteration {iteration}: lr {}, expected {lr}", row.lr);
        let after = format!("after_{:04}", iteration + 1);
        if golden.names().any(|n| n == after) {
            let images = recovery.images(&teacher).unwrap();
            assert_close(&format!("{name} {after}"), &images, &golden.values(&after), 1e-3);
            compared += 1;
        }
    }
    assert!(compared > 0, "{name} holds no images after a round");
    assert!(recovery.is_finished());
}

fn twelve_iterations_without_augmentation_are_the_published_ones() {
    replay("trace_conv3");
}

fn twelve_iterations_with_given_crops_and_flips_are_the_published_ones() {
    replay("trace_conv3_augmented");
}

fn recovery_gradient_agrees_with_finite_differences() {
    let Some(case) = json("trace_conv3") else { return };
    let (config, teacher) = (Synthesize { bn_matching_weight: 0.1, ..config(&case) }, teacher(&case));
    let uniform = formula_uniform("finite-difference/", "x", 2 * 3 * SIZE * SIZE);
    let start: Vec<f32> = uniform.iter().map(|u| (2.0 * u) as f32).collect();
    let crop = CropBox { top: 3, left: 5, height: 22, width: 19 };
    let augmentation = Augmentation { crop, flip: true, roll: (2, -1) };
    let image = |values: &[f32]| {
        let data = burn::tensor::TensorData::new(values.to_vec(), [2, 3, SIZE, SIZE]);
        burn::tensor::Tensor::<4>::from_data(data, teacher.device())
    };
    let loss = |pixels: &[f32]| {
        let loss = teacher.loss(augmentation.apply(image(pixels)), &[1, 7], &config);
        f64::from(values(loss.total)[0])
    };
    let leaf = image(&start).autodiff().require_grad();
    let total = teacher.loss(augmentation.apply(leaf.clone()), &[1, 7], &config).total;
    let gradient = values(leaf.grad(&total.backward()).unwrap());
    // along the gradient, along every third pixel of it, and along directions that know nothing of it; single pixels drown in
    // the rounding of 32 bits
    let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    for kind in 0..6 {
        let direction: Vec<f64> = match kind {
            0 => gradient.iter().map(|g| f64::from(*g) / norm).collect(),
            1 => gradient
                .iter()
                .enumerate()
                .map(|(i, g)| if i % 3 == 0 { f64::from(*g) / norm } else { 0.0 })
                .collect(),
            _ => formula_uniform("finite-difference/", &format!("direction {kind}"), start.len()),
        };
        let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let step = 1e-1 / length;
        let moved = |sign: f64| -> Vec<f32> {
            start.iter().zip(&direction).map(|(x, d)| x + (sign * step * d) as f32).collect()
        };
        let numeric = (loss(&moved(1.0)) - loss(&moved(-1.0))) / (2.0 * step);
        let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
        // against what the direction could have met: one at right angles to the gradient has a slope near 0
        let usual = norm * length / (start.len() as f64).sqrt();
        let error = (numeric - analytic).abs() / analytic.abs().max(usual);
        assert!(
            error < 2e-2,
            "direction {kind}: numeric {numeric}, backward {analytic}, relative error {error:.1e}"
        );
    }
}

tests! {
    twelve_iterations_without_augmentation_are_the_published_ones,
    twelve_iterations_with_given_crops_and_flips_are_the_published_ones,
    recovery_gradient_agrees_with_finite_differences,
}
