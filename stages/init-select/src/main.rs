//! `init-select --pipeline pipelines/demo.yaml`: scores of all real images and the initial images of every branch.

use std::process::ExitCode;

use delt_harness::{plan, session};

fn main() -> ExitCode {
    session::main(plan::INIT_SELECT, |session| {
        delt_device::check(&session.args.device)?;
        session.each_branch(|branch| init_select::stage::run(session, branch))
    })
}
