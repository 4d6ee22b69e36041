//! The committee of a branch: which networks it has, and where they enter the plans.

use anyhow::{Result, ensure};
use delt_formats::store::Entry;
use delt_formats::teacher::{Normalization, TeacherFacts};

use crate::config::{Branch, Pipeline};
use crate::plan::Plan;
use crate::resolve::Role;
use crate::session::Session;

impl Pipeline {
    /// The roles of the committee beside the teacher, where anything in this branch is made by it.
    pub fn committee_roles(&self) -> Vec<Role> {
        if self.recovers_by_committee() || self.labels_by_committee() {
            (0..self.committee.len()).map(Role::Committee).collect()
        } else {
            Vec::new()
        }
    }
}

impl Session {
    /// The committee's networks beside the teacher, in the order of the pipeline file.
    ///
    /// # Errors
    /// A network of other classes, or one that normalises its pictures otherwise than the teacher;
    /// [`crate::resolve::Missing`], or what the store reports.
    pub fn committee(&self, branch: &Branch) -> Result<Vec<Entry>> {
        let teacher = self.network(branch, Role::Teacher)?;
        let expected = teacher.manifest.facts_as::<TeacherFacts>()?.normalization;
        let mut members = Vec::new();
        for index in 0..branch.pipeline.committee.len() {
            let member = self.network(branch, Role::Committee(index))?;
            member.manifest.provenance.expect_classes(&member.dir, &teacher.manifest.provenance.classes)?;
            check_normalization(
                index,
                &member.manifest.facts_as::<TeacherFacts>()?.normalization,
                &expected,
            )?;
            members.push(member);
        }
        Ok(members)
    }

    /// Names the committee's networks as inputs of a plan.
    pub(crate) fn add_committee(&self, branch: &Branch, plan: &mut Plan) -> Result<()> {
        for (index, member) in self.committee(branch)?.into_iter().enumerate() {
            plan.inputs.insert(Role::Committee(index).name(), member.manifest.digest);
        }
        Ok(())
    }
}

/// The images are optimised and labelled in the teacher's normalised space.
fn check_normalization(index: usize, found: &Normalization, expected: &Normalization) -> Result<()> {
    ensure!(
        found == expected,
        "`committee.{index}`: normalises by mean {:?} and std {:?}, expected the teacher's {:?} and {:?}; train it here, or set \
         import.normalization to those",
        found.mean,
        found.std,
        expected.mean,
        expected.std
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_normalises_otherwise_is_refused() {
        let teacher = Normalization { mean: [0.5; 3], std: [0.25; 3] };
        check_normalization(0, &teacher, &teacher).expect("the same");
        let other = Normalization { mean: [0.0; 3], ..teacher };
        assert_eq!(
            check_normalization(1, &other, &teacher).expect_err("refused").to_string(),
            "`committee.1`: normalises by mean [0.0, 0.0, 0.0] and std [0.25, 0.25, 0.25], expected the teacher's [0.5, 0.5, 0.5] \
             and [0.25, 0.25, 0.25]; train it here, or set import.normalization to those"
        );
    }
}
