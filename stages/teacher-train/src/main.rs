//! `teacher-train --pipeline pipelines/digits.yaml`: the networks of every branch, trained or imported.

use std::process::ExitCode;

fn main() -> ExitCode {
    teacher_train::main()
}
