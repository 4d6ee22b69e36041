//! Stage `export`: what the store holds of a pipeline, written to a folder as other tools read it.
//!
//! Takes the artifacts of each branch ([`results`]), makes one of the [`formats`] of them, and beside it `delt-export.json`, which
//! says what it is and what it was made from ([`record`]). The folder appears whole or not at all ([`folder`]), and the store is only
//! read. Run it with `make digits/export FORMAT=imagefolder OUTPUT=folder`.

#[macro_use(eprintln)]
extern crate delt_harness;

mod card;
pub mod folder;
pub mod formats;
pub mod record;
pub mod results;
pub mod stage;
mod whitening;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::EXPORT, stage::run)
}
