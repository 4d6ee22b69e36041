//! What golden tests compare: printed where that is wanted, and kept for a program that reports it.

use std::cmp::Ordering;
use std::fmt::{Arguments, Display};
use std::sync::{Mutex, PoisonError};

/// What the tests of this process have compared since [`take`] was called.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Golden files that are not there.
    pub missing: usize,
    /// What came nearest to its tolerance, or furthest beyond.
    pub nearest: Option<Comparison>,
    is_silent: bool,
}

/// An error beside what is allowed.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What was compared.
    pub what: String,
    /// How far ours is from PyTorch's.
    pub error: f64,
    /// How far it may be.
    pub tolerance: f64,
}

static RECORD: Mutex<Option<Record>> = Mutex::new(None);

fn with<T>(change: impl FnOnce(&mut Record) -> T) -> T {
    change(RECORD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Whether each comparison is printed to stderr.
pub fn tell(is_told: bool) {
    with(|record| record.is_silent = !is_told);
}

/// What has been compared, and forgets it.
pub fn take() -> Record {
    with(|record| {
        let kept = Record { is_silent: record.is_silent, ..Record::default() };
        std::mem::replace(record, kept)
    })
}

/// A line to stderr, unless comparisons are not printed.
pub fn say(line: Arguments<'_>) {
    if !with(|record| record.is_silent) {
        eprintln!("{line}");
    }
}

/// Keeps and prints an error; whether it is within the tolerance.
pub fn compared(what: &dyn Display, error: f64, tolerance: f64) -> bool {
    say(format_args!("{what}: error {error:.1e}, allowed {tolerance:.1e}"));
    with(|record| {
        let share = |seen: &Comparison| seen.error / seen.tolerance;
        let is_further = |seen| (error / tolerance).partial_cmp(&share(seen)).is_none_or(Ordering::is_gt);
        if record.nearest.as_ref().is_none_or(is_further) {
            record.nearest = Some(Comparison { what: what.to_string(), error, tolerance });
        }
    });
    error < tolerance
}

/// Counts a golden file that is not there.
pub(crate) fn missing() {
    with(|record| record.missing += 1);
}
