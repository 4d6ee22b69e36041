//! The stage: synthetic images and teacher in, `labels.parquet` out; an epoch is the unit of resuming.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use delt_augment::Draws;
use delt_formats::{
    Entry, LabelPacking, LabelsFacts, LabelsReader, LabelsWriter, Picture, SyntheticReader, TeacherFacts,
    ViewRow,
};
use delt_harness::config::Branch;
use delt_harness::progress::human_bytes;
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
    session.produce(&plan, |work| label(session, branch, seed, work))?;
    Ok(())
}

fn label(session: &Session, branch: &Branch, seed: u64, work: &Work<'_>) -> Result<Made> {
    let opened = delt_device::open(&session.args.device)?;
    session.use_device(&opened.name);
    let relabel = &branch.pipeline.relabel;
    let teacher = session.network(branch, Role::Teacher)?;
    let facts: TeacherFacts = teacher.manifest.facts_as()?;
    let classes = teacher.manifest.provenance.classes.clone();
    let synthetic = session.synthetic(branch)?;
    let reader = SyntheticReader::open(&synthetic.verified_file("synthetic.parquet")?)?;
    reader.expect_classes(&classes)?;
    // images that were only copied know no teacher
    if branch.pipeline.synthesize.max_iterations > 0 {
        reader.expect_input("teacher", &teacher.manifest.digest)?;
    }
    let mut pictures = Vec::new();
    for row in reader.rows() {
        let picture = Picture::decode(&row?.png);
        pictures.push(picture.with_context(|| format!("synthetic.parquet, row {}", pictures.len()))?);
    }
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
    let epochs = relabel.stored_epochs();
    let views = u64::from(epochs) * pictures.len() as u64;
    let progress = session.progress(&format!("relabel seed {seed}"), views, "views", branch);
    let provenance = work.provenance(&classes);
    let checkpoints = work.checkpoint_dir();
    // checkpoints keep whole logits, so that they are packed once
    let create = |path: &Path, packing| match relabel.is_packed() {
        true => LabelsWriter::create_packed(path, &provenance, packing),
        false => LabelsWriter::create(path, &provenance),
    };
    let part = |epoch: u32| checkpoints.join(format!("epoch-{epoch:05}.parquet"));
    let keep = |(epoch, rows): (u32, Vec<ViewRow>)| -> Result<()> {
        let beside = part(epoch).with_extension("writing");
        let mut writer = create(&beside, LabelPacking::FULL)?;
        writer.write_epoch(&rows)?;
        writer.finish()?;
        Ok(fs_err::rename(&beside, part(epoch))?)
    };
    behind(keep, |hand_over| {
        let (draws, spec, mut done) = (Draws::new(seed), relabel.view_spec(), 0);
        for epoch in 0..epochs {
            if part(epoch).exists() {
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

    let path = work.out_dir().join("labels.parquet");
    let mut writer = create(&path, relabel.labels.packing())?;
    for epoch in 0..epochs {
        writer.write_epoch(&LabelsReader::open(part(epoch))?.epoch(epoch)?)?;
    }
    writer.finish()?;
    let bytes = fs_err::metadata(&path)?.len();
    let bytes_per_image = bytes as f64 / pictures.len() as f64;
    let facts =
        LabelsFacts { epochs, batch, images: pictures.len() as u32, views, bytes, bytes_per_image, seed };
    let summary = format!(
        "{views} views of {} images labelled, {} per image, {} in all ({bytes} bytes)",
        pictures.len(),
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
