//! `teacher-train --pipeline pipelines/digits.yaml`: the networks of every branch, trained or imported.

use std::process::ExitCode;

use delt_harness::session;
use delt_pipeline::plan;

fn main() -> ExitCode {
    session::main(plan::TEACHER_TRAIN, |session| {
        delt_device::check(&session.args.device)?;
        let mut checked = Vec::new();
        session.check_branches(|branch| teacher_train::stage::check(session, branch, &mut checked))?;
        session.each_branch(|branch| teacher_train::stage::run(session, branch))
    })
}
