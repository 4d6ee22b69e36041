//! The stage: synthetic images and teacher in, `labels.parquet` out; an epoch is the unit of resuming.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use delt_augment::Draws;
use delt_formats::provenance::Provenance;
use delt_formats::{
    Entry, FormatError, LabelPacking, LabelsFacts, LabelsReader, LabelsWriter, Picture, SyntheticReader,
    TeacherFacts, ViewRow, sealed,
};
use delt_harness::config::Branch;
use delt_harness::config::relabel::Relabel;
use delt_harness::parts::{InPieces, Pieces};
use delt_harness::progress::{Progress, human_bytes};
use delt_harness::resolve::Role;
use delt_harness::session::{Made, Session, Work};
use delt_networks::FrozenNetwork;
use delt_training::behind;
use serde_json::to_value;

use crate::soft_label::Labeller;

/// Makes or finds the labels of one student seed of one branch.
///
/// # Errors
/// Missing inputs, artifacts that do not fit each other, an interrupt.
pub fn run(session: &Session, branch: &Branch, seed: u64) -> Result<()> {
    let plan = session.labels_plan(branch, seed)?;
    let classes = session.network(branch, Role::Teacher)?.manifest.provenance.classes;
    let epochs = branch.pipeline.relabel.stored_epochs();
    let pieces = InPieces {
        units: &|| Ok(u64::from(epochs)),
        make: &|range, work| label(session, branch, seed, narrow(range), work),
        is_piece: |name| name.starts_with("epoch-") && name.ends_with(".parquet"),
        classes: &classes,
    };
    session.produce_in_pieces(&plan, &pieces, |parts, work| {
        let images = synthetic(session, branch)?.len() as u32;
        let batch = branch.pipeline.student_batch(classes.len())?;
        join(&branch.pipeline.relabel, parts, (images, batch), work.provenance(&classes), seed, work)
    })
}

fn narrow(range: Range<u64>) -> Range<u32> {
    // units are epochs, which are u32
    range.start as u32..range.end as u32
}

/// File of one labelled epoch.
fn epoch_file(epoch: u32) -> String {
    format!("epoch-{epoch:05}.parquet")
}

fn synthetic(session: &Session, branch: &Branch) -> Result<SyntheticReader> {
    let teacher = session.network(branch, Role::Teacher)?;
    let reader = SyntheticReader::open(&session.synthetic(branch)?.verified_file("synthetic.parquet")?)?;
    reader.expect_classes(&teacher.manifest.provenance.classes)?;
    // images that were only copied know no teacher
    if branch.pipeline.synthesize.max_iterations > 0 {
        reader.expect_input("teacher", &teacher.manifest.digest)?;
    }
    Ok(reader)
}

fn images_of(reader: &SyntheticReader) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for row in reader.rows() {
        let picture = Picture::decode(&row?.png);
        pictures.push(picture.with_context(|| format!("synthetic.parquet, row {}", pictures.len()))?);
    }
    Ok(pictures)
}

/// Labels epochs into the checkpoint folder, each in a file of its own with whole logits, so that they are packed once.
fn label(session: &Session, branch: &Branch, seed: u64, epochs: Range<u32>, work: &Work<'_>) -> Result<()> {
    let opened = delt_device::open(&session.args.device)?;
    session.use_device(&opened.name);
    let relabel = &branch.pipeline.relabel;
    let teacher = session.network(branch, Role::Teacher)?;
    let facts: TeacherFacts = teacher.manifest.facts_as()?;
    let classes = teacher.manifest.provenance.classes.clone();
    let pictures = images_of(&synthetic(session, branch)?)?;
    let committee =
        if branch.pipeline.labels_by_committee() { session.committee(branch)? } else { Vec::new() };
    let labeller = Labeller {
        teacher: load(&teacher, &opened.device)?,
        committee: committee.iter().map(|member| load(member, &opened.device)).collect::<Result<_>>()?,
        mode: relabel.teacher_mode,
        normalization: facts.normalization,
        size: facts.size,
        device: opened.device,
    };

    let batch = branch.pipeline.student_batch(classes.len())?;
    let views = u64::from(epochs.end - epochs.start) * pictures.len() as u64;
    let progress = Progress::of_branch(&format!("relabel seed {seed}"), views, "views", branch);
    let provenance = work.provenance(&classes);
    let piece = |epoch: u32| work.checkpoint_dir().join(epoch_file(epoch));
    let keep = |(epoch, rows): (u32, Vec<ViewRow>)| -> Result<()> {
        let beside = piece(epoch).with_extension("writing");
        let mut writer = create(relabel, &beside, &provenance, LabelPacking::FULL)?;
        writer.write_epoch(&rows)?;
        writer.finish()?;
        Ok(sealed::seal_unsynced(&beside, &piece(epoch))?)
    };
    // an epoch is labelled again sooner than anybody asks about it
    let is_kept = |epoch: u32| -> bool {
        let path = piece(epoch);
        let kept = path.exists().then(|| sealed::verify(&path).and_then(|()| LabelsReader::open(&path)));
        if let Some(Err(error)) = &kept {
            eprintln!("relabel: {error}; the epoch is labelled again");
        }
        matches!(kept, Some(Ok(_)))
    };
    behind(keep, |hand_over| {
        let (draws, spec, mut done) = (Draws::new(seed), relabel.view_spec(), 0);
        for epoch in epochs {
            if is_kept(epoch) {
                done += pictures.len() as u64;
                progress.resume_at(done);
                continue;
            }
            let rows = labeller.epoch(&pictures, &draws, epoch, batch as usize, &spec, &progress)?;
            check_finite(&rows)?;
            if !hand_over((epoch, rows)) {
                break;
            }
        }
        Ok(())
    })?;
    progress.finish();
    Ok(())
}

