//! `kl_t20`, `evaluation.json`, `student_steps`: the students' loss, learning rate and steps.

use burn::module::Module;
use delt_formats::Architecture;
use delt_formula::by_formula;
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::teacher::Optimizer;
use delt_tests::{assert_close, device, json, number, numbers, prefix, tensors, values};
use delt_training::losses::kl_divergence;
use delt_training::schedule::smoothed_cosine;
use delt_training::{module_optimizer, training_step};

const TOLERANCE: f64 = 1e-4;

/// Running variances do not see the biases below, and tell weight decay on biases from none.
const VARIANCE_TOLERANCE: f64 = 1e-6;

/// The gradient of a bias before a batch normalization is rounding noise, which Adam's division blows up to steps of
/// nearly the learning rate: means, and what evaluation mode makes of them, agree no better than that between two
/// programs.
const BIAS_NOISE_TOLERANCE: f64 = 1e-3;

fn the_divergence_and_its_gradient_agree_with_pytorch() {
    let (Some(scalars), Some(golden)) = (json("evaluation"), tensors("kl_t20")) else { return };
    let device = device().autodiff();
    let student = golden.tensor::<2>("student", &device).require_grad();
    let teacher = golden.tensor::<2>("teacher", &device);
    let loss = kl_divergence(student.clone(), teacher, number(&scalars["temperature"]));
    assert_close("divergence", &values(loss.clone()), &[number(&scalars["kl"]) as f32], TOLERANCE);
    let gradient = student.grad(&loss.backward()).unwrap();
    assert_close("gradient of the divergence", &values(gradient), &golden.values("grad"), TOLERANCE);
}

fn the_smoothed_cosine_agrees_with_the_published_one() {
    let Some(scalars) = json("evaluation") else { return };
    let epochs = scalars["epochs"].as_u64().unwrap() as u32;
    let expected = scalars["smoothed_cosine"].as_object().unwrap();
    assert!(!expected.is_empty());
    for (epoch, expected) in expected {
        let ours = smoothed_cosine(epoch.parse().unwrap(), epochs);
        assert!((ours - number(expected)).abs() < 1e-6, "epoch {epoch}: {ours}, expected {expected}");
    }
}

fn student_steps_agree_with_pytorch() {
    let (Some(scalars), Some(golden)) = (json("student_steps"), tensors("student_steps")) else { return };
    let device = device().autodiff();
    let ([_, _, size, _], [_, classes]) = (golden.shape("inputs"), golden.shape("teacher_logits"));
    let architecture = Architecture::convnet(3, 16);
    let mut network =
        Network::build(&architecture, classes, size, &device, &mut by_formula(&prefix())).unwrap();
    let lr = number(&scalars["lr"]);
    let recipe = Optimizer::Adamw {
        lr,
        beta_1: number(&scalars["betas"][0]),
        beta_2: number(&scalars["betas"][1]),
        epsilon: 1e-8,
        weight_decay: number(&scalars["weight_decay"]),
    };
    let mut optimizer = module_optimizer(&recipe, &network);
    let inputs = golden.tensor::<4>("inputs", &device);
    let mut losses = Vec::new();
    for _ in 0..scalars["steps"].as_u64().unwrap() {
        let teacher = golden.tensor::<2>("teacher_logits", &device);
        let loss = |logits| kl_divergence(logits, teacher, 20.0);
        let (moved, value) = training_step(network, &mut optimizer, lr, 0.1, inputs.clone(), loss);
        network = moved;
        losses.push(value.read().unwrap() as f32);
    }
    let expected: Vec<f32> = numbers(&scalars["losses"]).into_iter().map(|loss| loss as f32).collect();
    assert_close("losses of the student", &losses, &expected, TOLERANCE);
    let layers = network.bn_layers();
    let (mean, variance) = (layers[0].running_mean.clone(), layers[2].running_var.clone());
    assert_close("running variance", &values(variance), &golden.values("running_var_2"), VARIANCE_TOLERANCE);
    assert_close("running mean", &values(mean), &golden.values("running_mean_0"), BIAS_NOISE_TOLERANCE);
    let tested = FrozenNetwork::new(network.valid(), &inputs.device().without_autodiff());
    let logits = values(tested.forward(inputs.inner()));
    assert_close("logits after the steps", &logits, &golden.values("logits_after"), BIAS_NOISE_TOLERANCE);
}

tests! {
    the_divergence_and_its_gradient_agree_with_pytorch,
    the_smoothed_cosine_agrees_with_the_published_one,
    student_steps_agree_with_pytorch,
}
