//! What is to run for the cells of a table: a line each, in place of the answers of all their stages.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Error, Result, ensure};
use delt_formats::dataset::DatasetFacts;
use delt_harness::session::Session;
use delt_harness::table::aligned;
use delt_pipeline::amounts::human_seconds;
use delt_pipeline::cells::Table;
use delt_pipeline::config::Branch;
use delt_pipeline::cost::{self, Sizes};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;

use crate::findings::RunRecord;

const HEAD: [&str; 3] = ["cell", "time", "to run"];
/// Columns of words, at the left.
const WORDS: [usize; 2] = [0, 2];

/// Stages from the images to the table.
const STAGES: usize = 6;

/// What is to run for a cell.
#[derive(Debug, Default, PartialEq)]
struct Ahead {
    /// The stages that have something to make, in their order.
    stages: Vec<&'static str>,
    /// Floating-point operations of these, where the data set is in the store.
    flops: Option<f64>,
    /// At how many in a second a teacher of the cell was trained.
    speed: Option<f64>,
}

/// Prints a line for each of these cells, and what they come to; `session` opens a pipeline. Where all is `forced`, nothing that is
/// there counts.
///
/// # Errors
/// Cells that cannot run; their lines say why.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is the result")]
pub fn run(
    table: &Table,
    cells: &[&str],
    forced: bool,
    session: impl Fn(PathBuf) -> Result<Session>,
) -> Result<()> {
    let of_cell = |cell: &&str| session(table.pipeline_of(cell)).and_then(|session| ahead(&session, forced));
    let found: Vec<Result<Ahead>> = cells.iter().map(of_cell).collect();
    println!("{}: what is to run\n{}", table.description(), text(cells, &found));
    let refused = found.iter().filter(|ahead| ahead.is_err()).count();
    ensure!(refused == 0, "{refused} cells cannot run, for the reasons above");
    Ok(())
}

fn text(cells: &[&str], found: &[Result<Ahead>]) -> String {
    let known = || found.iter().flatten();
    let speed = known().find_map(|ahead| ahead.speed);
    let seconds = |ahead: &Ahead| Some(ahead.flops? / ahead.speed.or(speed)?);
    let mut refused: Vec<String> = cells
        .iter()
        .zip(found)
        .filter_map(|(cell, ahead)| Some(reason(cell, ahead.as_ref().err()?)))
        .collect();
    let line = |(cell, ahead): (&&str, &Result<Ahead>)| {
        let mut cell = (*cell).to_owned();
        let (time, what) = match ahead {
            Err(error) => {
                let reason = reason(&cell, error);
                let before = refused.len();
                refused.retain(|other| *other != reason);
                match before - refused.len() {
                    0 => return None,
                    1 => {}
                    cells => cell += &format!(" and {} more", cells - 1),
                }
                (None, format!("cannot run: {reason}"))
            }
            Ok(Ahead { stages, .. }) if stages.is_empty() => {
                (None, "nothing, all is in the store".to_owned())
            }
            Ok(ahead) if ahead.stages.len() == STAGES => (seconds(ahead), "all stages".to_owned()),
            Ok(ahead) => (seconds(ahead), ahead.stages.join(", ")),
        };
        Some([cell, time.map_or_else(|| "-".to_owned(), human_seconds), what])
    };
    let lines: Vec<_> =
        std::iter::once(HEAD.map(str::to_owned)).chain(cells.iter().zip(found).filter_map(line)).collect();
    let to_run: Vec<&Ahead> = known().filter(|ahead| !ahead.stages.is_empty()).collect();
    let times: Vec<f64> = to_run.iter().filter_map(|ahead| seconds(ahead)).collect();
    let total = match times.len() {
        _ if to_run.is_empty() => String::new(),
        0 => "; how long that takes is known once a cell's own teacher is trained in this store".to_owned(),
        some => format!(
            "; at most {} for the {some} whose data set is in the store, as fast as a teacher was trained (what cells share counts in each)",
            human_seconds(times.iter().sum())
        ),
    };
    let (all, ahead, there) = (cells.len(), to_run.len(), known().count() - to_run.len());
    let table = aligned(&lines, &WORDS).concat();
    format!("{table}\n{ahead} of {all} cells have something to run, {there} are in the store{total}")
}

