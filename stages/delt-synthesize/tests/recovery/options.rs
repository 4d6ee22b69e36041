//! The options of the recovery in numbers that can be checked by hand.

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::draws::{Draws, standard_normal};
use delt_formats::{Architecture, CropBox, Norm, Normalization};
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::synthesize::{LrSchedule, OptimizerState, Synthesize};
use delt_synthesize::adam::PixelAdam;
use delt_synthesize::augmentation::Augmentation;
use delt_synthesize::early_late_recovery::noise;
use delt_synthesize::recover::{RecoveryTeacher, lr_at, values};

use crate::{SIZE, batches, network, settings};

/// Changes of an image that is there from the first step and of one that joins at the third, under a gradient that is 0.5
/// everywhere; `(first, late)`.
fn changes_at_the_third_step(optimizer_state: OptimizerState) -> (f32, f32) {
    let device = Device::flex();
    let mut adam = PixelAdam::new(&Synthesize { optimizer_state, ..settings() }, 1, 1, &device);
    let gradient = |images: usize| Tensor::<4>::full([images, 3, 1, 1], 0.5, &device);
    for step in 1..=2 {
        let change = values(adam.step(gradient(1), 0.1, step)).expect("readable");
        // a constant gradient moves by the learning rate
        assert!(change.iter().all(|c| (c - 0.1).abs() < 1e-6), "{change:?}");
    }
    adam.join(1);
    let change = values(adam.step(gradient(2), 0.1, 3)).expect("readable");
    assert_eq!(adam.steps, [3, 1]);
    (change[0], change[3])
}

#[test]
fn per_image_counts_the_steps_of_each_image_and_per_batch_those_of_the_batch() {
    let (first, late) = changes_at_the_third_step(OptimizerState::PerImage);
    assert!((first - 0.1).abs() < 1e-6 && (late - 0.1).abs() < 1e-6, "{first} {late}");
    // β₁ = 0.5, β₂ = 0.9: 0.1 · (0.5 / (1 − 0.5³)) / √(0.1 / (1 − 0.9³)) = 0.1 · 0.571429 / 0.607457
    let (first, late) = changes_at_the_third_step(OptimizerState::PerBatch);
    assert!((first - 0.1).abs() < 1e-6 && (late - 0.094_068_9).abs() < 1e-6, "{first} {late}");
}

#[test]
fn per_round_begins_the_cosine_anew_and_per_batch_does_not() {
    let rates = |lr_schedule| {
        let config = Synthesize { lr: 1.0, lr_schedule, ..settings() };
        let batch = &batches(&config)[0];
        (0..6).map(|iteration| lr_at(&config, batch, iteration)).collect::<Vec<_>>()
    };
    let close = |found: &[f64], expected: &[f64]| {
        let is_close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(is_close && found.len() == expected.len(), "{found:?}, expected {expected:?}");
    };
    close(&rates(LrSchedule::PerRound), &[1.0, 0.5, 1.0, 0.5, 1.0, 0.5]);
    let half_root_3 = 3.0_f64.sqrt() / 2.0;
    let per_batch = [1.0, (1.0 + half_root_3) / 2.0, 0.75, 0.5, 0.25, (1.0 - half_root_3) / 2.0];
    close(&rates(LrSchedule::PerBatch), &per_batch);
}

#[test]
fn jitter_rolls_down_and_right_around_the_edge() {
    let whole = CropBox { top: 0, left: 0, height: 3, width: 3 };
    let rolled = Augmentation { crop: whole, flip: false, roll: (1, 2) };
    let ramp: Vec<f32> = (0..9).map(|i| i as f32).collect();
    let images = Tensor::<4>::from_data(TensorData::new(ramp, [1, 1, 3, 3]), &Device::flex());
    let expected = [7.0, 8.0, 6.0, 1.0, 2.0, 0.0, 4.0, 5.0, 3.0];
    assert_eq!(values(rolled.apply(images)).expect("readable"), expected);
}

