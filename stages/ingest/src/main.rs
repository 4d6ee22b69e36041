//! Stage ingest: source → dataset artifact. `ingest --pipeline pipelines/demo.yaml`

use std::process::ExitCode;

fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::INGEST, ingest::run)
}
