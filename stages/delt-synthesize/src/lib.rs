//! Stage 3, `delt-synthesize`: recovers synthetic images from the teacher by EarlyLate training (DELT, section 3).
//!
//! Takes the teacher and the initial images, makes `synthetic.parquet` and `trace.parquet`.
//! Run it with `make digits/delt-synthesize`.
//!
//! # Algorithm 1 of the paper, and where each line of it is
//!
//! *Initialize.* init-select has picked `ipc` real images of each class, those that the teacher finds neither easy nor hard. They
//! are read once ([`inputs`]) and become the pixels that are optimized.
//!
//! *Assign images to rounds.* The slots of a class are divided among K = MI / RI rounds
//! ([`delt_pipeline::early_late::EarlyLate`]). An image joins at its round and is optimized in every later one, so that the
//! first images have MI iterations and the last RI: early and late training, which gives the method its name and the images their
//! diversity. The schedule is a value, printed before any tensor exists.
//!
//! *For each batch of images, for each iteration* ([`early_late_recovery`]): the images whose round begins join
//! ([`recover::Recovery`]); one crop, one flip and one roll are drawn for the whole batch ([`augmentation::Augmentation`]); the
//! frozen teacher judges the augmented images ([`objectives::Objective`]): cross-entropy to their class, plus alpha_BN times the
//! distance of the statistics that they cause in its BatchNorm layers from those of the real data ([`objectives::labels`]). One
//! backward pass to the pixels, one step of Adam ([`adam::PixelAdam`]), and each pixel is clipped to what an 8-bit image can
//! hold ([`recover::RecoveryTeacher::clip`]).
//!
//! *Store.* A finished batch is a checkpoint ([`checkpoint`]); all of them become the artifact ([`stage`]), which says where they
//! went astray ([`health`]).
//!
//! # Two doors
//!
//! What else the pixels may minimize comes in by [`objectives`], one file each: G-VBSM's statistics of convolutions, WMDD's
//! barycenters, FADRM's residual blending. What is no recovery from a frozen teacher comes in by [`method`]: an outer loop of its
//! own, which [`outer_loop`] runs, saves and resumes.
//!
//! [`import`] takes the images of another project instead.

pub mod adam;
pub mod augmentation;
pub mod batch_matching;
pub mod checkpoint;
pub mod early_late_recovery;
pub mod health;
pub mod import;
pub mod inputs;
pub mod method;
pub mod objectives;
pub mod outer_loop;
pub mod recover;
pub mod recovery_teacher;
pub mod stage;

use std::process::ExitCode;

use delt_harness::session;
use delt_pipeline::plan;

/// The program.
pub fn main() -> ExitCode {
    session::main(plan::DELT_SYNTHESIZE, |session| {
        delt_device::check(&session.args.device)?;
        session.check_branches(|branch| stage::check(session, branch))?;
        session.each_branch(|branch| stage::run(session, branch))
    })
}
