//! The stage: each branch's source is opened, told apart by its fingerprint, and read unless the store has it; then it is
//! whitened where the branch asks for that.

use std::collections::BTreeSet;

use anyhow::Result;
use delt_augment::resize::side_before_crop;
use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;
use delt_harness::args::Args;
use delt_harness::session::Session;
use delt_pipeline::config::Branch;
use delt_pipeline::config::ingest::Ingest;

use crate::download::Downloads;
use crate::source::Source;
use crate::{dataset, sources, whitening};

/// Folder of the store where downloaded archives stay.
const DOWNLOADS: &str = "downloads";

/// Makes or finds the dataset of every branch of the session. Branches usually share one.
///
/// # Errors
/// What is wrong with the source, the section or the store; the branch is named.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is its result")]
pub fn run(session: &Session) -> Result<()> {
    let mut opened: Option<(Ingest, Box<dyn Source>, Digest)> = None;
    let (mut made, mut noted) = (BTreeSet::new(), BTreeSet::new());
    session.each_branch(|branch| {
        let section = &branch.pipeline.ingest;
        if let Some(note) = enlarged(section, branch.pipeline.teacher.size)
            && noted.insert(note.clone())
        {
            eprintln!("ingest: note: {note}");
        }
        if opened.as_ref().is_none_or(|(same, ..)| same != section) {
            opened =
                open(session, branch)?.map(|(source, fingerprint)| (section.clone(), source, fingerprint));
        }
        let Some((_, source, fingerprint)) = &opened else { return Ok(()) };
        let plan = session.dag().dataset_plan(branch, fingerprint)?;
        let key = plan.key();
        let is_new = made.insert(key.clone());
        if is_new || !session.args.force {
            session.produce(&plan, |work| {
                let (made, notes) =
                    dataset::write(section, &**source, work.out_dir(), |classes| work.provenance(classes))?;
                source.notes().into_iter().chain(notes).for_each(|note| work.note(note));
                Ok(made)
            })?;
            if session.args.dry_run && is_new {
                println!("    source {fingerprint}");
            }
        }
        if !session.args.dry_run {
            session.point(&plan.run, ArtifactKind::Dataset, &key)?;
            session.point(&session.dag().dataset_pointer(branch)?, ArtifactKind::Dataset, &key)?;
        }
        whitening::run(session, branch)
    })
}

/// What is said where images are stored smaller than networks of `size` px are given them.
fn enlarged(section: &Ingest, size: u32) -> Option<String> {
    let (short, side) = (section.shorter_side?.get(), side_before_crop(size));
    (short < side).then(|| {
        format!(
            "ingest.shorter_side: larger images are stored with {short} px, and enlarged again to the {side} px from which networks \
             of {size} px have theirs; set {side} or more to keep what they see"
        )
    })
}

/// Opens the branch's source. A dry run says what is still to be downloaded and gives `None`; what only a person can bring it misses as
/// the run would, unless it is to take it for given.
fn open(session: &Session, branch: &Branch) -> Result<Option<(Box<dyn Source>, Digest)>> {
    let folder = session.store().root().join(DOWNLOADS);
    let Args { dry_run, assume_files, .. } = session.args;
    let downloads = Downloads { folder, is_allowed: !dry_run };
    match sources::open(&branch.pipeline.ingest.source, &downloads) {
        Err(error) if dry_run && (error.is_to_come() || assume_files && error.is_missing_source()) => {
            session.say_waits(branch, "source", &error.to_string());
            Ok(None)
        }
        Err(error) => Err(error.into()),
        Ok(source) => {
            dataset::choose_labels(&branch.pipeline.ingest, &*source)?;
            let fingerprint = source.fingerprint()?;
            Ok(Some((source, fingerprint)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stored_smaller_than_networks_are_given_them_are_worth_a_line() {
        let section = |more: &str| {
            let text = format!("source: {{kind: image_folder, path: x}}\n{more}");
            serde_yaml::from_str::<Ingest>(&text).expect("a section")
        };
        assert_eq!(enlarged(&section(""), 224), None);
        assert_eq!(enlarged(&section("shorter_side: 256"), 224), None);
        let said = enlarged(&section("shorter_side: 224"), 224).expect("a line");
        assert!(said.contains("stored with 224 px, and enlarged again to the 256 px"), "{said}");
        assert_eq!(enlarged(&section("shorter_side: 32"), 32), None);
    }
}
