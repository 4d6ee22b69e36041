//! Stage `report`: one self-contained HTML page about a run, made from what the store holds of it.
//!
//! Takes any artifacts of a pipeline, makes `<store>/reports/<pipeline>.html` (or `--output`): verdict and cost, table, accuracy
//! and loss curves, recipe, initial beside synthetic images, soft-label bytes, seconds. Run it with `make digits/report`. The program
//! `compare` ([`compare`]) puts the methods of several pipelines side by side.

#[macro_use(eprintln)]
extern crate delt_harness;

mod answers;
pub mod chart;
pub mod compare;
pub mod continual;
pub mod curves;
pub mod findings;
pub mod gallery;
mod notes;
pub mod page;
pub mod recipe;
pub mod robust_score;
pub mod stage;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::REPORT, stage::run)
}
