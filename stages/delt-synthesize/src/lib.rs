//! Stage 3, `delt-synthesize`: recovers synthetic images from the teacher by EarlyLate training (DELT, section 3).
//!
//! Takes the teacher and the initial images, makes `synthetic.parquet` and `trace.parquet`.
//! Run it with `make demo/delt-synthesize`.
//!
//! [`early_late`] is the schedule, a pure value; [`augmentation`] is A of the loss; [`recovery_loss`] is the loss, and
//! [`recover`] the loop of one batch; [`adam`] moves the pixels; [`synthesize`] goes through the batches with
//! [`checkpoint`]s; [`stage`] reads and writes the artifacts.
//!
//! [`import`] takes the images of another project instead.
//!
//! Neighbours of DELT: with [`class_target`], images are pulled to the [`barycenter`] of their class's real features, which
//! [`transport`] leads to (WMDD); [`convolution_statistics`] are matched beside those of batch normalisation (G-VBSM).

pub mod adam;
pub mod augmentation;
pub mod barycenter;
pub mod checkpoint;
pub mod class_target;
pub mod convolution_statistics;
pub mod early_late;
pub mod import;
pub mod recover;
pub mod recovery_loss;
pub mod stage;
pub mod synthesize;
pub mod transport;
