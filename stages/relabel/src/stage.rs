//! The stage: synthetic images and teacher in, `labels.parquet` out; an epoch is the unit of resuming.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use delt_augment::{Draws, draw_views};
use delt_formats::labels::LABELS_FILE;
use delt_formats::provenance::Provenance;
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{LabelPacking, LabelsFacts, LabelsReader, LabelsWriter, SyntheticReader, ViewRow, sealed};
use delt_harness::parts::{InPieces, Pieces};
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_harness::synthetic_images::decoded_images;
use delt_harness::trained::Trained;
use delt_networks::FrozenNetwork;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::config::Branch;
use delt_pipeline::config::relabel::Relabel;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;
use delt_training::{Labeler, behind};
use serde_json::to_value;

use crate::imported::ImportedLabels;

/// Makes or finds the labels of every student seed of one branch.
///
/// # Errors
/// Missing inputs, artifacts that do not fit each other, an interrupt.
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    if let Some(line) = session.dag().batch_is_all(branch)? {
        session.say_once(line);
    }
    for seed in branch.pipeline.relabel.label_seeds() {
        let plan = session.dag().plan(branch, Node::Labels(*seed))?;
        let inputs = Inputs::open(session, branch, *seed)?;
        let pieces = InPieces {
            units: &|| Ok(u64::from(branch.pipeline.relabel.stored_epochs())),
            make: &|epochs, work| inputs.label(session, epochs, work),
            is_piece: |name| name.starts_with("epoch-") && name.ends_with(".parquet"),
            classes: inputs.teacher.classes(),
        };
        session.produce_in_pieces(&plan, &pieces, |parts, work| inputs.join(parts, work))?;
    }
    Ok(())
}

/// Who labels the views.
enum Answers {
    Teacher(Labeler),
    Imported(ImportedLabels),
}

/// File of one labeled epoch.
fn epoch_file(epoch: u32) -> String {
    format!("epoch-{epoch:05}.parquet")
}

/// What the labels of a student are made from.
struct Inputs<'a> {
    branch: &'a Branch,
    relabel: &'a Relabel,
    /// Seed of the views.
    seed: u64,
    teacher: Trained,
    /// Networks that vote with the teacher.
    committee: Vec<Trained>,
    synthetic: Entry,
    /// Views of a batch.
    batch: u32,
}

impl<'a> Inputs<'a> {
    fn open(session: &Session, branch: &'a Branch, seed: u64) -> Result<Self> {
        let teacher = session.network(branch, Role::Teacher)?;
        let votes = branch.pipeline.labels_by_committee();
        Ok(Self {
            branch,
            relabel: &branch.pipeline.relabel,
            seed,
            committee: if votes { session.committee(branch)? } else { Vec::new() },
            synthetic: session.dag().entry(branch, Node::Synthetic)?,
            batch: session.dag().student_batch(branch)?,
            teacher,
        })
    }

    fn synthetic(&self) -> Result<SyntheticReader> {
        let reader = SyntheticReader::open(&self.synthetic.verified_file(SYNTHETIC_FILE)?)?;
        reader.expect_classes(self.teacher.classes())?;
        // images that were only copied, or made by a method without one, know no teacher
        if reader.provenance().inputs.contains_key("teacher") {
            reader.expect_input("teacher", &self.teacher.entry.manifest.digest)?;
        }
        Ok(reader)
    }

    fn imported(&self) -> Result<Option<ImportedLabels>> {
        let (classes, images) = (self.teacher.classes(), &self.synthetic.manifest.digest);
        self.relabel.imported(self.seed).map(|file| ImportedLabels::open(&file, classes, images)).transpose()
    }

    /// The teacher with its committee, or the labels that stand for them.
    fn answers(&self, session: &Session) -> Result<Answers> {
        if let Some(labels) = self.imported()? {
            return Ok(Answers::Imported(labels));
        }
        let opened = delt_device::open(&session.args.device)?;
        session.use_device(&opened.name);
        let load = |network: &Trained| -> Result<FrozenNetwork> {
            let weights = network.weights()?;
            Ok(FrozenNetwork::load(&network.facts, network.classes().len(), &weights, &opened.device)?)
        };
        Ok(Answers::Teacher(Labeler {
            teacher: load(&self.teacher)?,
            committee: self.committee.iter().map(load).collect::<Result<_>>()?,
            weights: self.relabel.voting_weights(self.committee.len()),
            mode: self.relabel.teacher_mode,
            normalization: self.teacher.facts.normalization,
            size: self.teacher.facts.size,
            device: opened.device.clone(),
        }))
    }

