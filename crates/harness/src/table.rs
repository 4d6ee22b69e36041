//! The table a run ends in: accuracies, images and bytes of the full data and of every branch.

use std::collections::BTreeMap;

use anyhow::Result;
use delt_formats::canonical::Digest;
use delt_formats::dataset::TRAIN_FILE;
use delt_formats::evaluation::{SUMMARY_FILE, StudentResult, Summary};
use delt_formats::synthetic::SyntheticFacts;

use crate::session::Session;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;

/// Name of the row for the student's network trained on all real images.
pub const FULL_DATA: &str = "full data";
/// Its name where the network is imported, and with it the images that it was trained on.
pub const FULL_DATA_IMPORTED: &str = "full data (imported)";

/// How counts are written.
pub type Count = fn(u64) -> String;

type Cell = fn(&Row, Count) -> Option<String>;

/// Head and cell of each column; a cell is none where nothing was measured.
const COLUMNS: [(&str, Cell); 10] = [
    ("", |row, _| Some(row.name.clone())),
    ("student", |row, _| Some(row.student.clone())),
    ("last", |row, _| Some(row.last?.to_string())),
    ("best", |row, _| Some(row.best?.to_string())),
    ("n", |row, _| Some(row.n()?.to_string())),
    ("images", |row, count| row.images.map(count)),
    ("image-iterations", |row, count| row.image_iterations.map(count)),
    ("image bytes", |row, _| row.image_bytes.map(human_bytes)),
    ("label bytes", |row, _| row.label_bytes.map(human_bytes)),
    ("cosine to centroid", |row, _| Some(format!("{:.3}", row.cosine_to_centroid?))),
];

/// Columns of words, at the left.
const WORDS: [usize; 2] = [0, 1];

/// Shown where there is no value.
const NONE: &str = "-";

/// What the rows of one pipeline come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The pipeline.
    pub pipeline: String,
    /// The test sets: how many real images each holds, and the branches that are tested on it. Empty before ingest.
    pub test_sets: Vec<TestSet>,
    /// Full data first, then the branches in their order.
    pub rows: Vec<Row>,
}

/// Real images that students are tested on.
#[derive(Debug, Clone, PartialEq)]
pub struct TestSet {
    /// Images.
    pub images: u64,
    /// Branches whose students are tested on them.
    pub branches: Vec<String>,
}

/// One line of the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// [`FULL_DATA`] or the branch.
    pub name: String,
    /// The student's network.
    pub student: String,
    /// Top-1 after the last epoch; none before it was measured.
    pub last: Option<Score>,
    /// Best top-1 of all tested epochs, the number that papers print; none for the full data.
    pub best: Option<Score>,
    /// Images that a student was trained on.
    pub images: Option<u64>,
    /// Sum over the synthetic images of their iterations; none where images are real.
    pub image_iterations: Option<u64>,
    /// Bytes of these images as they are stored.
    pub image_bytes: Option<u64>,
    /// Bytes of the soft labels of one student; none where nothing was evaluated.
    pub label_bytes: Option<u64>,
    /// Diversity: mean cosine of the images' teacher features to their class's centroid; lower is more diverse.
    pub cosine_to_centroid: Option<f64>,
    /// Diversity: mean cosine over pairs of images of a class. The table leaves it out.
    pub pairwise_cosine: Option<f64>,
}

/// A mean over students, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation.
    pub std: f64,
    /// Students.
    pub n: usize,
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.n {
            0 | 1 => write!(f, "{:.2}", self.mean),
            _ => write!(f, "{:.2} ± {:.2}", self.mean, self.std),
        }
    }
}

