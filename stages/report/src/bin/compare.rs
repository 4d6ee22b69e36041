//! `compare --sweep pipelines/sweeps/cifar100-conv3.yaml`: the methods of several pipelines in one table and one page.

use std::process::ExitCode;

fn main() -> ExitCode {
    report::compare::run::main()
}
