//! Ranges that numbers of a section must lie in; what is no number lies in none.

use super::Invalid;

/// A decay or a share that never reaches 1.
pub(super) fn below_one(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, (0.0..1.0).contains(&value), "0 or more, less than 1")
}

/// A share that is more than nothing.
pub(super) fn share(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value > 0.0 && value <= 1.0, "more than 0, at most 1")
}

/// A weight that may be turned off.
pub(super) fn not_negative(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value >= 0.0 && value.is_finite(), "a finite number of 0 or more")
}

/// A divisor or a learning rate.
pub(super) fn positive(place: &str, value: f64) -> Result<(), Invalid> {
    within(place, value, value > 0.0 && value.is_finite(), "a finite number of more than 0")
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
