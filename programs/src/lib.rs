//! All stages in one program, for the wheel (`make wheel`) and for the bundle (`make device-bundle`): eight binaries hold the same
//! libraries eight times. The program is named by how it is called (a link `relabel` to it) or by `DELT_PROGRAM=relabel`.

#![expect(clippy::print_stdout, reason = "the list of programs goes to stdout")]

use std::path::Path;
use std::process::ExitCode;

/// Bad usage, as of every program here.
const USAGE: u8 = 2;

/// A program: its name and what it does with the arguments of this process.
pub type Program = (&'static str, fn() -> ExitCode);

/// The stages and what goes with them.
pub const STAGES: &[Program] = &[
    ("compare", report::compare::run::main),
    ("continual", evaluate::continual::main),
    ("cross-arch", evaluate::cross_arch::main),
    ("delt-synthesize", delt_synthesize::main),
    ("evaluate", evaluate::main),
    ("export", export::main),
    ("ingest", ingest::main),
    ("init-select", init_select::main),
    ("prune", evaluate::prune::main),
    ("relabel", relabel::main),
    ("report", report::main),
    ("teacher-train", teacher_train::main),
];

/// Runs the program that this process is called as, else the one that `DELT_PROGRAM` names; `--list`, `--version` and `--help` are
/// answered without one.
pub fn run(own_name: &str, programs: &[Program]) -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let told = std::env::var("DELT_PROGRAM").unwrap_or_default();
    let named = |wanted: &str| programs.iter().find(|(name, _)| *name == wanted);
    if let Some((_, main)) = named(&called).or_else(|| named(&told)) {
        return main();
    }
    let names: Vec<&str> = programs.iter().map(|(name, _)| *name).collect();
    let answer = match std::env::args().nth(1).as_deref() {
        Some("--list") => names.join("\n"),
        Some("--version" | "-V") => format!("{own_name} {}", env!("CARGO_PKG_VERSION")),
        Some("--help" | "-h") => format!(
            "Usage: DELT_PROGRAM=NAME {own_name} ..., or a link of that name; --list and --version without one\nNAME: {}",
            names.join(", ")
        ),
        _ => String::new(),
    };
    if !answer.is_empty() {
        println!("{answer}");
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "{own_name}: DELT_PROGRAM is `{told}`, expected one of {}; or call it by a link of that name",
        names.join(", ")
    );
    ExitCode::from(USAGE)
}
