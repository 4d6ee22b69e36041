//! Times one recovery iteration (forward, statistics, backward to the pixels) of ConvNet-3 w128 at 32 px, batch 100:
//! `cargo run -p delt-networks --example recovery_speed [iterations [device]]`.

use std::error::Error;
use std::time::Instant;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use delt_formats::Architecture;
use delt_formula::{by_formula, formula_uniform};
use delt_networks::{FrozenNetwork, Network};

const BATCH: usize = 100;
const SIZE: usize = 32;
const CLASSES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let iterations: usize = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let opened = delt_device::open(&std::env::args().nth(2).unwrap_or_else(|| "auto".into()))?;
    let convnet = Architecture::convnet(3, 128);
    let teacher = Network::build(&convnet, CLASSES, SIZE, &opened.device, &mut by_formula("speed/"))?;
    let teacher = FrozenNetwork::new(teacher, &opened.device);
    let device = opened.device.clone().autodiff();
    let shape = [BATCH, 3, SIZE, SIZE];
    let pixels: Vec<f32> =
        formula_uniform("speed/", "x", shape.iter().product()).into_iter().map(|u| 2.0 * u as f32).collect();
    let targets: Vec<i32> = (0..BATCH).map(|image| (image % CLASSES) as i32).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [BATCH, 1]), &device);

    for iteration in 0..=iterations {
        let started = Instant::now();
        let x = Tensor::<4>::from_data(TensorData::new(pixels.clone(), shape), &device).require_grad();
        let (logits, terms) = teacher.forward_with_bn_terms(x.clone());
        let ce = -log_softmax(logits, 1).gather(1, targets.clone()).mean();
        let loss = terms.into_iter().fold(ce, |sum, term| sum + term * 0.01);
        let forward = loss.clone().try_into_scalar::<f32>()?;
        let forward_seconds = started.elapsed().as_secs_f64();
        let mut gradients = loss.backward();
        let gradient = x.grad_remove(&mut gradients).ok_or("the pixels have no gradient")?;
        let pixel = gradient.slice([0..1, 0..1, 0..1, 0..1]).try_into_scalar::<f32>()?;
        let note = if iteration == 0 { ", the first" } else { "" };
        eprintln!(
            "{}: {:.3} s, of which forward {forward_seconds:.3} s (loss {forward:.4}, first gradient {pixel:.3e}{note})",
            opened.name,
            started.elapsed().as_secs_f64(),
        );
    }
    Ok(())
}
