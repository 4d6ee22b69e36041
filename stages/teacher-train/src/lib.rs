//! Stage 1, `teacher-train` ("squeeze"): a classifier whose BatchNorm statistics and labels stand for the real data from
//! here on (DELT, section 3; SRe2L, section 3.1).
//!
//! Takes the dataset, makes `weights.safetensors` and `history.parquet` for each network of the pipeline: the teacher, a
//! ranker where `select.ranker` names one, and the full-data student. Run it with `make digits/teacher-train`.
//!
//! [`train`] is the training loop, [`batches`] what it is fed; [`import`] takes external weights in its place, their
//! outputs brought to the dataset's [`class_order`]; [`gate`] stops what is no better than guessing; [`stage`] reads and writes the
//! artifacts.

#[macro_use(eprintln)]
extern crate delt_harness;

pub mod batches;
pub mod class_order;
pub mod gate;
pub mod import;
pub mod stage;
pub mod train;

use std::process::ExitCode;

use delt_harness::session;
use delt_pipeline::plan;

/// The program.
pub fn main() -> ExitCode {
    session::main(plan::TEACHER_TRAIN, |session| {
        delt_device::check(&session.args.device)?;
        let mut checked = Vec::new();
        session.check_branches(|branch| stage::check(session, branch, &mut checked))?;
        session.each_branch(|branch| stage::run(session, branch))
    })
}
