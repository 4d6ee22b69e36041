//! The stage: each branch's source is opened, told apart by its fingerprint, and read unless the store has it.

use std::collections::BTreeSet;

use anyhow::Result;
use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;
use delt_harness::config::Branch;
use delt_harness::config::ingest::Ingest;
use delt_harness::session::Session;

use crate::dataset;
use crate::source::OpenSource;

/// Folder of the store where downloaded archives stay.
const DOWNLOADS: &str = "downloads";

/// Makes or finds the dataset of every branch of the session. Branches usually share one.
///
/// # Errors
/// What is wrong with the source, the section or the store; the branch is named.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is its result")]
pub fn run(session: &Session) -> Result<()> {
    let mut opened: Option<(Ingest, OpenSource, Digest)> = None;
    let mut made = BTreeSet::new();
    session.each_branch(|branch| {
        let section = &branch.pipeline.ingest;
        let (source, fingerprint) = match opened.take() {
            Some((same, source, fingerprint)) if &same == section => (source, fingerprint),
            _ => match open(session, branch)? {
                Some(found) => found,
                None => return Ok(()),
            },
        };
        let plan = session.dataset_plan(branch, &fingerprint)?;
        let key = plan.key();
        if made.insert(key.clone()) || !session.args.force {
            session.produce(&plan, |work| {
                dataset::write(section, &source, work.out_dir(), |classes| work.provenance(classes))
                    .map_err(Into::into)
            })?;
            if session.args.dry_run {
                println!("    source {fingerprint}");
            }
        } else if !session.args.dry_run {
            session.point(&plan.run, ArtifactKind::Dataset, &key)?;
        }
        if !session.args.dry_run {
            session.point(&session.dataset_pointer(branch)?, ArtifactKind::Dataset, &key)?;
        }
        opened = Some((section.clone(), source, fingerprint));
        Ok(())
    })
}

/// Opens the branch's source. A dry run without the source says what it waits for and gives `None`.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is its result")]
fn open(session: &Session, branch: &Branch) -> Result<Option<(OpenSource, Digest)>> {
    let downloads = session.store().root().join(DOWNLOADS);
    let may_download = !session.args.dry_run;
    match OpenSource::open(&branch.pipeline.ingest.source, &downloads, may_download) {
        Err(error) if session.args.dry_run && error.is_missing_source() => {
            println!("ingest {}/{}: waits: {error}", session.pipeline_name(), branch.name);
            Ok(None)
        }
        Err(error) => Err(error.into()),
        Ok(source) => {
            dataset::choose_labels(&branch.pipeline.ingest, &source)?;
            let fingerprint = source.fingerprint()?;
            Ok(Some((source, fingerprint)))
        }
    }
}
