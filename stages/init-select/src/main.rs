//! `init-select --pipeline pipelines/digits.yaml`: scores of all real images and the initial images of every branch.

use std::process::ExitCode;

fn main() -> ExitCode {
    init_select::main()
}
