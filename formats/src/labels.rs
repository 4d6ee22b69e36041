//! Soft labels: `labels.parquet`, made by `relabel`. One row per view, one row group per epoch, so that a student reads any
//! epoch without reading those before it.
//!
//! Two layouts: logits of all classes in half precision, in the column `logits`; or packed as [`LabelPacking`] says, in columns
//! of their own, which also keep the order of patches. A reader takes either and gives whole logits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde::{Deserialize, Serialize};

use crate::canonical::Digest;
use crate::columns::WrongValue;
use crate::error::{FormatError, Result};
use crate::label_packing::LabelPacking;
use crate::packed_views::PackedView;
use crate::provenance::Provenance;
use crate::table::{Row, TableReader, TableWriter};
pub use crate::view::{AugmentOp, CropBox, Interpolation, Mix, Op, ViewRow};
use crate::view_columns::check_partners;

/// The file.
pub const LABELS_FILE: &str = "labels.parquet";

/// What a labels manifest says about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsFacts {
    /// Epochs stored.
    pub epochs: u32,
    /// Views of a whole batch.
    pub batch: u32,
    /// Synthetic images.
    pub images: u32,
    /// Rows: epochs times images.
    pub views: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the file per synthetic image.
    pub bytes_per_image: f64,
    /// The seed of every draw, and of the student these labels are for.
    pub seed: u64,
    /// The model of others that gave the logits. Absent: the teacher, or labels that do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labeled_by: Option<LabeledBy>,
}

/// A model outside this project that labeled stored views, as whoever used it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabeledBy {
    /// What it is called.
    pub name: String,
    /// What tells it from others: of its weights, as a rule.
    pub digest: String,
}

/// Writes views, an epoch at a time.
#[derive(Debug)]
pub struct LabelsWriter {
    table: Layout<TableWriter<ViewRow>, TableWriter<PackedView>>,
    /// Of the packed layout.
    packing: LabelPacking,
    path: PathBuf,
    last_epoch: Option<u32>,
}

#[derive(Debug)]
enum Layout<W, P> {
    Whole(W),
    Packed(P),
}

/// What both layouts answer alike.
macro_rules! either {
    ($table:expr, $inner:ident => $answer:expr) => {
        match $table {
            Layout::Whole($inner) => $answer,
            Layout::Packed($inner) => $answer,
        }
    };
}

impl LabelsWriter {
    /// Creates the file, over any that is there: with whole logits, or in the packed layout where a packing is given.
    ///
    /// # Errors
    ///
    /// If the provenance is not of labels, or the file cannot be created.
    pub fn create(
        path: impl AsRef<Path>,
        provenance: &Provenance,
        packing: Option<LabelPacking>,
    ) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let table = match packing {
            None => Layout::Whole(TableWriter::create(&path, provenance)?),
            Some(_) => Layout::Packed(TableWriter::create(&path, provenance)?),
        };
        Ok(Self { table, packing: packing.unwrap_or(LabelPacking::FULL), path, last_epoch: None })
    }

    /// Adds the views of one epoch, which become one row group. Epochs come in ascending order and may begin anywhere, so
    /// that a checkpoint can hold single epochs.
    ///
    /// # Errors
    ///
    /// If the views are of several epochs, of one not after the last, or cannot be.
    pub fn write_epoch(&mut self, views: &[ViewRow]) -> Result<()> {
        let Some(first) = views.first() else { return Ok(()) };
        if let Some(last) = self.last_epoch.filter(|last| first.epoch <= *last) {
            let problem = format!(
                "views of epoch {} cannot follow epoch {last}: write each epoch once, in ascending order",
                first.epoch
            );
            return Err(FormatError::unfit(&self.path, problem));
        }
        check_partners(views)
            .map_err(|(index, wrong)| wrong.at(&self.path, self.rows() + index as u64, ViewRow::KINDS))?;
        for view in views {
            if view.epoch != first.epoch {
                let expected = format!("{}, the epoch of its row group", first.epoch);
                let wrong = WrongValue::new("epoch", view.epoch, expected);
                return Err(wrong.at(&self.path, self.rows(), ViewRow::KINDS));
            }
            match &mut self.table {
                Layout::Whole(table) => table.write(view)?,
                Layout::Packed(table) => table.write(&PackedView::pack(view, self.packing))?,
            }
        }
        self.last_epoch = Some(first.epoch);
        either!(&mut self.table, table => table.end_group())
    }

    fn rows(&self) -> u64 {
        either!(&self.table, table => table.rows())
    }

    /// Writes the footer, waits until the file is on disk and reads the footer again.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or cannot be read back.
    pub fn finish(self) -> Result<()> {
        either!(self.table, table => table.finish())
    }
}

