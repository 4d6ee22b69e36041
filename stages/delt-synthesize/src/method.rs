//! The second door: the outer loop that makes synthetic images. A [`Method`] says how the work is divided into units, which
//! shards, checkpoints and resuming count in; [`crate::outer_loop`] runs the units of any method. EarlyLate recovery
//! ([`crate::early_late_recovery`]) is the first; those that match batches of real images under networks which are trained or
//! drawn anew while the synthesis runs, with gradients made by hand, come through the same door.
//!
//! A method costs one file here, one section of the configuration (which declares what it reads, see
//! [`delt_pipeline::config::method`]) and one row of [`open`].

use anyhow::Result;
use delt_device::Opened;
use delt_formats::{NamedTensor, RgbImage, Space, SyntheticRow, TraceRow};
use delt_harness::progress::Progress;
use delt_matching::Learned;
use delt_pipeline::config::method::Method as Kind;

use crate::batch_matching::BatchMatching;
use crate::checkpoint::{Checkpoints, Kept};
use crate::early_late_recovery::EarlyLateRecovery;
use crate::health::Health;
use crate::inputs::Inputs;

/// Announces long work: label, total, and what is counted.
pub type Announce<'a> = dyn Fn(&str, u64, &str) -> Progress + 'a;

/// A way to make synthetic images, before any device is opened.
pub trait Method {
    /// What lies ahead, for people.
    fn describe(&self) -> String;

    /// Units of work that need not know each other.
    fn units(&self) -> u64;

    /// What a unit costs, in [`Self::counted_in`].
    fn work_of(&self, unit: u64) -> u64;

    /// What work is counted in, e.g. `image-iterations`.
    fn counted_in(&self) -> &'static str;

    /// Prepares what all units share.
    ///
    /// # Errors
    /// What the device and the preparation report.
    fn prepare<'m>(&'m self, place: &'m Place<'m>) -> Result<Box<dyn Prepared + 'm>>;

    /// What the artifact says of a finished unit.
    ///
    /// # Errors
    /// What a checkpoint lacks.
    fn rows(&self, unit: u64, finished: &Kept) -> Result<Finished>;

    /// What the reader of the results must know of all units, one line each.
    ///
    /// # Errors
    /// An initial image that cannot be read.
    fn notes(&self, health: &[Health]) -> Result<Vec<String>>;

    /// Rounds of the schedule, a fact of the artifact; none where there are no rounds.
    fn rounds(&self) -> Option<usize>;

    /// The space of the images' pixels, where the artifact has them in 32 bits.
    ///
    /// # Errors
    /// A whitening that cannot be read.
    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }
}

/// A finished unit.
#[derive(Debug)]
pub struct Finished {
    /// Its images, in any order.
    pub images: Vec<SyntheticRow>,
    /// Its losses.
    pub trace: Vec<TraceRow>,
    /// Whether it can mean anything.
    pub health: Health,
    /// Numbers that were learned with the images.
    pub learned: Learned,
    /// What some of its images looked like on the way, moment by moment; none where that is not noted.
    pub course: Vec<Vec<RgbImage>>,
}

/// Where a method computes.
#[expect(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct Place<'a> {
    /// The device.
    pub opened: Opened,
    /// Where units and what takes minutes are kept.
    pub checkpoints: Checkpoints<'a>,
    /// How long work is announced.
    pub announce: &'a Announce<'a>,
}

/// A method with its networks on a device.
pub trait Prepared {
    /// Begins a unit.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn begin(&self, unit: u64) -> Result<Box<dyn Unit + '_>>;
}

/// One unit while it is computed.
pub trait Unit {
    /// Whether all steps are done.
    fn is_finished(&self) -> bool;

    /// Steps done.
    fn steps(&self) -> u32;

    /// One step, which yields a row of the trace.
    ///
    /// # Errors
    /// A loss that is NaN or infinite; a device that fails.
    fn step(&mut self) -> Result<Step>;

    /// The state between two steps, for a checkpoint.
    ///
    /// # Errors
    /// As [`Self::step`], where a loss had not been read yet.
    fn save(&mut self) -> Result<Vec<NamedTensor>>;

    /// Puts back what [`Self::save`] gave, and says how much work that is.
    ///
    /// # Errors
    /// A tensor that is absent or has another shape.
    fn restore(&mut self, kept: &Kept) -> Result<u64>;

    /// What some images looked like so far, moment by moment.
    fn course(&self) -> Vec<Vec<RgbImage>> {
        Vec::new()
    }

    /// What is kept of the whole unit.
    ///
    /// # Errors
    /// As [`Self::save`].
    fn finish(&mut self) -> Result<Vec<NamedTensor>>;
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Work, as [`Method::work_of`] counts it.
    pub work: u64,
    /// Shown beside the count.
    pub said: Option<String>,
}

/// The method of a configuration.
///
/// # Errors
/// Settings that the method has no answer to.
pub fn open<'a>(inputs: &'a Inputs<'a>) -> Result<Box<dyn Method + 'a>> {
    match inputs.branch.pipeline.synthesize.method {
        Kind::EarlyLate {} => Ok(Box::new(EarlyLateRecovery::new(inputs))),
        _ => Ok(Box::new(BatchMatching::new(inputs)?)),
    }
}