/// Reads the results of all branches of the session; what is not in the store yet has no score.
///
/// # Errors
/// What the store reports, or an artifact that cannot be read.
pub fn collect(session: &Session) -> Result<Table> {
    let mut rows = Vec::new();
    let mut test_sets: BTreeMap<Digest, TestSet> = BTreeMap::new();
    for branch in session.branches() {
        if let Some(row) = full_data_row(session, branch)?
            && !rows.contains(&row)
        {
            rows.push(row);
        }
        if let Some(dataset) = session.dag().if_made(branch, Node::Dataset)? {
            let images = session.dag().dataset_facts(branch)?.test_images;
            let set = test_sets.entry(dataset.manifest.digest);
            let branches = &mut set.or_insert_with(|| TestSet { images, branches: Vec::new() }).branches;
            if branches.last() != Some(&branch.group) {
                branches.push(branch.group.clone());
            }
        }
    }
    for group in session.groups() {
        rows.push(branch_row(session, group)?);
    }
    let test_sets = test_sets.into_values().collect();
    Ok(Table { pipeline: session.pipeline_name().to_owned(), test_sets, rows })
}

fn full_data_row(session: &Session, branch: &Branch) -> Result<Option<Row>> {
    let Some(teacher) = branch.pipeline.network_of(Role::FullData) else { return Ok(None) };
    let dataset = session.dag().if_made(branch, Node::Dataset)?;
    let network = session.network_if_made(branch, Role::FullData)?;
    let last = network.map(|network| Score { mean: network.facts.test_top1, std: 0.0, n: 1 });
    let mut row =
        Row { name: FULL_DATA.to_owned(), student: teacher.network.to_string(), last, ..Row::default() };
    if teacher.import.is_some() {
        FULL_DATA_IMPORTED.clone_into(&mut row.name);
    } else if let Some(entry) = dataset {
        row.images = Some(session.dag().dataset_facts(branch)?.train_images);
        row.image_bytes = entry.manifest.files.get(TRAIN_FILE).map(|file| file.bytes);
    }
    Ok(Some(row))
}

/// The row of a branch, over its repetitions: what is no score is that of the first.
///
/// # Errors
/// What the store reports, or an artifact that cannot be read.
pub fn branch_row(session: &Session, group: &[Branch]) -> Result<Row> {
    let branch = &group[0];
    let (name, student) = (branch.group.clone(), branch.pipeline.evaluate.student.to_string());
    let summaries = session.summaries(group)?;
    let Some(first) = summaries.first() else { return Ok(Row { name, student, ..Row::default() }) };
    let score = |stored: (f64, f64), top1: fn(&StudentResult) -> f64| {
        let students = summaries.iter().flat_map(|summary| &summary.students);
        let values: Vec<f64> = students.map(top1).collect();
        let (mean, std) = if summaries.len() == 1 { stored } else { mean_and_std(&values) };
        Some(Score { mean, std, n: values.len() })
    };
    let facts: SyntheticFacts = session.dag().entry(branch, Node::Synthetic)?.manifest.facts_as()?;
    let labels = branch.pipeline.relabel.label_seeds().len().max(1) as u64;
    Ok(Row {
        name,
        student,
        last: score((first.last_mean, first.last_std), |student| student.last_top1),
        best: score((first.best_mean, first.best_std), |student| student.best_top1),
        images: Some(first.images),
        image_iterations: Some(facts.image_iterations),
        image_bytes: Some(first.image_bytes),
        label_bytes: Some(first.label_bytes / labels),
        cosine_to_centroid: Some(first.cosine_to_centroid),
        pairwise_cosine: Some(first.pairwise_cosine),
    })
}

impl Session {
    /// The summaries of those branches that have been evaluated.
    pub(crate) fn summaries(&self, branches: &[Branch]) -> Result<Vec<Summary>> {
        let mut summaries = Vec::new();
        for branch in branches {
            if let Some(entry) = self.dag().if_made(branch, Node::Evaluation)? {
                summaries.push(Summary::read(entry.verified_file(SUMMARY_FILE)?)?);
            }
        }
        Ok(summaries)
    }
}

/// Mean and sample standard deviation (n − 1 in the denominator; 0 for one value).
pub fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (mean, (squares / (n - 1.0)).sqrt())
}

impl Row {
    /// Whether this is the network trained on all real images.
    pub fn is_full_data(&self) -> bool {
        [FULL_DATA, FULL_DATA_IMPORTED].contains(&self.name.as_str())
    }

