//! The golden tests as Cargo's test target `golden`.

fn main() -> std::process::ExitCode {
    delt_golden::main()
}
