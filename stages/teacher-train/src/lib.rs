//! Stage 1, `teacher-train` ("squeeze"): a classifier whose BatchNorm statistics and labels stand for the real data from
//! here on (DELT, section 3; SRe2L, section 3.1).
//!
//! Takes the dataset, makes `weights.safetensors` and `history.parquet` for each network of the pipeline: the teacher, a
//! ranker where `select.ranker` names one, and the full-data student; and where a branch matches trajectories, experts with their
//! weights after each epoch. Run it with `make digits/teacher-train`.
//!
//! [`train`] is the training loop, [`batches`] what it is fed; [`import`] takes external weights in its place, their
//! outputs brought to the dataset's [`class_order`]; [`gate`] stops what is no better than guessing; [`stage`] reads and writes the
//! artifacts. [`experts`] are trained as the literature trains them, and go by [`expert_files`] and [`expert_stage`].

#[macro_use(eprintln)]
extern crate delt_harness;

pub mod batches;
pub mod class_order;
pub mod expert_files;
pub mod expert_stage;
pub mod experts;
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
        if session.makes_one_part()
            && session.branches().iter().all(|branch| branch.pipeline.experts.is_none())
        {
            session
                .say_once("teacher-train: no branch has experts, which alone are made in parts".to_owned());
        }
        session.each_branch(|branch| {
            if !session.makes_one_part() {
                stage::run(session, branch)?;
            }
            expert_stage::run(session, branch)
        })
    })
}
