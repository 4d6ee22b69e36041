//! `relabel --pipeline pipelines/digits.yaml`: views and soft labels for every branch and student seed.

use std::process::ExitCode;

use delt_harness::session;
use delt_pipeline::plan;

fn main() -> ExitCode {
    session::main(plan::RELABEL, |session| session.each_branch(|branch| relabel::stage::run(session, branch)))
}
