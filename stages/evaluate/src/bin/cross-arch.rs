//! `cross-arch --pipeline pipelines/digits.yaml`: students of many networks on one set, and the table of their accuracies.

use std::process::ExitCode;

fn main() -> ExitCode {
    evaluate::cross_arch::main()
}
