//! Networks without BatchNorm have no running statistics: where these are needed, they are refused before anything runs.

use super::method::Method;
use super::objective::ObjectiveKind;
use super::relabel::TeacherMode;
use super::teacher::Teacher;
use super::{Invalid, Pipeline};

impl Pipeline {
    /// The objectives that match statistics of BatchNorm take networks that have it; statistics of convolutions can be matched
    /// in any (G-VBSM's committee). Labels by the batch's own statistics need layers that look at the batch.
    pub(super) fn validate_running_statistics(&self) -> Result<(), Invalid> {
        let synthesize = &self.synthesize;
        let matches_only_norms = !matches!(synthesize.objective(), ObjectiveKind::ConvolutionStatistics(_));
        let recovers = matches!(synthesize.method, Method::EarlyLate {}) && synthesize.max_iterations > 0;
        if recovers && matches_only_norms && synthesize.bn_matching_weight > 0.0 {
            let cure = "which has no BatchNorm whose statistics the recovery could match; take norm: batch, match those of \
                convolutions (synthesize.convolution_statistics), or set synthesize.bn_matching_weight=0";
            refuse(&self.recovering(), cure)?;
        }
        if self.relabel.teacher_mode == TeacherMode::Train && self.relabel.import.is_none() {
            let cure = "which has no BatchNorm and labels the same in both modes; take norm: batch, or leave \
                relabel.teacher_mode out";
            refuse(&self.labeling(), cure)?;
        }
        Ok(())
    }
}

/// Refuses the first network without BatchNorm, by its place: the teacher comes first, then the committee.
fn refuse(networks: &[&Teacher], cure: &str) -> Result<(), Invalid> {
    for (index, member) in networks.iter().enumerate() {
        let place = match index {
            0 => "teacher.network".to_owned(),
            member => format!("committee.{}.network", member - 1),
        };
        if !member.network.has_batch_norm() {
            return Err(Invalid::new(place, format!("found {}, {cure}", member.network)));
        }
    }
    Ok(())
}
