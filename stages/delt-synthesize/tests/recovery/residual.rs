//! FADRM's data residual: what is blended when, and that stopping changes nothing.

use burn::tensor::Device;
use delt_augment::draws::Draws;
use delt_pipeline::config::residual::Residual;
use delt_pipeline::config::synthesize::{OptimizerState, Synthesize};
use delt_synthesize::checkpoint::Checkpoints;
use delt_synthesize::early_late_recovery::noise;

use crate::checkpoints::{outcome, restore, start, step_to};
use crate::{SIZE, batches, settings, teacher};

/// Blocks of three iterations in a recovery of six, in which images join after two and four.
fn blended(restart_adam: bool) -> Synthesize {
    Synthesize { residual: Some(Residual { share: 0.75, every: 3, restart_adam }), ..settings() }
}

#[test]
fn joined_images_keep_their_share_and_take_the_rest_from_what_they_started_from() {
    let teacher = teacher(&Device::flex());
    let (plain, blended) = (settings(), blended(false));
    let batch = &batches(&plain)[0];
    let run = |config: &Synthesize, iterations| {
        let mut recovery = start(config, batch);
        step_to(&mut recovery, iterations, config, batch, &teacher);
        outcome(&recovery, &teacher).0
    };
    assert_eq!(run(&plain, 2), run(&blended, 2), "blended before the block ended");
    let (optimized, found) = (run(&plain, 3), run(&blended, 3));
    let initial = noise(&Draws::new(1), batch, SIZE);
    let pixels = 3 * SIZE * SIZE;
    for (at, join) in batch.joins.iter().enumerate() {
        let image = at * pixels..(at + 1) * pixels;
        let pixels = optimized[image.clone()].iter().zip(&initial[image.clone()]).zip(&found[image]);
        for ((optimized, initial), found) in pixels {
            // images of the last round wait, and are clipped while they do
            let expected = if *join < 2 { 0.75 * optimized + 0.25 * initial } else { *optimized };
            assert!((found - expected).abs() < 1e-6, "image {at}: {found}, expected {expected}");
        }
    }
}

#[test]
fn adam_forgets_at_the_end_of_a_block_where_it_is_told_to() {
    let teacher = teacher(&Device::flex());
    let moments = |restart_adam| {
        let config = blended(restart_adam);
        let batch = &batches(&config)[0];
        let mut recovery = start(&config, batch);
        step_to(&mut recovery, 3, &config, batch, &teacher);
        let largest = recovery.adam.second.max().try_into_scalar::<f32>().expect("readable");
        (largest, recovery.adam.steps)
    };
    assert_eq!(moments(true), (0.0, vec![0; 6]));
    let (largest, steps) = moments(false);
    assert!(largest > 0.0 && steps == [3, 3, 3, 3, 1, 1], "{largest} {steps:?}");
}

#[test]
fn a_blended_recovery_resumes_to_the_same_bytes_from_every_iteration() {
    for (restart_adam, optimizer_state) in [
        (true, OptimizerState::PerBatch),
        (true, OptimizerState::PerImage),
        (false, OptimizerState::PerBatch),
    ] {
        let config = Synthesize { optimizer_state, ..blended(restart_adam) };
        let batch = &batches(&config)[0];
        let teacher = teacher(&Device::flex());
        let mut whole = start(&config, batch);
        step_to(&mut whole, 6, &config, batch, &teacher);
        for stopped in 1..6 {
            let folder = tempfile::tempdir().expect("temporary folder");
            let checkpoints = Checkpoints::new(folder.path());
            let mut first = start(&config, batch);
            step_to(&mut first, stopped, &config, batch, &teacher);
            checkpoints.keep_state(0, &first.save().expect("readable")).expect("kept");
            let mut second = start(&config, batch);
            restore(&checkpoints, &mut second).expect("restored");
            step_to(&mut second, 6, &config, batch, &teacher);
            assert_eq!(outcome(&second, &teacher), outcome(&whole, &teacher), "stopped after {stopped}");
        }
    }
}
