//! Stage 4, `relabel`: draws every view a student will see and stores the teacher's logits of exactly that view.
//!
//! Takes the synthetic images and the teacher, makes `labels.parquet`, one row group an epoch; each student seed has
//! views of its own. Run it with `make digits/relabel`.
//!
//! The published code labels inside the student's training loop, so its labels cannot be inspected, cached or
//! compressed; here the stage owns the whole view and `evaluate` only replays it.

#[macro_use(eprintln)]
extern crate delt_harness;

pub mod imported;
pub mod stage;

use std::process::ExitCode;

use delt_harness::session::few;

/// The program.
pub fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::RELABEL, |session| {
        let mut given: Vec<String> = Vec::new();
        session.each_branch(|branch| {
            if branch.pipeline.relabel.is_given() {
                given.push(branch.group.clone());
                return Ok(());
            }
            stage::run(session, branch)
        })?;
        given.dedup();
        if !given.is_empty() {
            let (names, whose) = (few(&given, ", "), if given.len() == 1 { "its" } else { "their" });
            session.say_once(format!(
                "relabel: {names}: nothing to label, {whose} students learn what the set gives"
            ));
        }
        Ok(())
    })
}