fn create(
    relabel: &Relabel,
    path: &Path,
    provenance: &Provenance,
    packing: LabelPacking,
) -> Result<LabelsWriter, FormatError> {
    match relabel.is_packed() {
        true => LabelsWriter::create_packed(path, provenance, packing),
        false => LabelsWriter::create(path, provenance),
    }
}

/// All epochs in one file; `counts` are images and batch.
fn join(
    relabel: &Relabel,
    pieces: &Pieces,
    counts: (u32, u32),
    provenance: Provenance,
    seed: u64,
    work: &Work<'_>,
) -> Result<Made> {
    let (epochs, (images, batch)) = (relabel.stored_epochs(), counts);
    let path = work.out_dir().join("labels.parquet");
    let mut writer = create(relabel, &path, &provenance, relabel.labels.packing())?;
    for epoch in 0..epochs {
        let piece = pieces.file(u64::from(epoch), &epoch_file(epoch))?;
        writer.write_epoch(&LabelsReader::open(piece)?.epoch(epoch)?)?;
    }
    writer.finish()?;
    let bytes = fs_err::metadata(&path)?.len();
    let bytes_per_image = bytes as f64 / f64::from(images);
    let views = u64::from(epochs) * u64::from(images);
    let facts = LabelsFacts { epochs, batch, images, views, bytes, bytes_per_image, seed };
    let summary = format!(
        "{views} views of {images} images labelled, {} per image, {} in all ({bytes} bytes)",
        human_bytes(bytes_per_image as u64),
        human_bytes(bytes)
    );
    Ok(Made { provenance, facts: to_value(facts)?, summary })
}

/// A network in evaluation mode.
fn load(entry: &Entry, device: &Device) -> Result<FrozenNetwork> {
    let facts: TeacherFacts = entry.manifest.facts_as()?;
    let (classes, weights) =
        (entry.manifest.provenance.classes.len(), entry.verified_file("weights.safetensors")?);
    Ok(FrozenNetwork::load(&facts.architecture, classes, facts.size as usize, &weights, device)?)
}

/// Refuses logits that labels cannot hold; f16 ends at 65504.
fn check_finite(rows: &[ViewRow]) -> Result<()> {
    for row in rows {
        if let Some(logit) = row.logits.iter().find(|logit| !logit.is_finite()) {
            bail!(
                "epoch {}, image {}: the teacher's logit is {logit}, expected a number up to 65504, the largest that is stored; \
                 its weights are broken or its scale is: make the teacher again",
                row.epoch,
                row.image_id
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use delt_formats::{CropBox, Mix};
    use half::f16;

    use super::*;

    #[test]
    fn logits_that_are_no_numbers_are_refused_with_epoch_and_image() {
        let row = |logits: &[f32]| ViewRow {
            epoch: 3,
            batch: 0,
            position: 0,
            image_id: 7,
            crop: CropBox { top: 0, left: 0, height: 8, width: 8 },
            flip: false,
            patch_order: Vec::new(),
            randaugment: Vec::new(),
            mix: Mix::None,
            logits: logits.iter().copied().map(f16::from_f32).collect(),
        };
        check_finite(&[row(&[1.0, -65504.0])]).expect("fits");
        for (logit, said) in [(f32::NAN, "NaN"), (1e6, "inf")] {
            assert_eq!(
                check_finite(&[row(&[0.0, 1.0]), row(&[0.0, logit])]).expect_err("refused").to_string(),
                format!(
                    "epoch 3, image 7: the teacher's logit is {said}, expected a number up to 65504, the largest that is stored; \
                     its weights are broken or its scale is: make the teacher again"
                )
            );
        }
    }
}
