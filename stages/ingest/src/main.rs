//! Stage ingest: source → dataset artifact. `ingest --pipeline pipelines/demo.yaml`

use std::process::ExitCode;

fn main() -> ExitCode {
    ingest::main()
}
