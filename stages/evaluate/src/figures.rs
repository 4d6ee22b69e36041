//! What the programs beside `evaluate` end in: a table to read, and each single figure as CSV.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use delt_harness::chance::Chance;
use delt_harness::session::Session;
use delt_harness::table::aligned;
use delt_pipeline::dag::Node;
use delt_store::{Entry, KEY_DIGITS, write_atomic};
use serde::Serialize;

/// Folder of the store for pages and tables.
const REPORTS: &str = "reports";

/// Prints a table; columns of `words` are aligned at the left.
#[expect(clippy::print_stdout, reason = "the table is the result")]
pub(crate) fn print<const N: usize>(title: &str, head: [&str; N], rows: &[[String; N]], words: &[usize]) {
    let head = head.map(str::to_owned);
    let lines: Vec<[String; N]> = std::iter::once(head).chain(rows.iter().cloned()).collect();
    print!("{title}\n{}", aligned(&lines, words).concat());
}

/// Prints what guessing reaches on all test images, and what the reader of the table must know beside.
#[expect(clippy::print_stdout, reason = "notes are part of the result")]
pub(crate) fn print_notes(session: &Session, notes: &[String]) -> Result<()> {
    if let Some(branch) = session.branches().first()
        && let Some(dataset) = session.dag().if_made(branch, Node::Dataset)?
    {
        println!("{}", Chance::of_dataset(&dataset)?);
    }
    notes.iter().for_each(|note| println!("note: {note}"));
    Ok(())
}

/// How a pipeline writes a setting that is one of a few names.
pub(crate) fn in_words(setting: &impl Serialize) -> String {
    serde_json::json!(setting).as_str().unwrap_or_default().to_owned()
}

/// Where an artifact lies in the store: what a figure was read from, whose manifest says with which settings it was made.
pub(crate) fn place(entry: &Entry) -> String {
    format!("{}/{}", entry.manifest.artifact.dir(), entry.manifest.key.prefix(KEY_DIGITS))
}

/// Adds figures to `reports/PIPELINE-WHAT.csv` in the store and says where. What other settings gave before stays above them.
pub(crate) fn write_csv<const N: usize>(
    session: &Session,
    what: &str,
    head: [&str; N],
    lines: &[[String; N]],
) -> Result<()> {
    let name = format!("{}-{what}.csv", session.pipeline_name());
    let path = session.store().root().join(REPORTS).join(name);
    let before = match fs_err::read_to_string(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).context("figures cannot be added to what is there; move that file away");
        }
    };
    let columns = head.join(",");
    if before.lines().next().is_some_and(|line| line != columns) {
        let old = path.with_extension("old.csv");
        fs_err::rename(&path, &old)?;
        eprintln!("note: {what}: figures with other columns, of another version, are now {}", old.display());
    }
    let artifact = head.iter().position(|column| *column == "artifact");
    let text = merged(&before, &columns, artifact, lines);
    write_atomic::<std::io::Error>(&path, |file| file.write_all(text.as_bytes())).with_context(|| {
        format!(
            "{}: the figures cannot be written; choose another store with STORE= (--store)",
            path.display()
        )
    })?;
    eprintln!("{what}: figures written to {}", path.display());
    Ok(())
}

/// The lines of a table that are of no artifact of the new ones, then these; none of a table of other columns. `artifact`: which
/// column says it; its cells are never quoted.
fn merged<const N: usize>(
    before: &str,
    head: &str,
    artifact: Option<usize>,
    lines: &[[String; N]],
) -> String {
    let quoted = |cell: &String| if cell.contains(',') { format!("\"{cell}\"") } else { cell.clone() };
    let new: Vec<String> =
        lines.iter().map(|line| line.iter().map(quoted).collect::<Vec<_>>().join(",")).collect();
    let same_columns = before.lines().next() == Some(head);
    let is_again = |line: &str| {
        let is_of =
            |new: &[String; N]| artifact.is_some_and(|at| line.split(',').any(|cell| cell == new[at]));
        lines.iter().any(is_of) || new.iter().any(|new| new == line)
    };
    let old = before.lines().skip(1).filter(|line| same_columns && !is_again(line));
    std::iter::once(head)
        .chain(old)
        .chain(new.iter().map(String::as_str))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_other_artifacts_stay_and_those_of_one_stand_once() {
        let lines = |rows: [[&str; 2]; 2]| rows.map(|row| row.map(str::to_owned));
        let add = |before: &str, rows| merged(before, "top1,artifact", Some(1), &lines(rows));
        let first = add("", [["50,5", "evaluation/a"], ["51", "evaluation/b"]]);
        assert_eq!(first, "top1,artifact\n\"50,5\",evaluation/a\n51,evaluation/b\n");
        let second = add(&first, [["52", "evaluation/b"], ["53", "evaluation/c"]]);
        assert_eq!(second, "top1,artifact\n\"50,5\",evaluation/a\n52,evaluation/b\n53,evaluation/c\n");
        let other = merged(
            &first,
            "best,artifact",
            Some(1),
            &lines([["50", "evaluation/a"], ["52", "evaluation/b"]]),
        );
        assert_eq!(other, "best,artifact\n50,evaluation/a\n52,evaluation/b\n");
    }
}
