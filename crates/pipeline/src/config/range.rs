//! Ranges that numbers of a section must lie in; what is no number lies in none.
//!
//! Numbers that memory or time is taken by have an upper end too, far above any use: a slip of the hand is named at load
//! and not by a machine that runs out of memory.

use std::fmt::Display;
use std::path::Path;

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
/// Networks that are kept side by side, or trained for one branch.
pub(super) const MOST_NETWORKS: u32 = 10_000;
/// Students of a branch.
pub(super) const MOST_SEEDS: usize = 1000;
/// Operations on an image.
pub(super) const MOST_LAYERS: u32 = 100;

/// What a number may be, and how that is said.
pub(super) struct Range(fn(f64) -> bool, &'static str);

/// A decay or a share that never reaches 1.
pub(super) const BELOW_ONE: Range = Range(|x| (0.0..1.0).contains(&x), "0 or more, less than 1");
/// A share of a target that is never all of it.
pub(super) const SMOOTHING: Range = Range(|x| (0.0..1.0).contains(&x), "a share of 0 or more, less than 1");
/// A share that is more than nothing.
pub(super) const SHARE: Range = Range(|x| x > 0.0 && x <= 1.0, "more than 0, at most 1");
/// A share of an area that is not empty.
pub(super) const AREA: Range = Range(|x| x > 0.0 && x <= 1.0, "a share of the area, more than 0, at most 1");
/// A share of the iterations of a recovery.
pub(super) const OF_RECOVERY: Range =
    Range(|x| (0.0..=1.0).contains(&x), "a share of the iterations, 0 to 1");
/// A share that is neither nothing nor all.
pub(super) const BETWEEN: Range = Range(|x| x > 0.0 && x < 1.0, "more than 0, less than 1");
/// A weight that may be turned off.
pub(super) const NOT_NEGATIVE: Range = Range(|x| x >= 0.0 && x.is_finite(), "a finite number of 0 or more");
/// A divisor or a learning rate.
pub(super) const POSITIVE: Range = Range(|x| x > 0.0 && x.is_finite(), "a finite number above 0");
/// What may be without end, but not nothing.
pub(super) const ABOVE_ZERO: Range = Range(|x| x > 0.0, "more than 0");
/// Anything that is a number.
pub(super) const FINITE: Range = Range(f64::is_finite, "a finite number");
/// A mean of pixels, and their standard deviation.
pub(super) const PIXEL_MEAN: Range =
    Range(|x| (0.0..=1.0).contains(&x), "0 to 1, as pixels are; divide what is meant for 0 to 255 by 255");
pub(super) const PIXEL_STD: Range = Range(
    |x| x > 0.0 && x <= 1.0,
    "more than 0, at most 1, for pixels from 0 to 1; divide what is meant for 0 to 255 by 255",
);
/// An accuracy.
pub(super) const PERCENT: Range = Range(|x| (0.0..=100.0).contains(&x), "percent, 0 to 100");

impl Range {
    pub(super) fn check(&self, place: impl Into<String>, value: f64) -> Result<(), Invalid> {
        require((self.0)(value), place, value, self.1)
    }
}

/// A number that memory or time is taken by.
pub(super) fn at_most(place: impl Into<String>, value: u32, most: u32) -> Result<(), Invalid> {
    require(value <= most, place, value, format_args!("at most {most}"))
}

/// Refuses the normalization of others where it can only be meant for pixels from 0 to 255.
pub(super) fn not_of_bytes(place: impl Into<String>, mean: [f32; 3], std: [f32; 3]) -> Result<(), Invalid> {
    let is_of_bytes = mean.iter().any(|mean| *mean > 1.0) && std.iter().any(|std| *std > 1.0);
    let found = format_args!("mean {mean:?} and std {std:?}");
    require(
        !is_of_bytes,
        place,
        found,
        "those of pixels from 0 to 1; divide what is meant for 0 to 255 by 255",
    )
}

/// Images of a training step.
pub(super) fn batch(place: &str, value: u32) -> Result<(), Invalid> {
    require(value >= 2, place, value, "at least 2 images: BatchNorm needs a batch")?;
    at_most(place, value, MOST_BATCH)
}

/// A file that has to be there.
pub(super) fn file(place: impl Into<String>, file: &Path, expected: &str) -> Result<(), Invalid> {
    let is_empty = file.metadata().is_ok_and(|data| data.is_file() && data.len() == 0);
    let found = match (is_empty, file.is_dir()) {
        (true, _) => "is an empty file",
        (_, true) => "is a folder",
        _ => "no such file",
    };
    let problem = format_args!("{}: {found}{}, expected {expected}", file.display(), counted_from(file));
    ensure(file.is_file() && !is_empty, place, problem)
}

/// Where a relative path counts from, for messages.
pub(super) fn counted_from(path: &Path) -> String {
    let here = std::env::current_dir().ok().filter(|_| path.is_relative());
    here.map_or_else(String::new, |here| format!(" (relative to {})", here.display()))
}

/// Refuses a value, unless the condition holds, with what was found and what is expected.
pub(super) fn require(
    holds: bool,
    place: impl Into<String>,
    found: impl Display,
    expected: impl Display,
) -> Result<(), Invalid> {
    ensure(holds, place, format_args!("found {found}, expected {expected}"))
}

/// Refuses a section, unless the condition holds, with this problem.
pub(super) fn ensure(holds: bool, place: impl Into<String>, problem: impl Display) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::new(place, problem.to_string())) }
}
