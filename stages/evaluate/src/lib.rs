//! Stage 5, `evaluate`: trains students from scratch on the stored views and tests them on the real test images.
//!
//! Takes the synthetic images, the labels and the data set, makes `history.parquet` and `summary.json`. It replays
//! views and never augments by itself, unless the set gives the targets ([`given`]): then there are no views to replay. Run it
//! with `make digits/evaluate`.
//!
//! Three programs on top ask more of a set: [`cross_arch`] trains students of many networks on it, [`continual`] students of classes
//! that come in steps, [`prune`] removes channels of students (`make digits/cross-arch` and so on).

pub mod continual;
pub mod cross_arch;
mod figures;
pub mod given;
pub mod given_student;
pub mod prune;
pub mod stage;
pub mod student;
pub mod summary;
pub mod timetable;

use std::process::ExitCode;

use delt_harness::{notes, recipes, session, table, verdict};
use delt_pipeline::plan;

/// The program.
#[expect(clippy::print_stdout, reason = "the table is the result")]
pub fn main() -> ExitCode {
    session::main(plan::EVALUATE, |session| {
        session.each_branch(|branch| stage::run(session, branch, stage::LR))?;
        session.say_artifacts();
        if !session.args.dry_run {
            let (table, recipes) = (table::collect(session)?, recipes::lines(session)?);
            let (verdict, notes) = (verdict::sentences(session, &table)?, notes::lines(session)?);
            print!("{}\n{recipes}\n{}\n{notes}", table.to_text(), verdict.join("\n"));
        }
        Ok(())
    })
}
