//! `prune --pipeline pipelines/digits.yaml`: students that lose channels, and the table of their accuracies before and after.

use std::process::ExitCode;

fn main() -> ExitCode {
    evaluate::prune::main()
}
