//! `evaluate --pipeline pipelines/digits.yaml`: students of every branch, the table of their accuracies, their recipes and what
//! to know of them.

use std::process::ExitCode;

fn main() -> ExitCode {
    evaluate::main()
}
