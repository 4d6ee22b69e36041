//! `evaluate --pipeline pipelines/digits.yaml`: students of every branch, the table of their accuracies, their recipes and what
//! to know of them.

use std::process::ExitCode;

use delt_harness::{notes, recipes, session, table, verdict};
use delt_pipeline::plan;

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() -> ExitCode {
    session::main(plan::EVALUATE, |session| {
        session.each_branch(|branch| evaluate::stage::run(session, branch))?;
        session.say_artifacts();
        if !session.args.dry_run {
            let (table, recipes) = (table::collect(session)?, recipes::lines(session)?);
            let (verdict, notes) = (verdict::sentences(session, &table)?, notes::lines(session)?);
            print!("{}\n{recipes}\n{}\n{notes}", table.to_text(), verdict.join("\n"));
        }
        Ok(())
    })
}