    /// Number of students behind the scores.
    pub fn n(&self) -> Option<usize> {
        self.last.map(|score| score.n)
    }

    /// The text of each column, with counts as `count` writes them, and `none` where there is no value.
    pub fn cells(&self, count: Count, none: &str) -> [String; COLUMNS.len()] {
        COLUMNS.map(|(_, cell)| cell(self, count).unwrap_or_else(|| none.to_owned()))
    }
}

/// A line of text for each of `lines`, aligned in columns: `words` at the left, numbers at the right.
pub fn aligned<const N: usize>(lines: &[[String; N]], words: &[usize]) -> Vec<String> {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let aligned = |line: &[String; N]| {
        let cells = line.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match words.contains(&column) {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(aligned).collect()
}

impl Table {
    /// The images behind the scores: `540 test images`, or which branch has which where they are not the same.
    pub fn tested_on(&self) -> String {
        match self.test_sets.as_slice() {
            [] => "no test images yet".to_owned(),
            [set] => format!("{} test images", set.images),
            sets => {
                let each = sets.iter().map(|set| format!("{}: {}", set.branches.join(", "), set.images));
                format!(
                    "the branches have different test images and cannot be compared ({})",
                    each.collect::<Vec<_>>().join("; ")
                )
            }
        }
    }

    /// Aligned plain text, one line a row.
    pub fn to_text(&self) -> String {
        let head = COLUMNS.map(|(head, _)| head.to_owned());
        let rows = self.rows.iter().map(|row| row.cells(|count| count.to_string(), NONE));
        let lines: Vec<_> = std::iter::once(head).chain(rows).collect();
        let title = format!("{}: top-1 in percent on {}\n", self.pipeline, self.tested_on());
        title + &aligned(&lines, &WORDS).concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_deviation_is_over_n_minus_one() {
        let (mean, std) = mean_and_std(&[33.69, 32.32, 34.42]);
        assert!((mean - 33.476_666).abs() < 1e-5 && (std - 1.066_13).abs() < 1e-5);
        assert_eq!(mean_and_std(&[5.0]), (5.0, 0.0));
    }

    #[test]
    fn columns_are_aligned_and_missing_values_are_dashes() {
        let score = |mean, std, n| Some(Score { mean, std, n });
        let full = Row {
            name: FULL_DATA.into(),
            student: "convnet2-w32".into(),
            last: score(98.1, 0.0, 1),
            best: None,
            images: Some(1257),
            image_iterations: None,
            image_bytes: Some(358_400),
            label_bytes: None,
            cosine_to_centroid: None,
            pairwise_cosine: None,
        };
        let delt = Row {
            name: "delt".into(),
            last: score(91.5, 0.25, 3),
            best: score(92.0, 0.5, 3),
            images: Some(100),
            image_iterations: Some(231_000),
            image_bytes: Some(20_480),
            label_bytes: Some(3_145_728),
            cosine_to_centroid: Some(0.8125),
            ..full.clone()
        };
        let later = Row { name: "random".into(), student: "convnet2-w32".into(), ..Row::default() };
        let test_sets = vec![TestSet { images: 540, branches: vec!["delt".into(), "random".into()] }];
        let mut table = Table { pipeline: "digits".into(), test_sets, rows: vec![full, delt, later] };
        let expected = "\
digits: top-1 in percent on 540 test images
           student               last          best  n  images  image-iterations  image bytes  label bytes  cosine to centroid
full data  convnet2-w32         98.10             -  1    1257                 -    350.0 KiB            -                   -
delt       convnet2-w32  91.50 ± 0.25  92.00 ± 0.50  3     100            231000     20.0 KiB      3.0 MiB               0.812
random     convnet2-w32             -             -  -       -                 -            -            -                   -
";
        assert_eq!(table.to_text(), expected);
        table.test_sets.push(TestSet { images: 100, branches: vec!["few".into()] });
        let said =
            "the branches have different test images and cannot be compared (delt, random: 540; few: 100)";
        assert_eq!(table.tested_on(), said);
    }
}
