//! The images that another project made for a branch, found where `synthesize.import` says.

use anyhow::{Context, Result};
use delt_images::external_set::{self, ExternalSet, Read, Space};
use delt_pipeline::config::Branch;

/// Finds the images of a branch; none where it imports none.
///
/// # Errors
/// As [`external_set::open`].
pub fn of(branch: &Branch, classes: &[String], read: Read) -> Result<Option<ExternalSet>> {
    let Some(path) = &branch.pipeline.synthesize.import else { return Ok(None) };
    let tensors = branch.pipeline.synthesize.import_tensors.as_ref();
    let space =
        tensors.map(|tensors| Space { normalization: tensors.normalization(), zca: tensors.zca.as_deref() });
    external_set::open(path, classes, space.as_ref(), read).context("synthesize.import").map(Some)
}
