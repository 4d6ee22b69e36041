//! The settings of the published recovery, for the golden files that give only some of them.

use delt_pipeline::config::committee::Committee;
use delt_pipeline::config::method::Method;
use delt_pipeline::config::synthesize::{Batches, Dtype, Init, LrSchedule, OptimizerState, Synthesize};
use delt_pipeline::config::target::Target;

/// The published settings at the weights that a golden file names.
pub(crate) fn published(bn_matching_weight: f64, first_bn_multiplier: f64) -> Synthesize {
    Synthesize {
        max_iterations: 4000,
        round_iterations: 500,
        early_late: true,
        batch: 100,
        batches: Batches::ByClass,
        bn_matching_weight,
        first_bn_multiplier,
        lr: 0.25,
        beta_1: 0.5,
        beta_2: 0.9,
        epsilon: 1e-8,
        min_crop_scale: 0.08,
        milestone: 1.0,
        flip: true,
        jitter: 0,
        init: Init::Selected,
        optimizer_state: OptimizerState::PerBatch,
        lr_schedule: LrSchedule::PerBatch,
        min_iterations: None,
        dtype: Dtype::F32,
        residual: None,
        target: Target::default(),
        teachers: Committee::TeacherAlone,
        together: None,
        convolution_statistics: None,
        densification: None,
        method: Method::default(),
        matching: None,
        import: None,
        import_tensors: None,
    }
}
