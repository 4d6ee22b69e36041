//! What the programs beside `evaluate` end in: a table to read, and each single figure as CSV.

use std::io::Write;

use anyhow::{Context, Result};
use delt_harness::chance::Chance;
use delt_harness::session::Session;
use delt_harness::table::aligned;
use delt_pipeline::dag::Node;
use delt_store::write_atomic;
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

/// Writes figures to `reports/PIPELINE-WHAT.csv` in the store and says where.
pub(crate) fn write_csv<const N: usize>(
    session: &Session,
    what: &str,
    head: [&str; N],
    lines: &[[String; N]],
) -> Result<()> {
    let name = format!("{}-{what}.csv", session.pipeline_name());
    let path = session.store().root().join(REPORTS).join(name);
    let quoted = |cell: &String| if cell.contains(',') { format!("\"{cell}\"") } else { cell.clone() };
    let lines = lines.iter().map(|line| line.iter().map(quoted).collect::<Vec<_>>().join(","));
    let text: String = std::iter::once(head.join(",")).chain(lines).map(|line| line + "\n").collect();
    write_atomic::<std::io::Error>(&path, |file| file.write_all(text.as_bytes())).with_context(|| {
        format!(
            "{}: the figures cannot be written; choose another store with STORE= (--store)",
            path.display()
        )
    })?;
    eprintln!("{what}: figures written to {}", path.display());
    Ok(())
}
