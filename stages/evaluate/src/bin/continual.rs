//! `continual --pipeline pipelines/digits.yaml`: students of classes that come in steps, and the table of their accuracies.

use std::process::ExitCode;

fn main() -> ExitCode {
    evaluate::continual::main()
}