/// Why a cell cannot run, without its name: what several cells share is said once.
fn reason(cell: &str, error: &Error) -> String {
    format!("{error:#}").replace(&format!(" (cell {cell})"), "").replace(&format!("(cell {cell}, "), "(")
}

fn ahead(session: &Session, forced: bool) -> Result<Ahead> {
    let (mut nodes, mut open, mut found) = (BTreeSet::new(), Vec::<Branch>::new(), Ahead::default());
    for branch in session.branches() {
        let is_read = forced || session.dag().if_made(branch, Node::Dataset)?.is_none();
        let source = if is_read { branch.pipeline.ingest.check_source() } else { Ok(()) };
        let missing = [source, branch.pipeline.check_files()].into_iter().filter_map(Result::err);
        let missing: Vec<String> = missing.map(|invalid| invalid.to_string()).collect();
        ensure!(missing.is_empty(), missing.join("; "));
        let before = nodes.len();
        for node in Node::of(&branch.pipeline) {
            if forced || session.dag().if_made(branch, node)?.is_none() {
                nodes.insert((node, branch.name.as_str()));
            }
        }
        open.extend((nodes.len() > before).then(|| branch.clone()));
    }
    found.stages = nodes.iter().map(|(node, _)| node.stage().name).collect();
    found.stages.dedup();
    let Some(first) = session.branches().first() else { return Ok(found) };
    if let Some(dataset) = session.dag().if_made(first, Node::Dataset)? {
        let sizes = Sizes::from(&dataset.manifest.facts_as::<DatasetFacts>()?);
        let costs = cost::of_run(&open, &sizes);
        let is_ahead = |cost: &&cost::Cost| found.stages.contains(&cost.stage);
        found.flops = Some(costs.iter().filter(is_ahead).map(|cost| cost.flops).sum());
        found.speed = speed(session, first, &sizes)?;
    }
    Ok(found)
}

/// Operations per second of the training of a branch's teacher; none where it was not trained here.
fn speed(session: &Session, branch: &Branch, sizes: &Sizes) -> Result<Option<f64>> {
    let flops = cost::of_training(&branch.pipeline.teacher, sizes);
    let made = session.dag().if_made(branch, Node::Network(Role::Teacher))?;
    let record = made.as_ref().and_then(RunRecord::of).filter(|record| !record.resumed && flops > 0.0);
    Ok(record.map(|record| flops / record.seconds.max(1e-3)))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cell_has_a_line_and_its_time_once_a_teacher_was_trained() {
        let of = |stages: &[&'static str], flops, speed| Ok(Ahead { stages: stages.to_vec(), flops, speed });
        let all = ["ingest", "teacher-train", "init-select", "delt-synthesize", "relabel", "evaluate"];
        let found = [
            of(&all, None, None),
            of(&["relabel", "evaluate"], Some(1.8e13), None),
            of(&[], Some(0.0), Some(1e10)),
            Err(anyhow!("`teacher.import.path`: w.pth: no such file")),
            Err(anyhow!("t.yaml (cell five): at `seed`: found twice")),
            Err(anyhow!("t.yaml (cell six, branch delt): at `seed`: found 0")),
            Err(anyhow!("t.yaml (cell seven): at `seed`: found twice")),
        ];
        let cells = ["one", "two", "three", "four", "five", "six", "seven"];
        assert_eq!(
            text(&cells, &found),
            "cell                   time  to run\n\
             one                       -  all stages\n\
             two              30 min 0 s  relabel, evaluate\n\
             three                     -  nothing, all is in the store\n\
             four                      -  cannot run: `teacher.import.path`: w.pth: no such file\n\
             five and 1 more           -  cannot run: t.yaml: at `seed`: found twice\n\
             six                       -  cannot run: t.yaml (branch delt): at `seed`: found 0\n\n\
             2 of 7 cells have something to run, 1 are in the store; at most 30 min 0 s for the 1 whose data set is in the store, as fast \
             as a teacher was trained (what cells share counts in each)"
        );
        assert!(
            text(&cells[..1], &found[..1]).ends_with(
                "; how long that takes is known once a cell's own teacher is trained in this store"
            )
        );
    }
}
