//! Ranges that numbers of a section must lie in; what is no number lies in none.
//!
//! Numbers that memory or time is taken by have an upper end too, far above any use: a slip of the hand is named at load
//! and not by a machine that runs out of memory.

use super::Invalid;

/// Side of a network's input, px.
pub(super) const MOST_SIDE: u32 = 4096;
/// Images of a step.
pub(super) const MOST_BATCH: u32 = 65_536;
/// Passes over the images.
pub(super) const MOST_EPOCHS: u32 = 100_000;
/// Steps of a recovery.
pub(super) const MOST_ITERATIONS: u32 = 10_000_000;
/// Images of a class.
pub(super) const MOST_IPC: u32 = 100_000;
/// Students of a branch.
pub(super) const MOST_SEEDS: usize = 1000;
/// Operations on an image.
pub(super) const MOST_LAYERS: u32 = 100;

/// A number that memory or time is taken by.
pub(super) fn at_most(place: &str, value: u32, most: u32) -> Result<(), Invalid> {
    if value <= most {
        return Ok(());
    }
    Err(Invalid::new(place, format!("found {value}, expected at most {most}")))
}

/// A decay or a share that never reaches 1.
pub(super) fn below_one(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, (0.0..1.0).contains(&value), "0 or more, less than 1")
}

/// A share that is more than nothing.
pub(super) fn share(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value > 0.0 && value <= 1.0, "more than 0, at most 1")
}

/// A share that is neither nothing nor all.
pub(super) fn between(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value > 0.0 && value < 1.0, "more than 0, less than 1")
}

/// A weight that may be turned off.
pub(super) fn not_negative(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value >= 0.0 && value.is_finite(), "a finite number of 0 or more")
}

/// A divisor or a learning rate.
pub(super) fn positive(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value > 0.0 && value.is_finite(), "a finite number above 0")
}

/// Anything that is a number.
pub(super) fn finite(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value.is_finite(), "a finite number")
}

/// An accuracy.
pub(super) fn percent(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, (0.0..=100.0).contains(&value), "percent, 0 to 100")
}

fn within(place: &str, value: f64, is_within: bool, expected: &str) -> Result<(), Invalid> {
    if is_within {
        return Ok(());
    }
    Err(Invalid::new(place, format!("found {value}, expected {expected}")))
}

/// A share of an area that is not empty.
pub(super) fn area(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value > 0.0 && value <= 1.0, "a share of the area, more than 0, at most 1")
}
