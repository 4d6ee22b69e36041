//! How often something was tried, and how it ended.

use std::collections::BTreeMap;
use std::fmt;

/// The counts of one scenario.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) tried: u32,
    /// What was wrong, in words.
    pub(crate) wrong: Vec<String>,
    outcomes: BTreeMap<String, u32>,
    skipped: Option<String>,
}

impl Tally {
    /// A scenario that this machine does not allow.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self { skipped: Some(reason.into()), ..Self::default() }
    }

    /// Counts one disturbance with how it ended, or with what was wrong, which is also said at once.
    pub(crate) fn count(&mut self, what: &str, ended: Result<String, String>) {
        self.tried += 1;
        match ended {
            Ok(outcome) => *self.outcomes.entry(outcome).or_default() += 1,
            Err(problem) => {
                eprintln!("WRONG {what}: {problem}");
                self.wrong.push(problem);
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.skipped {
            return write!(f, "skipped, {reason}");
        }
        write!(f, "{} tried, {} wrong", self.tried, self.wrong.len())?;
        for (at, (outcome, times)) in self.outcomes.iter().enumerate() {
            write!(f, "{}{times} {outcome}", if at == 0 { " (" } else { ", " })?;
        }
        if !self.outcomes.is_empty() {
            write!(f, ")")?;
        }
        Ok(())
    }
}
