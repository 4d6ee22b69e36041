//! The program of `command`.

fn main() -> std::process::ExitCode {
    delt_store::command::main()
}
