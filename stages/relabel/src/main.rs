//! `relabel --pipeline pipelines/digits.yaml`: views and soft labels for every branch and student seed.

use std::process::ExitCode;

fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::RELABEL, |session| {
        session.each_branch(|branch| relabel::stage::run(session, branch))
    })
}
