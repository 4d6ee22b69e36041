//! Learning rates as factors of the peak: pure functions of the step or epoch.

use std::f64::consts::PI;

use delt_pipeline::config::evaluate::StudentSchedule;
use delt_pipeline::config::teacher::TrainSchedule;

/// One cycle starts at the peak divided by this: PyTorch's `div_factor`.
const ONE_CYCLE_START: f64 = 25.0;
/// One cycle ends at its start divided by this: PyTorch's `final_div_factor`.
const ONE_CYCLE_END: f64 = 1e4;

/// Factor of the peak at `step` of `steps` while a teacher is trained.
pub fn train_factor(schedule: &TrainSchedule, step: u64, steps: u64) -> f64 {
    match schedule {
        TrainSchedule::OneCycle { warmup } => one_cycle(step, steps, *warmup),
        TrainSchedule::Cosine {} => cosine(step, steps),
        TrainSchedule::Constant {} => 1.0,
    }
}

/// Factor of the peak in `epoch` of `epochs` while a student is trained.
pub fn student_factor(schedule: &StudentSchedule, epoch: u32, epochs: u32) -> f64 {
    match schedule {
        StudentSchedule::SmoothedCosine => smoothed_cosine(epoch, epochs),
        StudentSchedule::Cosine => cosine(u64::from(epoch), u64::from(epochs)),
        StudentSchedule::Constant => 1.0,
        StudentSchedule::LateHalving => late_halving(epoch, epochs),
    }
}

/// PyTorch's `OneCycleLR` with its default factors: along a cosine from 1/25 up to 1 over `warmup` of the steps, then down
/// to 1/250,000.
pub fn one_cycle(step: u64, steps: u64, warmup: f64) -> f64 {
    let top = warmup * steps as f64 - 1.0;
    let last = steps as f64 - 1.0;
    let start = 1.0 / ONE_CYCLE_START;
    let end = start / ONE_CYCLE_END;
    let step = step as f64;
    let between =
        |from: f64, to: f64, share: f64| to + (from - to) / 2.0 * (1.0 + (PI * share.clamp(0.0, 1.0)).cos());
    if step <= top {
        if top > 0.0 { between(start, 1.0, step / top) } else { 1.0 }
    } else {
        between(1.0, end, (step - top) / (last - top).max(1.0))
    }
}

/// ½(1 + cos(π t / T)): from 1 to 0.
pub fn cosine(step: u64, steps: u64) -> f64 {
    0.5 * (1.0 + (PI * step as f64 / steps as f64).cos())
}

/// From 0 in a straight line to 1 at step `warmup`, then along a cosine to `end` at the last of `steps` (optax's schedules, joined).
pub fn warm_cosine(step: u64, steps: u64, warmup: u64, end: f64) -> f64 {
    if step < warmup {
        return step as f64 / warmup as f64;
    }
    let down = steps.saturating_sub(warmup).max(1);
    end + (1.0 - end) * cosine((step - warmup).min(down), down)
}

/// ½(1 + cos(π t / 2E)): from 1 to ½, as the published evaluation uses it.
pub fn smoothed_cosine(epoch: u32, epochs: u32) -> f64 {
    0.5 * (1.0 + (PI * f64::from(epoch) / (2.0 * f64::from(epochs))).cos())
}

/// 1, halved after 80, 90 and 95 % of the epochs (PyTorch's `MultiStepLR`).
pub fn late_halving(epoch: u32, epochs: u32) -> f64 {
    let percent = u64::from(epoch) * 100;
    let halvings = [80, 90, 95].iter().filter(|share| percent >= **share * u64::from(epochs)).count();
    0.5_f64.powi(halvings as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_halving_agrees_with_pytorch() {
        // torch.optim.lr_scheduler.MultiStepLR(optimizer, [800, 900, 950], gamma=0.5) over 1000 epochs
        let found = [0, 799, 800, 899, 900, 949, 950, 999].map(|epoch| late_halving(epoch, 1000));
        assert_eq!(found, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
    }

    #[test]
    fn one_cycle_agrees_with_pytorch() {
        // torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.3), closed form
        assert!((one_cycle(0, 10, 0.3) - 0.04).abs() < 1e-12);
        assert!((one_cycle(1, 10, 0.3) - 0.52).abs() < 1e-12);
        assert!((one_cycle(2, 10, 0.3) - 1.0).abs() < 1e-12);
        assert!((one_cycle(9, 10, 0.3) - 4e-6).abs() < 1e-12);
    }

    #[test]
    fn one_cycle_survives_a_single_step() {
        assert!(one_cycle(0, 1, 0.3).is_finite());
        assert!(one_cycle(0, 1, 0.0).is_finite());
    }

    #[test]
    fn a_warm_cosine_agrees_with_optax() {
        // join_schedules([linear_schedule(0, 1, 4), cosine_decay_schedule(1, 6, alpha=0.01)], [4]), ten steps
        let expected = [0.0, 0.25, 0.5, 0.75, 1.0, 0.933_682_6, 0.7525, 0.505, 0.2575, 0.076_317_4];
        for (step, expected) in expected.into_iter().enumerate() {
            let found = warm_cosine(step as u64, 10, 4, 0.01);
            assert!((found - expected).abs() < 1e-7, "step {step}: {found}");
        }
        assert!((warm_cosine(0, 1, 0, 0.01) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn cosines_run_from_one_to_zero_and_to_a_half() {
        assert!((cosine(0, 8) - 1.0).abs() < 1e-12 && cosine(8, 8).abs() < 1e-12);
        assert!((smoothed_cosine(0, 8) - 1.0).abs() < 1e-12 && (smoothed_cosine(8, 8) - 0.5).abs() < 1e-12);
    }
}
