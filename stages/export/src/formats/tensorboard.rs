//! `tensorboard`: event files of what was trained and recovered: one run for the teacher, each batch of images and each student.

use std::io::BufWriter;
use std::path::Path;

use anyhow::Result;
use delt_formats::history::{HISTORY_FILE, HistoryReader};
use delt_formats::trace::{TRACE_FILE, TraceReader};
use delt_interchange::EventWriter;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;

use super::Written;
use crate::results::Results;

/// What TensorBoard looks for in the name of a file.
const EVENTS: &str = "events.out.tfevents.0.delt";

/// A folder with one event file for each run; what has not been made yet is left out, and named.
pub(super) fn write(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let mut written = Written::default();
    let mut runs = Vec::new();
    for (node, what) in [
        (Node::Network(Role::Teacher), "teacher"),
        (Node::Synthetic, "synthetic images"),
        (Node::Evaluation, "students"),
    ] {
        let Some(entry) = results.if_made(node)? else {
            written.notes.push(format!("{what}: not made yet, so that nothing is written of it"));
            continue;
        };
        let before = runs.len();
        if node == Node::Synthetic {
            recovery(&TraceReader::open(entry.verified_file(TRACE_FILE)?)?, folder, &mut runs)?;
        } else {
            let history = HistoryReader::open(entry.verified_file(HISTORY_FILE)?)?;
            networks(&history, node == Node::Evaluation, folder, &mut runs)?;
        }
        if runs.len() == before {
            written
                .notes
                .push(format!("{what}: nothing was trained or optimized here, so that there are no curves"));
        }
    }
    written.summary = format!("{} runs for `tensorboard --logdir`", runs.len());
    written.facts.insert("runs".to_owned(), runs.into());
    Ok(written)
}

/// A run of the teacher, or of each student.
fn networks(
    history: &HistoryReader,
    are_students: bool,
    folder: &Path,
    runs: &mut Vec<String>,
) -> Result<()> {
    let rows = history.rows().collect::<Result<Vec<_>, _>>()?;
    for rows in rows.chunk_by(|a, b| a.seed == b.seed) {
        let name = if are_students { format!("student-{}", rows[0].seed) } else { "teacher".to_owned() };
        let mut events = begin(folder, name, runs)?;
        for row in rows {
            let mut scalars = vec![("lr", row.lr as f32), ("loss", row.loss as f32)];
            scalars.extend(row.top1.map(|top1| ("top1", top1 as f32)));
            scalars.extend(row.top5.map(|top5| ("top5", top5 as f32)));
            events.scalars(u64::from(row.epoch), &scalars)?;
        }
        events.finish()?;
    }
    Ok(())
}

/// A run of each batch of images.
fn recovery(trace: &TraceReader, folder: &Path, runs: &mut Vec<String>) -> Result<()> {
    let rows = trace.rows().collect::<Result<Vec<_>, _>>()?;
    for rows in rows.chunk_by(|a, b| a.batch == b.batch) {
        let mut events = begin(folder, format!("recovery/batch-{:04}", rows[0].batch), runs)?;
        for row in rows {
            let scalars = [("lr", row.lr as f32), ("ce", row.ce), ("bn", row.bn)];
            events.scalars(u64::from(row.iteration), &scalars)?;
        }
        events.finish()?;
    }
    Ok(())
}

fn begin(
    folder: &Path,
    name: String,
    runs: &mut Vec<String>,
) -> Result<EventWriter<BufWriter<fs_err::File>>> {
    let place = folder.join(&name);
    fs_err::create_dir_all(&place)?;
    runs.push(name);
    Ok(EventWriter::new(BufWriter::new(fs_err::File::create(place.join(EVENTS))?))?)
}
