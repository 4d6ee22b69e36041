//! `delt-synthesize --pipeline pipelines/demo.yaml`: the synthetic images of every branch.

use std::process::ExitCode;

use delt_harness::{plan, session};

fn main() -> ExitCode {
    session::main(plan::DELT_SYNTHESIZE, |session| {
        delt_device::check(&session.args.device)?;
        session.each_branch(|branch| delt_synthesize::stage::run(session, branch))
    })
}
