//! What is said of recoveries that went astray.

use delt_formats::{RgbImage, TraceRow};
use delt_pipeline::config::synthesize::Synthesize;
use delt_synthesize::health::{Health, notes};

use crate::{batches, settings};

/// 64 iterations, in eight rounds where images join.
fn config(early_late: bool) -> Synthesize {
    Synthesize { max_iterations: 64, round_iterations: 8, early_late, ..settings() }
}

/// A batch whose loss is 1 at first, `later` by the end of its first round, and `joined` after that.
fn unit(config: &Synthesize, later: f32, joined: f32) -> Health {
    let loss = |iteration| match iteration {
        0 => 1.0,
        1..8 => later,
        _ => joined,
    };
    let row = |iteration| TraceRow { batch: 0, iteration, lr: 0.1, ce: loss(iteration) - 0.5, bn: 50.0 };
    Health::of_losses(&(0..64).map(row).collect::<Vec<_>>(), &batches(config)[0], config)
}

fn counted(values: &[u8]) -> Health {
    let mut health = Health::default();
    health.count(&RgbImage { width: values.len() as u32 / 3, height: 1, rgb: values.to_vec() });
    health
}

#[test]
fn a_loss_that_grows_while_the_images_are_the_same_is_named_with_the_setting() {
    for early_late in [true, false] {
        let config = config(early_late);
        let units = [unit(&config, 0.9, 0.2), unit(&config, 3.0, 0.2), unit(&config, 1.6, 0.2)];
        assert_eq!(
            notes(&units, &Health::default(), &config),
            [
                "in 2 of 3 batches the loss has grown while the images were the same (batch 1: from 1.000 to 3.000 by the end of its \
                 first round), so the recovery diverged and what the initial images showed is lost; lower synthesize.lr (0.1) or \
                 synthesize.bn_matching_weight (0.01)"
            ]
        );
    }
}

#[test]
fn images_that_join_and_a_batch_among_many_are_no_divergence() {
    let config = config(true);
    let units = [unit(&config, 3.0, 0.2), unit(&config, 0.9, 0.2), unit(&config, 0.9, 0.2)];
    assert!(notes(&units, &Health::default(), &config).is_empty());
    assert!(notes(&[unit(&config, 0.5, 40.0)], &Health::default(), &config).is_empty());
}

#[test]
fn values_at_the_ends_are_compared_with_those_of_the_initial_images() {
    let config = config(true);
    // half of a drawing is black before anything is recovered
    let drawing = counted(&[0, 0, 0, 1, 2, 3]);
    assert!(notes(&[counted(&[0, 0, 0, 9, 9, 255])], &drawing, &config).is_empty());
    let photograph = counted(&[9, 9, 9, 1, 2, 3]);
    assert_eq!(
        notes(&[counted(&[0, 0, 0, 9, 9, 255])], &photograph, &config),
        [
            "67 % of the pixels' values ended black or white, of the initial images' 0 %: the images are saturated; lower \
             synthesize.lr (0.1)"
        ]
    );
}
