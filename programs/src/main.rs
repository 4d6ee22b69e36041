//! The stages alone.

fn main() -> std::process::ExitCode {
    delt_programs::run("delt-programs", delt_programs::STAGES)
}
