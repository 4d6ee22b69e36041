//! A ranking made by others, checked against the training images before it takes the place of scoring.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use delt_formats::dataset::DatasetReader;
use delt_formats::error::FormatError;
use delt_formats::scores::{ScoreRow, lines_of, read_csv_into};

/// First line of a ranking without probabilities.
const RANKS_HEADER: &str = "image_id,rank";

/// Reads the ranking that `select.scores` names, for the training images of a data set.
///
/// # Errors
/// As [`read`], or images that cannot be read.
pub fn read_for(file: &Path, images: &DatasetReader, classes: &[String]) -> Result<Vec<ScoreRow>> {
    let labels = images.rows().map(|row| Ok(row?.label)).collect::<Result<Vec<_>>>()?;
    read(file, &labels, classes).context("select.scores")
}

/// Reads a ranking for training images with the given labels; the result is in the order of image ids.
///
/// A file of `image_id,rank` has no probabilities: each image gets the quantile (rank + ½) / n of its class for one, and
/// the loss that belongs to it.
///
/// # Errors
/// The file, with the first row that does not fit.
pub fn read(path: &Path, labels: &[u32], classes: &[String]) -> Result<Vec<ScoreRow>> {
    let (mut rows, mut lines) = (Vec::with_capacity(labels.len()), lines_of(path)?);
    if lines.next().transpose()?.as_deref() == Some(RANKS_HEADER) {
        ranks_only(path, lines, labels, &mut rows)?;
    } else {
        read_csv_into(path, &mut rows)?;
    }
    let file = path.display();
    ensure!(
        rows.len() == labels.len(),
        "{file}: {} scores, expected {}, one for each training image; score exactly the images of train.parquet",
        rows.len(),
        labels.len()
    );
    rows.sort_unstable_by_key(|row| row.image_id);
    for ((row, expected), image) in rows.iter().zip(labels).zip(0..) {
        let ScoreRow { image_id, label, probability, .. } = *row;
        ensure!(
            image_id == image,
            "{file}: found image_id {image_id} where {image} was expected after sorting; each training image appears once, \
             numbered from 0 as in train.parquet"
        );
        ensure!(
            label == *expected,
            "{file}: image {image_id} has label {label}, expected {expected} (`{}`); were the scores made with another \
             class order?",
            class_name(classes, *expected)
        );
        ensure!(
            (0.0..=1.0).contains(&probability),
            "{file}: image {image_id} has probability {probability}, expected a number in 0..=1"
        );
    }
    check_ranks(path, &rows, classes)?;
    Ok(rows)
}

fn class_name(classes: &[String], label: u32) -> &str {
    classes.get(label as usize).map_or("", String::as_str)
}

/// Adds the rows of `lines`, which stand below the header.
fn ranks_only(
    path: &Path,
    lines: impl Iterator<Item = Result<String, FormatError>>,
    labels: &[u32],
    rows: &mut Vec<ScoreRow>,
) -> Result<(), FormatError> {
    let mut sizes: BTreeMap<u32, u32> = BTreeMap::new();
    labels.iter().for_each(|label| *sizes.entry(*label).or_default() += 1);
    for (line, number) in lines.zip(2..) {
        let line = line?;
        let numbers: Option<(u64, u32)> = line
            .split_once(',')
            .and_then(|(image_id, rank)| Some((image_id.trim().parse().ok()?, rank.trim().parse().ok()?)));
        let Some((image_id, rank)) = numbers else {
            let (found, expected) = (line.clone(), format!("two whole numbers: {RANKS_HEADER}"));
            return Err(FormatError::Csv { path: path.to_owned(), line: number, found, expected });
        };
        // an image that is none of these is refused by its id, whatever its label
        let label = usize::try_from(image_id).ok().and_then(|at| labels.get(at)).copied().unwrap_or(0);
        let n = sizes.get(&label).copied().unwrap_or(1);
        let probability = ((f64::from(rank) + 0.5) / f64::from(n)) as f32;
        rows.push(ScoreRow { image_id, label, probability, loss: -probability.ln(), rank });
    }
    Ok(())
}

