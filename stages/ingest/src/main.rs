//! Stage ingest: source → dataset artifact. `ingest --pipeline pipelines/demo.yaml`

use std::process::ExitCode;

/// That of the stages that compute. Under the system's, what the writer remembers of each row group kept the freed memory around it
/// from being used again: 200 bytes an image.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ingest::main()
}
