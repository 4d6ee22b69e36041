//! `delt-synthesize --pipeline pipelines/digits.yaml`: the synthetic images of every branch.

use std::process::ExitCode;

use delt_harness::session;
use delt_pipeline::plan;

fn main() -> ExitCode {
    session::main(plan::DELT_SYNTHESIZE, |session| {
        delt_device::check(&session.args.device)?;
        session.check_branches(|branch| delt_synthesize::stage::check(session, branch))?;
        session.each_branch(|branch| delt_synthesize::stage::run(session, branch))
    })
}
