//! `report --pipeline pipelines/digits.yaml`: one HTML page about a run.

use std::process::ExitCode;

fn main() -> ExitCode {
    report::main()
}
