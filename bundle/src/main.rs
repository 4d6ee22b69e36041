//! `delt-all`: the stages, the golden tests, the benchmarks and `verify-device` in one program, for a machine where nothing can be
//! compiled (`make device-bundle`). Which one it is says the name of a link to it, or `DELT_PROGRAM`.

mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut programs = delt_programs::STAGES.to_vec();
    programs.extend([
        ("delt-bench", bench as fn() -> ExitCode),
        ("delt-store", delt_store::command::main),
        ("golden", delt_golden::main),
        ("verify-device", verify::main),
    ]);
    delt_programs::run("delt-all", &programs)
}

fn bench() -> ExitCode {
    told("delt-bench", delt_bench::main())
}

/// Success, or the error on stderr.
fn told(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
