//! The outer loop of every method: unit after unit, checkpoints on the way, resuming where an earlier run stopped.

use std::ops::Range;
use std::time::{Duration, Instant};

use delt_formats::RgbImage;
use delt_harness::progress::Progress;

use crate::checkpoint::Checkpoints;
use crate::method::{Method, Prepared, Step};

/// Steps between two checkpoints inside a unit, or fewer where they take long.
pub const CHECKPOINT_STEPS: u32 = 100;

/// Time between two checkpoints, at most a step more.
const CHECKPOINT_TIME: Duration = Duration::from_secs(60);

/// Computes units into checkpoints, one in memory at a time. The result does not depend on whether or where an earlier run was
/// stopped.
///
/// # Errors
/// What a unit reports, a checkpoint that cannot be saved, or [`delt_pipeline::watch::Interrupted`] after the state was saved.
pub fn run(
    method: &dyn Method,
    prepared: &dyn Prepared,
    units: Range<u64>,
    checkpoints: &Checkpoints<'_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut done = 0;
    for index in units {
        if checkpoints.has_finished(index) {
            done += method.work_of(index);
            progress.resume_at(done);
            continue;
        }
        let mut unit = prepared.begin(index)?;
        if let Some(kept) = checkpoints.state(index)? {
            progress.resume_at(done + unit.restore(&kept)?);
        }
        let mut kept = Instant::now();
        while !unit.is_finished() {
            let Step { work, said } = unit.step()?;
            if let Some(said) = said {
                progress.message(said);
            }
            let advanced = progress.advance(work);
            let is_due = unit.steps().is_multiple_of(CHECKPOINT_STEPS) || kept.elapsed() > CHECKPOINT_TIME;
            if (is_due && !unit.is_finished()) || advanced.is_err() {
                checkpoints.keep_state(index, &unit.save()?)?;
                checkpoints.show(&RgbImage::in_rows(&unit.course()))?;
                kept = Instant::now();
            }
            advanced?;
        }
        checkpoints.keep_finished(index, &unit.finish()?)?;
        done += method.work_of(index);
    }
    Ok(())
}
