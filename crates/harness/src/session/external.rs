//! The branch that `--set-path` and `--teacher` add to a pipeline.

use std::path::Path;

use anyhow::Result;
use delt_formats::provenance::ArtifactKind;
use delt_formats::teacher::WEIGHTS_FILE;
use delt_pipeline::config::external_branch::ExternalBranch;
use delt_pipeline::yaml::YamlError;
use delt_store::{Entry, StoreError};

use super::open_store;
use crate::args::Args;

/// The last part of the name of a teacher's run.
const TEACHER: &str = "teacher";

/// The branch, where the command line asks for one.
///
/// # Errors
/// A teacher that is neither a file nor a run; what the store reports.
pub(super) fn branch(args: &Args) -> Result<Option<ExternalBranch>> {
    let Some(set) = &args.set_path else { return Ok(None) };
    let mut branch = ExternalBranch::new(set);
    match &args.teacher {
        None => {}
        Some(file) if file.is_file() => branch.import_teacher(file),
        Some(run) => {
            let entry = teacher_of(args, run)?;
            let manifest = &entry.manifest;
            branch.import_teacher(&entry.verified_file(WEIGHTS_FILE)?);
            branch.describe_teacher(&manifest.facts_as()?, &manifest.provenance.classes)?;
        }
    }
    Ok(Some(branch))
}

/// The network that a run made: `P/BRANCH/teacher`, or short `P/BRANCH`.
fn teacher_of(args: &Args, run: &Path) -> Result<Entry> {
    let name = run.to_string_lossy();
    let store = open_store(args)?;
    for run in [format!("{name}/{TEACHER}"), name.clone().into_owned()] {
        let pointer = match store.pointer(&run) {
            Err(StoreError::RunName { .. }) => None,
            found => found?.filter(|pointer| pointer.kind == ArtifactKind::Teacher),
        };
        if let Some(entry) = pointer.map(|it| store.lookup(it.kind, &it.key)).transpose()?.flatten() {
            return Ok(entry);
        }
    }
    let problem = format!(
        "`{name}` is neither a file of weights nor a network of the store {}; expected e.g. teacher.pth or demo/delt (delt-store ls \
         lists the runs)",
        args.store
    );
    Err(YamlError::new("TEACHER (--teacher)", problem).into())
}
