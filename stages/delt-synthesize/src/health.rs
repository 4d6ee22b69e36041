//! Whether a recovery can mean anything: steps that are too large show in the losses of the first images and in pixels that end
//! black or white. Nothing of it changes an image.

use delt_formats::{RgbImage, TraceRow};
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::BatchSchedule;

/// How far the share of black and white values may lie above that of the initial images, which drawings have by nature. Recoveries of
/// the digits, TrashNet and CIFAR-100 end -0.01 to 0.06 above it, with too large steps for their few iterations 0.21 to 0.32.
const SATURATED: f64 = 0.2;

/// Times the first loss that the loss of the same images may come to. Recoveries of the three fall to 0.1 to 0.6 of it, the shortest
/// to 0.9; with ten times their learning rate those of photographs grow to 2 to 3 of it, with a hundred times those of the digits to 2.
const GROWN: f64 = 1.5;

/// Iterations below which losses of a round say nothing yet.
const FEWEST_ITERATIONS: usize = 4;

/// Where all images are at work from the start, so many parts of the run have crops like those of its begin.
const PARTS: usize = 8;

/// What is counted of a unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Values of pixels.
    values: u64,
    /// Those that are 0 or 255.
    at_ends: u64,
    /// The first loss, and the mean loss at the end of the first round, of the same images; none where that is too short.
    losses: Option<(f64, f64)>,
}

impl Health {
    /// Losses of a batch in its first round, before images join: those that do raise the loss of any sound recovery.
    pub fn of_losses(trace: &[TraceRow], batch: &BatchSchedule, config: &Synthesize) -> Self {
        let round = match batch.rounds.len() {
            0 | 1 => trace.len() / PARTS,
            _ => batch.round_iterations() as usize,
        };
        let loss = |row: &TraceRow| f64::from(row.ce) + config.bn_matching_weight * f64::from(row.bn);
        let losses = trace.get(..round).filter(|round| round.len() >= FEWEST_ITERATIONS).map(|round| {
            let last = &round[round.len() - round.len() / 4..];
            (loss(&round[0]), last.iter().map(loss).sum::<f64>() / last.len() as f64)
        });
        Self { losses, ..Self::default() }
    }

    /// Counts the values of an image.
    pub fn count(&mut self, image: &RgbImage) {
        self.values += image.rgb.len() as u64;
        self.at_ends += image.rgb.iter().filter(|value| [0, u8::MAX].contains(*value)).count() as u64;
    }

    fn share_at_ends(&self) -> f64 {
        self.at_ends as f64 / self.values.max(1) as f64
    }

    fn has_grown(&self) -> bool {
        self.losses.is_some_and(|(first, later)| later > GROWN * first)
    }
}

/// One line for each sign that the images of these units went astray.
pub fn notes(units: &[Health], initial: &Health, config: &Synthesize) -> Vec<String> {
    let sum = |of: fn(&Health) -> u64| units.iter().map(of).sum();
    let all = Health { values: sum(|unit| unit.values), at_ends: sum(|unit| unit.at_ends), losses: None };
    let (lr, weight) = (config.lr, config.bn_matching_weight);
    let mut notes = Vec::new();
    if all.share_at_ends() > initial.share_at_ends() + SATURATED {
        notes.push(format!(
            "{:.0} % of the pixels' values ended black or white, of the initial images' {:.0} %: the images are saturated; lower \
             synthesize.lr ({lr})",
            100.0 * all.share_at_ends(),
            100.0 * initial.share_at_ends()
        ));
    }
    let grown: Vec<(usize, (f64, f64))> = (0..)
        .zip(units)
        .filter(|(_, unit)| unit.has_grown())
        .filter_map(|(index, unit)| Some((index, unit.losses?)))
        .collect();
    // what a learning rate does it does to most batches
    if let Some((index, (first, later))) = grown.first().filter(|_| 2 * grown.len() >= units.len()) {
        notes.push(format!(
            "in {} of {} batches the loss has grown while the images were the same (batch {index}: from {first:.3} to {later:.3} by the \
             end of its first round), so the recovery diverged and what the initial images showed is lost; lower synthesize.lr ({lr}) \
             or synthesize.bn_matching_weight ({weight})",
            grown.len(),
            units.len()
        ));
    }
    notes
}
