//! What the teacher thinks of each training image: `scores.parquet`, made by `init-select`, and the same as CSV.

use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::str::FromStr;

use arrow::array::{Float32Array, UInt32Array, UInt64Array};
use serde::{Deserialize, Serialize};

use crate::columns::{Column, Columns, WrongValue, check_label, check_probability, label_array, required};
use crate::error::{FormatError, Result};
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file.
pub const SCORES_FILE: &str = "scores.parquet";

/// What the manifest of scores, or of initial images, says about them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoresFacts {
    /// Images.
    pub images: u64,
    /// Mean of their probabilities, to six decimals.
    pub mean_probability: f64,
}

/// The first line of the CSV form.
const CSV_HEADER: &str = "image_id,label,probability,loss,rank";

/// Writes scores.
pub type ScoresWriter = TableWriter<ScoreRow>;

/// Reads scores.
pub type ScoresReader = TableReader<ScoreRow>;

/// The score of one training image.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    /// The training image.
    pub image_id: u64,
    /// Index into the class list.
    pub label: u32,
    /// The teacher's softmax probability of the true class.
    pub probability: f32,
    /// The teacher's cross-entropy.
    pub loss: f32,
    /// Place in its class by ascending probability, ties by image id: 0 is the hardest.
    pub rank: u32,
}

impl Row for ScoreRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Scores];
    fn to_columns(rows: &[Self]) -> Vec<Column> {
        vec![
            required("image_id", UInt64Array::from_iter_values(rows.iter().map(|row| row.image_id))),
            required("label", label_array(rows.iter().map(|row| row.label))),
            required("probability", Float32Array::from_iter_values(rows.iter().map(|row| row.probability))),
            required("loss", Float32Array::from_iter_values(rows.iter().map(|row| row.loss))),
            required("rank", UInt32Array::from_iter_values(rows.iter().map(|row| row.rank))),
        ]
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self {
            image_id: columns.value::<UInt64Array>("image_id", row)?,
            label: columns.label(row)?,
            probability: columns.value::<Float32Array>("probability", row)?,
            loss: columns.value::<Float32Array>("loss", row)?,
            rank: columns.value::<UInt32Array>("rank", row)?,
        })
    }

    fn check(&self, _index: u64, classes: usize) -> Result<(), WrongValue> {
        check_label(self.label, classes)?;
        check_probability("probability", self.probability)
    }
}

/// Writes scores as CSV; numbers are written so that reading gives the same bits.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_csv(path: impl AsRef<Path>, rows: &[ScoreRow]) -> Result<()> {
    let mut file = BufWriter::new(fs_err::File::create(path.as_ref())?);
    writeln!(file, "{CSV_HEADER}")?;
    for ScoreRow { image_id, label, probability, loss, rank } in rows {
        writeln!(file, "{image_id},{label},{probability},{loss},{rank}")?;
    }
    Ok(file.flush()?)
}

/// Reads a CSV file line by line.
///
/// # Errors
///
/// A file that cannot be read, or is no text.
pub fn lines_of(path: &Path) -> Result<impl Iterator<Item = Result<String>>> {
    let file = BufReader::new(fs_err::File::open(path)?);
    Ok(file.lines().map(|line| {
        line.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => {
                csv_error(path, 1, "no text", format!("the header `{CSV_HEADER}`, in UTF-8"))
            }
            _ => error.into(),
        })
    }))
}

/// Reads scores from CSV, for ranks made by others.
///
/// # Errors
///
/// Names the line that is not five numbers under the right header.
pub fn read_csv(path: impl AsRef<Path>) -> Result<Vec<ScoreRow>> {
    let mut rows = Vec::new();
    read_csv_into(path, &mut rows)?;
    Ok(rows)
}

/// As [`read_csv`], behind the rows that are there.
///
/// # Errors
///
/// As [`read_csv`].
pub fn read_csv_into(path: impl AsRef<Path>, rows: &mut Vec<ScoreRow>) -> Result<()> {
    let path = path.as_ref();
    let mut lines = lines_of(path)?;
    let header = lines.next().transpose()?.unwrap_or_default();
    if header != CSV_HEADER {
        return Err(csv_error(path, 1, &header, format!("the header `{CSV_HEADER}`")));
    }
    for (line, number) in lines.zip(2..) {
        rows.push(csv_row(path, number, &line?)?);
    }
    Ok(())
}

fn csv_row(path: &Path, number: usize, line: &str) -> Result<ScoreRow> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [image_id, label, probability, loss, rank] = fields[..] else {
        return Err(csv_error(path, number, line, format!("five fields: {CSV_HEADER}")));
    };
    Ok(ScoreRow {
        image_id: csv_number(path, number, "image_id", image_id)?,
        label: csv_number(path, number, "label", label)?,
        probability: csv_number(path, number, "probability", probability)?,
        loss: csv_number(path, number, "loss", loss)?,
        rank: csv_number(path, number, "rank", rank)?,
    })
}

fn csv_number<T: FromStr>(path: &Path, line: usize, column: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| csv_error(path, line, text, format!("a number for `{column}`")))
}

fn csv_error(path: &Path, line: usize, found: &str, expected: String) -> FormatError {
    FormatError::Csv { path: path.to_owned(), line, found: found.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_round_trips_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scores.csv");
        let rows = vec![
            ScoreRow { image_id: 3, label: 1, probability: 0.1 + 0.2, loss: f32::MIN_POSITIVE, rank: 0 },
            ScoreRow { image_id: u64::MAX, label: 0, probability: 1.0, loss: 1e-20, rank: 9 },
        ];
        write_csv(&path, &rows).unwrap();
        assert_eq!(read_csv(&path).unwrap(), rows);
    }

    #[test]
    fn csv_errors_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scores.csv");
        let read = |text: &str| {
            fs_err::write(&path, text).unwrap();
            read_csv(&path).unwrap_err().to_string()
        };
        let (at, end) = (path.display(), "; correct the line or export the scores again");
        assert_eq!(
            read("id,label\n"),
            format!("{at}: line 1: found `id,label`, expected the header `{CSV_HEADER}`{end}")
        );
        assert_eq!(
            read(&format!("{CSV_HEADER}\n0,0,0.5,0.7,0\n1,cat,0.5,0.7,1\n")),
            format!("{at}: line 3: found `cat`, expected a number for `label`{end}")
        );
        assert_eq!(
            read(&format!("{CSV_HEADER}\n0,0,0.5\n")),
            format!("{at}: line 2: found `0,0,0.5`, expected five fields: {CSV_HEADER}{end}")
        );
    }
}
