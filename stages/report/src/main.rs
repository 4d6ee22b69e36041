//! `report --pipeline pipelines/digits.yaml`: one HTML page about a run.

use std::process::ExitCode;

fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::REPORT, report::stage::run)
}