/// Refuses ranks of a class that are not 0, 1, 2, … by ascending probability.
fn check_ranks(path: &Path, rows: &[ScoreRow], classes: &[String]) -> Result<()> {
    let mut sorted: Vec<&ScoreRow> = rows.iter().collect();
    sorted.sort_unstable_by_key(|row| (row.label, row.rank, row.image_id));
    for class in sorted.chunk_by(|a, b| a.label == b.label) {
        let mut before = 0.0;
        for (row, expected) in class.iter().zip(0..) {
            ensure!(
                row.rank == expected && row.probability >= before,
                "{}: class `{}`: image {} has rank {}, which does not fit; the ranks of a class count from 0 by ascending \
                 probability, without gaps",
                path.display(),
                class_name(classes, row.label),
                row.image_id,
                row.rank
            );
            before = row.probability;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "image_id,label,probability,loss,rank\n";

    fn read_text(text: &str) -> Result<Vec<ScoreRow>> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("scores.csv");
        fs_err::write(&path, format!("{HEADER}{text}")).expect("written");
        read(&path, &[0, 1, 0], &["cat".to_owned(), "dog".to_owned()])
    }

    fn message(text: &str) -> String {
        let message = read_text(text).expect_err("refused").to_string();
        message.split_once("scores.csv: ").map_or(message.clone(), |(_, rest)| rest.to_owned())
    }

    #[test]
    fn rows_in_any_order_come_back_by_image_id() {
        let rows = read_text("2,0,0.7,0.3,1\n0,0,0.2,1.6,0\n1,1,0.5,0.6,0\n").expect("fits");
        assert_eq!(
            rows.iter().map(|row| (row.image_id, row.rank)).collect::<Vec<_>>(),
            [(0, 0), (1, 0), (2, 1)]
        );
    }

    #[test]
    fn ranks_alone_are_enough_and_probabilities_are_their_quantiles() {
        let read_ranks = |text: &str| {
            let folder = tempfile::tempdir().expect("temporary folder");
            let path = folder.path().join("ranks.csv");
            fs_err::write(&path, format!("image_id,rank\n{text}")).expect("written");
            read(&path, &[0, 1, 0], &["cat".to_owned(), "dog".to_owned()]).map_err(|error| error.to_string())
        };
        let rows = read_ranks("2,0\n0,1\n1,0\n").expect("fits");
        let found: Vec<_> =
            rows.iter().map(|row| (row.image_id, row.label, row.rank, row.probability)).collect();
        assert_eq!(found, [(0, 0, 1, 0.75), (1, 1, 0, 0.5), (2, 0, 0, 0.25)]);
        let message = |text: &str| read_ranks(text).expect_err("refused");
        assert!(
            message("0,0\n1,0\n2\n")
                .contains("ranks.csv: line 4: found `2`, expected two whole numbers: image_id,rank")
        );
        assert!(message("0,0\n1,0\n7,1\n").contains("found image_id 7 where 2 was expected after sorting"));
        assert!(message("0,0\n1,0\n2,2\n").contains("image 2 has"));
    }

    #[test]
    fn a_ranking_of_other_images_is_refused() {
        let rank = |image_id: u64, found: u32| {
            format!(
                "class `cat`: image {image_id} has rank {found}, which does not fit; the ranks of a class count from 0 by \
                 ascending probability, without gaps"
            )
        };
        let twice = "found image_id 0 where 1 was expected after sorting; each training image appears once, numbered from 0 as in \
            train.parquet";
        let other_label =
            "image 1 has label 0, expected 1 (`dog`); were the scores made with another class order?";
        let refusals = [
            (
                "0,0,0.2,1.6,0\n",
                "1 scores, expected 3, one for each training image; score exactly the images of train.parquet".to_owned(),
            ),
            ("0,0,0.2,1.6,0\n0,0,0.5,0.6,0\n2,0,0.7,0.3,1\n", twice.to_owned()),
            ("0,0,0.2,1.6,0\n1,0,0.5,0.6,0\n2,0,0.7,0.3,1\n", other_label.to_owned()),
            (
                "0,0,1.2,1.6,0\n1,1,0.5,0.6,0\n2,0,0.7,0.3,1\n",
                "image 0 has probability 1.2, expected a number in 0..=1".to_owned(),
            ),
            ("0,0,0.2,1.6,1\n1,1,0.5,0.6,0\n2,0,0.7,0.3,0\n", rank(0, 1)),
            ("0,0,0.2,1.6,0\n1,1,0.5,0.6,0\n2,0,0.7,0.3,2\n", rank(2, 2)),
        ];
        for (text, expected) in refusals {
            assert_eq!(message(text), expected);
        }
    }
}
