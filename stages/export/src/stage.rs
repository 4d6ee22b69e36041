//! The stage: the branches of a pipeline in, one folder out.

use std::path::Path;

use anyhow::{Context, Result};
use delt_harness::session::Session;
use delt_pipeline::config::{Branch, Invalid};
use delt_pipeline::dag::Node;
use serde_json::json;

use crate::folder::Folder;
use crate::formats::{self, Format};
use crate::record;
use crate::results::Results;

/// Writes the branches of a session in the format and to the folder of its arguments: a single branch straight into it, several
/// into a folder each.
///
/// # Errors
/// A format or a folder that will not do, before anything is read; what is not in the store; what the format cannot express.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is its result")]
pub fn run(session: &Session) -> Result<()> {
    let format = formats::named(session.args.format.as_deref())?;
    let output = session.args.output.as_deref().ok_or_else(|| {
        Invalid::new("OUTPUT", "expected the folder to write to: OUTPUT=folder (--output folder)")
    })?;
    let folder = Folder::at(output, session.store().root())?;
    session.check_branches(|branch| {
        let dataset = session.dag().if_made(branch, Node::Dataset)?;
        (format.check)(branch, dataset.as_ref().map(|entry| &*entry.manifest.provenance.classes))
    })?;
    let (name, place) = (session.pipeline_name(), output.display());
    if session.args.dry_run {
        println!("export: {name} would be written to {place} as {}", format.name);
        return Ok(());
    }
    let names: Vec<&str> = session.branches().iter().map(|branch| branch.name.as_str()).collect();
    folder.write(|folder| match session.branches() {
        [branch] => write_branch(session, format, branch, folder),
        branches => {
            for branch in branches {
                let own = folder.join(&branch.name);
                fs_err::create_dir(&own)?;
                write_branch(session, format, branch, &own)?;
            }
            formats::join(format, folder, name, &names)?;
            record::write(folder, record::head(format, name, &json!({ "branches": names })))
        }
    })?;
    let own: Vec<String> = names.iter().map(|name| output.join(name).display().to_string()).collect();
    match own.len() {
        1 => eprintln!("export: {name} is in {place}"),
        _ => eprintln!("export: {name} is in {place}; open a branch by its own folder: {}", own.join(", ")),
    }
    Ok(())
}

/// Writes one branch, and says what it came to.
fn write_branch(session: &Session, format: &Format, branch: &Branch, folder: &Path) -> Result<()> {
    let results = Results::new(session, branch);
    let name = results.name();
    let written = (format.write)(&results, folder).with_context(|| name.clone())?;
    record::write(folder, record::of(format, &results, &written)?)?;
    eprintln!("export: {name} {}", written.summary);
    for note in &written.notes {
        eprintln!("export: {name}: note: {note}");
    }
    Ok(())
}
