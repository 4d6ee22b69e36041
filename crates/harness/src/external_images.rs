//! The images that another project made for a branch, found where `synthesize.import` says.

use anyhow::{Context, Result};
use delt_images::external_set::{self, ExternalSet, Read};
use delt_pipeline::config::Branch;

/// Finds the images of a branch; none where it imports none.
///
/// # Errors
/// As [`external_set::open`].
pub fn of(branch: &Branch, classes: &[String], read: Read) -> Result<Option<ExternalSet>> {
    let Some(path) = &branch.pipeline.synthesize.import else { return Ok(None) };
    external_set::open(path, classes, read).context("synthesize.import").map(Some)
}
