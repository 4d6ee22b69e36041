//! `delt-synthesize --pipeline pipelines/digits.yaml`: the synthetic images of every branch.

use std::process::ExitCode;

fn main() -> ExitCode {
    delt_synthesize::main()
}