/// Reads views, an epoch at a time, in any order.
#[derive(Debug)]
pub struct LabelsReader {
    table: Layout<TableReader<ViewRow>, TableReader<PackedView>>,
    groups: BTreeMap<u32, usize>,
}

impl LabelsReader {
    /// Opens a file and checks its footer: artifact, schema version, columns, one epoch per row group.
    ///
    /// # Errors
    ///
    /// Whatever the file is instead of a file of labels.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let table = match TableReader::<ViewRow>::open(path) {
            Ok(table) => Layout::Whole(table),
            Err(FormatError::MissingColumn { column, found, .. })
                if column == "logits" && found.iter().any(|name| name == "kept_logits") =>
            {
                Layout::Packed(TableReader::open(path)?)
            }
            Err(error) => return Err(error),
        };
        let mut groups = BTreeMap::new();
        let mut first_row = 0;
        let footer = either!(&table, table => table.footer());
        for (index, group) in footer.row_groups().iter().enumerate() {
            let epoch = group_epoch(group).filter(|epoch| !groups.contains_key(epoch)).ok_or_else(|| {
                WrongValue::new("epoch", format!("row group {index}"), "one epoch per row group").at(
                    path,
                    first_row,
                    ViewRow::KINDS,
                )
            })?;
            groups.insert(epoch, index);
            first_row += u64::try_from(group.num_rows()).unwrap_or(0);
        }
        Ok(Self { table, groups })
    }

    /// What made the file.
    pub fn provenance(&self) -> &Provenance {
        either!(&self.table, table => table.provenance())
    }

    /// How many views there are.
    pub fn len(&self) -> u64 {
        either!(&self.table, table => table.len())
    }

    /// Whether there are no views.
    pub fn is_empty(&self) -> bool {
        either!(&self.table, table => table.is_empty())
    }

    /// The epochs stored, ascending.
    pub fn epochs(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.keys().copied()
    }

    /// Refuses the file if its class list is not `classes`, in order.
    ///
    /// # Errors
    ///
    /// Names the first class that differs.
    pub fn expect_classes(&self, classes: &[String]) -> Result<()> {
        either!(&self.table, table => table.expect_classes(classes))
    }

    /// Refuses the file if it was not made from the given content of the input called `input`.
    ///
    /// # Errors
    ///
    /// Names the digests found and expected.
    pub fn expect_input(&self, input: &str, content: &Digest) -> Result<()> {
        either!(&self.table, table => table.expect_input(input, content))
    }

    /// The views of one epoch, in the order written.
    ///
    /// # Errors
    ///
    /// If the epoch is not stored, or its rows cannot be read.
    pub fn epoch(&self, epoch: u32) -> Result<Vec<ViewRow>> {
        let path = either!(&self.table, table => table.path());
        let group = self.groups.get(&epoch).ok_or_else(|| {
            let held = self.groups.len();
            let problem =
                format!("has no epoch {epoch}, it holds {held} epochs; re-run relabel with more epochs");
            FormatError::unfit(path, problem)
        })?;
        let (first_row, views) = match &self.table {
            Layout::Whole(table) => {
                let rows = table.group(*group);
                (rows.next_row(), rows.collect::<Result<Vec<_>>>()?)
            }
            Layout::Packed(table) => {
                let (rows, classes) = (table.group(*group), table.provenance().classes.len());
                (rows.next_row(), rows.map(|row| Ok(row?.unpack(classes))).collect::<Result<Vec<_>>>()?)
            }
        };
        check_partners(&views)
            .map_err(|(index, wrong)| wrong.at(path, first_row + index as u64, ViewRow::KINDS))?;
        Ok(views)
    }
}

/// The epoch of a row group, from the statistics of its first column; none if there are several.
fn group_epoch(group: &RowGroupMetaData) -> Option<u32> {
    let epoch = group.columns().iter().find(|column| column.column_path().string() == "epoch")?;
    match epoch.statistics()? {
        Statistics::Int32(bounds) if bounds.min_opt() == bounds.max_opt() => {
            bounds.min_opt().map(|epoch| epoch.cast_unsigned())
        }
        _ => None,
    }
}
