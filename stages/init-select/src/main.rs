//! `init-select --pipeline pipelines/digits.yaml`: scores of all real images and the initial images of every branch.

use std::process::ExitCode;

fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::INIT_SELECT, |session| {
        delt_device::check(&session.args.device)?;
        session.each_branch(|branch| init_select::stage::run(session, branch))
    })
}
