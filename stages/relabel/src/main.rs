//! `relabel --pipeline pipelines/digits.yaml`: views and soft labels for every branch and student seed.

use std::process::ExitCode;

fn main() -> ExitCode {
    relabel::main()
}
