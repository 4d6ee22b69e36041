//! Time spent on one artifact, over all processes that worked on it: what an interrupted one has spent lies beside its
//! checkpoints.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use delt_formats::files::if_there;
use serde::{Deserialize, Serialize};

use crate::usage::cpu_seconds;

/// The file beside the checkpoints.
const SPENT_FILE: &str = "spent.json";

/// Seconds of work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// By the clock on the wall.
    pub(crate) seconds: f64,
    /// Of all processors; none where the system does not tell.
    pub(crate) cpu_seconds: Option<f64>,
    /// Whether an earlier process was killed, so that what it had spent since its last word is not known.
    pub(crate) is_lower_bound: bool,
}

/// Counts what this process spends, beginning with what others have.
#[derive(Debug)]
pub(crate) struct Meter {
    file: PathBuf,
    before: Spent,
    started: Instant,
    cpu_at_start: Option<f64>,
}

impl Meter {
    /// Begins to count; `checkpoints` is the folder that outlives an interrupted process.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) fn start(checkpoints: &Path) -> Result<Self> {
        let file = checkpoints.join(SPENT_FILE);
        let kept = fs_err::read(&file).ok().and_then(|text| serde_json::from_slice::<Spent>(&text).ok());
        let before = kept.unwrap_or(Spent {
            cpu_seconds: Some(0.0),
            is_lower_bound: has_checkpoints(checkpoints)?,
            ..Spent::default()
        });
        // whoever is killed leaves no file, and what it spent is then not known
        if_there(fs_err::remove_file(&file))?;
        Ok(Self { file, before, started: Instant::now(), cpu_at_start: cpu_seconds() })
    }

    /// What has been spent up to now.
    pub(crate) fn spent(&self) -> Spent {
        let cpu = cpu_seconds().zip(self.cpu_at_start).map(|(now, start)| now - start);
        Spent {
            seconds: self.before.seconds + self.started.elapsed().as_secs_f64(),
            cpu_seconds: self.before.cpu_seconds.zip(cpu).map(|(before, cpu)| before + cpu),
            is_lower_bound: self.before.is_lower_bound,
        }
    }

    /// Leaves word for the process that goes on.
    pub(crate) fn keep(&self) -> Result<()> {
        Ok(fs_err::write(&self.file, serde_json::to_vec(&self.spent())?)?)
    }
}

/// Whether an earlier process left anything to go on from.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn has_checkpoints(checkpoints: &Path) -> Result<bool> {
    let entries = fs_err::read_dir(checkpoints)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.iter().any(|entry| entry.file_name() != SPENT_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_interrupted_process_counts_and_that_of_a_killed_one_is_missed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let checkpoints = folder.path();
        let first = Meter::start(checkpoints).expect("starts");
        assert!(!first.spent().is_lower_bound);
        std::fs::write(checkpoints.join("epoch-00000"), "kept").expect("written");
        std::thread::sleep(std::time::Duration::from_millis(20));
        first.keep().expect("kept");

        let second = Meter::start(checkpoints).expect("starts");
        assert!(second.spent().seconds >= 0.02, "{:?}", second.spent());
        assert!(!second.spent().is_lower_bound);
        // the second is killed
        let third = Meter::start(checkpoints).expect("starts");
        assert!(third.spent().is_lower_bound && third.spent().seconds < 0.02, "{:?}", third.spent());
        third.keep().expect("kept");
        assert!(Meter::start(checkpoints).expect("starts").spent().is_lower_bound);
    }

    #[test]
    fn word_of_time_spent_is_no_checkpoint() {
        let folder = tempfile::tempdir().expect("temporary folder");
        Meter::start(folder.path()).expect("starts").keep().expect("kept");
        assert!(!has_checkpoints(folder.path()).expect("read"));
    }
}
