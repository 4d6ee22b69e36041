//! `evaluate --pipeline pipelines/demo.yaml`: students of every branch, the table of their accuracies
//! and their recipes.

use std::process::ExitCode;

use delt_harness::{plan, recipe, session, table};

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() -> ExitCode {
    session::main(plan::EVALUATE, |session| {
        session.each_branch(|branch| evaluate::stage::run(session, branch))?;
        if !session.args.dry_run {
            print!("{}\n{}", table::collect(session)?.to_text(), recipe::lines(session)?);
        }
        Ok(())
    })
}
