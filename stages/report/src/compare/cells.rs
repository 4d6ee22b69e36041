//! The cells of a table beside what is published.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use delt_harness::session::Session;
use delt_harness::table::{self, Row, Score, aligned};
use delt_pipeline::cells::{Table, target_of};
use delt_pipeline::config::{Branch, Invalid, Pipeline};
use delt_pipeline::near::no_branch;
use delt_pipeline::yaml::YamlError;

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

/// The cells that have one of the branches that are wanted, all where none is; the others are counted. A cell that `branches_of` cannot
/// load is among them: its stages say why.
///
/// # Errors
/// A branch that no cell has, where all could be loaded.
pub fn chosen<'a>(
    cells: &'a Table,
    wanted: &[String],
    branches_of: impl Fn(&Path) -> Result<Vec<Branch>, YamlError>,
) -> Result<Vec<&'a str>, YamlError> {
    if wanted.is_empty() {
        return Ok(cells.names().collect());
    }
    let of_cells: Vec<(&str, Option<Vec<Branch>>)> =
        cells.names().map(|cell| (cell, branches_of(&cells.pipeline_of(cell)).ok())).collect();
    let is_called = |branch: &Branch, name: &String| *name == branch.name || *name == branch.group;
    let all = || of_cells.iter().filter_map(|(_, branches)| branches.as_ref()).flatten();
    let unknown = wanted.iter().find(|name| !all().any(|branch| is_called(branch, name)));
    if let Some(unknown) = unknown.filter(|_| of_cells.iter().all(|(_, branches)| branches.is_some())) {
        let mut known: Vec<&str> = Vec::new();
        for branch in all() {
            known.extend((!known.contains(&branch.group.as_str())).then_some(branch.group.as_str()));
        }
        let invalid = Invalid::new("branches", no_branch(unknown, &known));
        return Err(YamlError::of_key(cells.path().display(), &invalid));
    }
    let has_one = |branches: &Option<Vec<Branch>>| {
        let is_wanted = |branch: &Branch| wanted.iter().any(|name| is_called(branch, name));
        branches.as_ref().is_none_or(|branches| branches.iter().any(is_wanted))
    };
    let chosen: Vec<&str> =
        of_cells.iter().filter(|(_, branches)| has_one(branches)).map(|(cell, _)| *cell).collect();
    let others = of_cells.len() - chosen.len();
    if others > 0 {
        eprintln!("compare: {others} cells have no branch {} and are passed over", wanted.join(", "));
    }
    Ok(chosen)
}

/// Prints what make calls these cells.
#[expect(clippy::print_stdout, reason = "the list is the result")]
pub fn list(cells: &Table, chosen: &[&str]) {
    chosen.iter().for_each(|cell| println!("{}", target_of(&cells.pipeline_of(cell), cell)));
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
    use delt_pipeline::config;

    use super::*;

    #[test]
    fn a_branch_that_no_cell_has_is_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/tables/neighbors.yaml");
        let table = Table::read(&path).expect("reads").expect("has cells");
        let of = |name: &str| chosen(&table, &[name.to_owned()], |cell| config::load(cell, &[], None));
        assert_eq!(of("g-vbsm").expect("some have it").len(), 6);
        let said = of("gvbsm").expect_err("refused").to_string();
        let expected = "neighbors.yaml: at `branches`: no branch `gvbsm`; did you mean `g-vbsm`?; there are: random, g-vbsm, wmdd, ";
        assert!(said.contains(expected), "{said}");
    }

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