    /// Labels epochs into the checkpoint folder, each in a file of its own with whole logits, so that they are packed once.
    fn label(&self, session: &Session, epochs: Range<u64>, work: &Work<'_>) -> Result<()> {
        let answers = self.answers(session)?;
        let (pictures, _) = decoded_images(&self.synthetic()?)?;
        let views = (epochs.end - epochs.start) * pictures.len() as u64;
        let label = format!("relabel seed {}", self.seed);
        let progress = Progress::of_branch(&label, views, "views", self.branch);
        let provenance = work.provenance(self.teacher.classes());
        let piece = |epoch: u32| work.checkpoint_dir().join(epoch_file(epoch));
        let keep = |(epoch, rows): (u32, Vec<ViewRow>)| -> Result<()> {
            let beside = piece(epoch).with_extension("writing");
            let mut writer = self.create(&beside, &provenance, LabelPacking::FULL)?;
            writer.write_epoch(&rows)?;
            writer.finish()?;
            Ok(sealed::seal_unsynced(&beside, &piece(epoch))?)
        };
        behind(keep, |hand_over| {
            let (draws, spec, mut done) = (Draws::new(self.seed), self.relabel.view_spec(), 0);
            for epoch in epochs.start as u32..epochs.end as u32 {
                if is_kept(&piece(epoch)) {
                    done += pictures.len() as u64;
                    progress.resume_at(done);
                    continue;
                }
                let batch = self.batch as usize;
                let rows = match &answers {
                    Answers::Teacher(labeler) => {
                        labeler.epoch(&pictures, &draws, epoch, batch, &spec, &progress)?
                    }
                    Answers::Imported(labels) => {
                        let size = self.teacher.facts.size;
                        let views = draw_views(&draws, epoch, pictures.len(), batch, &spec, size)?;
                        progress.advance(views.len() as u64)?;
                        labels.epoch(epoch, views)?
                    }
                };
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

    fn create(&self, path: &Path, provenance: &Provenance, packing: LabelPacking) -> Result<LabelsWriter> {
        Ok(LabelsWriter::create(path, provenance, self.relabel.is_packed().then_some(packing))?)
    }

    /// All epochs in one file.
    fn join(&self, pieces: &Pieces, work: &Work<'_>) -> Result<Made> {
        let (epochs, batch, seed) = (self.relabel.stored_epochs(), self.batch, self.seed);
        let images = self.synthetic()?.len() as u32;
        let provenance = work.provenance(self.teacher.classes());
        let path = work.out_dir().join(LABELS_FILE);
        let mut writer = self.create(&path, &provenance, self.relabel.labels.packing())?;
        for epoch in 0..epochs {
            let piece = pieces.file(u64::from(epoch), &epoch_file(epoch))?;
            writer.write_epoch(&LabelsReader::open(piece)?.epoch(epoch)?)?;
        }
        writer.finish()?;
        let bytes = fs_err::metadata(&path)?.len();
        let bytes_per_image = bytes as f64 / f64::from(images);
        let views = u64::from(epochs) * u64::from(images);
        let imported = self.imported()?;
        if let Some(held) =
            imported.as_ref().map(ImportedLabels::epochs).filter(|held| *held > epochs as usize)
        {
            work.note(format!(
                "relabel.import holds {held} epochs of seed {seed}, of which {epochs} are taken"
            ));
        }
        let labeled_by = imported.and_then(|labels| labels.labeled_by());
        let by = labeled_by.as_ref().map_or(String::new(), |model| format!(" by {}", model.name));
        let facts = LabelsFacts { epochs, batch, images, views, bytes, bytes_per_image, seed, labeled_by };
        let summary = format!(
            "{views} views of {images} images labeled{by}, {} per image, {} in all ({bytes} bytes)",
            human_bytes(bytes_per_image as u64),
            human_bytes(bytes)
        );
        Ok(Made { provenance, facts: to_value(facts)?, summary })
    }
}

/// Whether the piece of an epoch is there and whole. An epoch is labeled again sooner than anybody asks about it.
fn is_kept(path: &Path) -> bool {
    let read = || sealed::verify(path).and_then(|()| LabelsReader::open(path));
    path.exists()
        && read().inspect_err(|error| eprintln!("relabel: {error}; the epoch is labeled again")).is_ok()
}

/// Refuses logits that labels cannot hold; f16 ends at 65504.
fn check_finite(rows: &[ViewRow]) -> Result<()> {
    for row in rows {
        if let Some(logit) = row.logits.iter().find(|logit| !logit.is_finite()) {
            bail!(
                "epoch {}, image {}: the teacher's logit is {logit}, expected a number up to 65504, the largest that is stored; \
                 its weights or their scale are wrong: train or import the teacher again",
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
                     its weights or their scale are wrong: train or import the teacher again"
                )
            );
        }
    }
}