#[test]
fn jitter_is_drawn_from_0_to_its_value_and_moves_no_other_draw() {
    let draw = |jitter, iteration| {
        let config = Synthesize { jitter, ..settings() };
        Augmentation::draw(&config, &Draws::new(5), 0, iteration, 200, 32)
    };
    let mut rolls = Vec::new();
    for iteration in 0..200 {
        let (still, rolled) = (draw(0, iteration), draw(3, iteration));
        assert_eq!(still.roll, (0, 0));
        assert_eq!((still.crop, still.flip), (rolled.crop, rolled.flip));
        rolls.push(rolled.roll);
    }
    for pick in [|roll: &(i32, i32)| roll.0, |roll: &(i32, i32)| roll.1] {
        let mut seen: Vec<i32> = rolls.iter().map(pick).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}

#[test]
fn noise_is_drawn_for_each_class_and_slot_however_images_are_batched() {
    let pixels = 3 * SIZE * SIZE;
    let draws = Draws::new(9);
    for batch in [8, 3, 1] {
        let mut seen = 0;
        for schedule in batches(&Synthesize { batch, ..settings() }) {
            let images = noise(&draws, &schedule, SIZE);
            assert_eq!(images.len(), schedule.labels.len() * pixels);
            let places = schedule.labels.iter().zip(&schedule.slots);
            for (image, (label, slot)) in images.chunks(pixels).zip(places) {
                let stream = draws.stream("initial-noise", u64::from(*label), u64::from(*slot));
                assert!(standard_normal(stream).zip(image).take(pixels).all(|(a, b)| a == *b));
                seen += 1;
            }
        }
        assert_eq!(seen, 8);
    }
}

#[test]
fn bf16_changes_loss_and_gradient_by_its_rounding_and_no_more() {
    let (device, config) = (Device::flex(), settings());
    let batch = &batches(&config)[0];
    let images = TensorData::new(noise(&Draws::new(1), batch, SIZE), [8, 3, SIZE, SIZE]);
    let run = |network: FrozenNetwork| {
        let constants = Normalization { mean: [0.5; 3], std: [0.25; 3] };
        let teacher = RecoveryTeacher::new(network, &constants, &device);
        let leaf = Tensor::<4>::from_data(images.clone(), &device).autodiff().require_grad();
        let loss = teacher.loss(leaf.clone(), &batch.labels, &config);
        let gradient = leaf.grad(&loss.total.backward()).expect("a gradient");
        let mut numbers = values(gradient).expect("readable");
        numbers.extend(values(loss.total.inner()).expect("readable"));
        numbers
    };
    let (full, half) = (run(network(&device)), run(network(&device).in_bf16()));
    let norm =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let difference = norm(&mut full.iter().zip(&half).map(|(a, b)| a - b)) / norm(&mut full.iter().copied());
    // 8 bits of mantissa: 2⁻⁹ a value
    assert!(difference > 1e-4 && difference < 2e-2, "{difference}");
}

#[test]
fn a_network_without_batch_norm_recovers_by_labels_alone() {
    let (device, config) = (Device::flex(), Synthesize { bn_matching_weight: 0.0, ..settings() });
    let architecture = Architecture::ConvNet {
        depth: 2,
        width: 4,
        norm: Norm::Instance,
        norm_before_conv: false,
        doubling: false,
    };
    let network = Network::initialize(&architecture, 2, SIZE, 3, &device).expect("the network is built");
    let constants = Normalization { mean: [0.5; 3], std: [0.25; 3] };
    let teacher = RecoveryTeacher::new(FrozenNetwork::new(network, &device), &constants, &device);
    let batch = &batches(&config)[0];
    let images = TensorData::new(noise(&Draws::new(1), batch, SIZE), [8, 3, SIZE, SIZE]);
    let leaf = Tensor::<4>::from_data(images, &device).autodiff().require_grad();
    let loss = teacher.loss(leaf.clone(), &batch.labels, &config);
    let gradient = leaf.grad(&loss.total.clone().backward()).expect("a gradient");
    assert!(values(gradient).expect("readable").iter().any(|value| *value != 0.0));
    let [total, target, statistics] =
        [loss.total, loss.target, loss.statistics].map(|part| values(part.inner()).expect("readable")[0]);
    assert_eq!((total, statistics), (target, 0.0));
}
