//! The cells of a table beside what is published.

use std::path::PathBuf;

use anyhow::{Context, Result};
use delt_harness::session::Session;
use delt_harness::table::{self, Row, Score, aligned};
use delt_pipeline::cells::Table;
use delt_pipeline::config::Pipeline;

const HEAD: [&str; 8] = ["cell", "branch", "published", "best", "n", "difference", "last", "random, best"];

/// Columns of words, at the left.
const WORDS: [usize; 2] = [0, 1];

/// Shown where there is no value, and where a cell was not run.
const NONE: &str = "-";
const MISSING: &str = "missing";

/// Prints the table; `session` opens a pipeline.
///
/// # Errors
/// A cell that cannot be loaded, or an artifact that is there and cannot be read.
#[expect(clippy::print_stdout, reason = "the table is the result")]
pub fn run(cells: &Table, session: impl Fn(PathBuf) -> Result<Session>) -> Result<()> {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for cell in cells.names() {
        let session = session(cells.pipeline_of(cell))?;
        let of = &session.branches().first().context("the pipeline has no branch")?.pipeline;
        lines.push(line(cell, of, &table::collect(&session)?.rows));
    }
    let missing = lines.iter().filter(|line| line[3] == MISSING).count();
    let (title, text) = (cells.description(), aligned(&lines, &WORDS).concat());
    println!("{title}: top-1 in percent, best of the tested epochs as papers print it\n{text}");
    println!("{} of {} cells have a result", lines.len() - 1 - missing, lines.len() - 1);
    Ok(())
}

/// The line of a cell.
fn line(cell: &str, pipeline: &Pipeline, rows: &[Row]) -> [String; HEAD.len()] {
    let best = |branch: &str| rows.iter().find(|row| row.name == branch)?.best;
    let published = pipeline.published.as_ref();
    let row = published.and_then(|published| rows.iter().find(|row| row.name == published.branch));
    let ours = row.and_then(|row| row.best);
    let or = |none: &str, value: Option<String>| value.unwrap_or_else(|| none.to_owned());
    let shown = |score: Option<Score>| or(NONE, score.map(|score| score.to_string()));
    [
        cell.to_owned(),
        or(NONE, published.map(|published| published.branch.clone())),
        or(NONE, published.map(ToString::to_string)),
        or(MISSING, ours.map(|score| score.to_string())),
        or(NONE, ours.map(|score| score.n.to_string())),
        or(NONE, ours.zip(published).map(|(ours, published)| format!("{:+.2}", ours.mean - published.top1))),
        shown(row.and_then(|row| row.last)),
        shown(best("random")),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use delt_pipeline::config;

    use super::*;

    #[test]
    fn a_cell_stands_beside_what_is_published_and_one_that_was_not_run_is_missing() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../pipelines/tables/table1/tiny-ipc10-resnet18.yaml");
        let branches = config::load(&path, &[], None).expect("loads");
        let score = |mean, std| Some(Score { mean, std, n: 3 });
        let row = |name: &str, last, best| Row { name: name.to_owned(), last, best, ..Row::default() };
        let of = |rows: &[Row]| line("tiny-ipc10-resnet18", &branches[0].pipeline, rows).join(" | ");
        let run = [
            row("random", score(30.0, 1.0), score(31.0, 1.0)),
            row("delt", score(42.0, 0.5), score(42.25, 0.25)),
        ];
        assert_eq!(
            of(&run),
            "tiny-ipc10-resnet18 | delt | 43.0 ± 0.1 | 42.25 ± 0.25 | 3 | -0.75 | 42.00 ± 0.50 | 31.00 ± 1.00"
        );
        assert_eq!(
            of(&run[..1]),
            "tiny-ipc10-resnet18 | delt | 43.0 ± 0.1 | missing | - | - | - | 31.00 ± 1.00"
        );
    }
}
