//! Labels that a model of others gave to the views of this stage, in place of the teacher's (`relabel.import`). The Python
//! package's `label` writes such files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use delt_formats::canonical::Digest;
use delt_formats::error::FormatError;
use delt_formats::labels::LabeledBy;
use delt_formats::{LabelsReader, ViewRow};
use delt_guard::foreign::guarded;

/// Labels for the student of one seed.
#[derive(Debug)]
pub struct ImportedLabels {
    path: PathBuf,
    reader: LabelsReader,
    /// For each class of the pipeline its place among the file's logits.
    places: Vec<usize>,
}

impl ImportedLabels {
    /// Opens a file of labels of synthetic images with that content digest; its classes may stand in any order.
    ///
    /// # Errors
    /// What the file is instead; other images; a class that it lacks.
    pub fn open(path: &Path, classes: &[String], synthetic: &Digest) -> Result<Self> {
        let file = path.display();
        let reader =
            guarded(|| LabelsReader::open(path)).map_err(|said| anyhow!("{file}: {said}"))?.map_err(cured)?;
        let found = reader.provenance().inputs.get("synthetic");
        ensure!(
            found == Some(synthetic),
            "{file}: labels of other images ({}), expected those of this branch ({synthetic}); {AGAIN}",
            found.map_or_else(|| "it does not say which".to_owned(), ToString::to_string)
        );
        let names = &reader.provenance().classes;
        let place: BTreeMap<&String, usize> = names.iter().zip(0..).collect();
        let places = classes
            .iter()
            .map(|name| {
                place.get(name).copied().with_context(|| {
                    format!("{file}: has no class `{name}`, it holds {} others; {AGAIN}", names.len())
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), reader, places })
    }

    /// The model, where the file says it.
    pub fn labeled_by(&self) -> Option<LabeledBy> {
        let labeler = self.reader.provenance().config.get("labeler")?;
        serde_json::from_value(labeler.clone()).ok()
    }

    /// How many epochs the file holds.
    pub fn epochs(&self) -> usize {
        self.reader.epochs().count()
    }

    /// Views of an epoch as they were drawn here, with the file's logits of them.
    ///
    /// # Errors
    /// An epoch that the file lacks, or labels of other views.
    pub fn epoch(&self, epoch: u32, drawn: Vec<ViewRow>) -> Result<Vec<ViewRow>> {
        let file = self.path.display();
        let found = guarded(|| self.reader.epoch(epoch)).map_err(|said| anyhow!("{file}: {said}"))?;
        let found = found.map_err(cured)?;
        let (views, expected) = (found.len(), drawn.len());
        ensure!(
            views == expected,
            "{file}: epoch {epoch} has {views} views, expected {expected}, one of each image; {AGAIN}"
        );
        let labeled = drawn.into_iter().zip(found).map(|(mut row, mut found)| {
            let logits = std::mem::take(&mut found.logits);
            ensure!(
                row == found,
                "{file}: epoch {epoch}, batch {}, position {}: labels another view than this pipeline draws by its settings (relabel); \
                 {AGAIN}",
                row.batch,
                row.position
            );
            row.logits = self.places.iter().map(|place| logits[*place]).collect();
            Ok(row)
        });
        labeled.collect()
    }
}

/// What is wrong with a file, without the advice for files of this project.
fn cured(error: FormatError) -> anyhow::Error {
    let said = error.to_string();
    anyhow!("{}; {AGAIN}", said.split("; re-run").next().unwrap_or(&said))
}

/// What to do about labels that do not fit.
const AGAIN: &str = "make the views of this pipeline without relabel.import, and let the model label these (docs/guide.md, Labels of any model)";
