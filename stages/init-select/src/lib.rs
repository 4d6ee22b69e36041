//! Stage 2, `init-select`: scores every real training image by the ranker's probability of its true class, and picks the
//! images that recovery starts from (DELT, section 3.1).
//!
//! Takes the dataset and the ranker (the teacher, unless `select.ranker` names another), makes `scores.parquet` with
//! `scores.csv`, then `initial.parquet`. Run it with `make digits/init-select`.
//!
//! [`median_selection`] is the choice, a pure function of the scores; [`scoring`] asks the ranker; [`delt_harness::external_scores`]
//! takes an external ranking in its place; [`facility_location`] chooses for coverage among more images, and [`patches`] cuts
//! mosaics out of the images chosen, where they are wanted;
//! [`stage`] reads and writes the artifacts.

#[macro_use(eprintln)]
extern crate delt_harness;

pub mod facility_location;
pub mod median_selection;
pub mod patches;
pub mod scoring;
pub mod stage;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::INIT_SELECT, |session| {
        delt_device::check(&session.args.device)?;
        session.each_branch(|branch| stage::run(session, branch))
    })
}
