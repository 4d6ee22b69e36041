//! `batch/optimizers`: the SGD of students that learn what their set gives, with decay on every tensor.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use delt_pipeline::config::given::{GivenLr, GivenOptimizer};
use delt_tests::{assert_close, device, json, number, tensors, values};
use delt_training::given_optimizer;

const TOLERANCE: f64 = 1e-6;

#[derive(Module, Debug)]
struct Numbers {
    numbers: Param<Tensor<1>>,
}

fn the_sgd_of_students_agrees_with_pytorch() {
    let (Some(scalars), Some(golden)) = (json("batch/optimizers"), tensors("batch/optimizers")) else {
        return;
    };
    let (device, settings) = (device().autodiff(), &scalars["sgd_evaluation"]);
    let lr = number(&scalars["lr"]);
    let mut optimizer = given_optimizer(&GivenOptimizer::Sgd {
        lr: GivenLr::Number(lr),
        momentum: number(&settings["momentum"]),
        weight_decay: number(&settings["weight_decay"]),
        drop: None,
    });
    let mut module = Numbers { numbers: Param::from_tensor(golden.tensor::<1>("start", &device)) };
    for step in 0..4 {
        let gradient = golden.tensor::<1>(&format!("gradient.{step}"), &device);
        let loss = (module.numbers.val() * gradient).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        module = optimizer.step(lr, module, gradients);
        let name = format!("sgd_evaluation.{step}");
        assert_close(&name, &values(module.numbers.val()), &golden.values(&name), TOLERANCE);
    }
}

tests! {
    the_sgd_of_students_agrees_with_pytorch,
}
