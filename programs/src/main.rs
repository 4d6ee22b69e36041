//! All stages in one program, for the wheel (`make wheel`): eight binaries hold the same libraries eight times.
//!
//! `DELT_PROGRAM=relabel delt-programs --pipeline pipelines/demo.yaml`; the wheel has a script of each stage's name that says so.

use std::process::ExitCode;

/// Bad usage, as of every program here.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let name = std::env::var("DELT_PROGRAM").unwrap_or_default();
    match name.as_str() {
        "compare" => report::compare::run::main(),
        "continual" => evaluate::continual::main(),
        "cross-arch" => evaluate::cross_arch::main(),
        "delt-synthesize" => delt_synthesize::main(),
        "evaluate" => evaluate::main(),
        "export" => export::main(),
        "ingest" => ingest::main(),
        "init-select" => init_select::main(),
        "prune" => evaluate::prune::main(),
        "relabel" => relabel::main(),
        "report" => report::main(),
        "teacher-train" => teacher_train::main(),
        _ => {
            eprintln!(
                "delt-programs: DELT_PROGRAM is `{name}`, expected the name of a stage, compare, continual, cross-arch or prune"
            );
            ExitCode::from(USAGE)
        }
    }
}
