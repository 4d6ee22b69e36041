//! The networks of a branch by what they do.

use crate::config::Pipeline;
use crate::config::teacher::Teacher;

/// Which network of a branch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Recovers and labels.
    Teacher,
    /// Scores the real images.
    Ranker,
    /// The student's network trained on all real images.
    FullData,
    /// A network of section `committee`, by its place there.
    Committee(usize),
}

impl Role {
    /// What its artifact is called under `runs/` and among the inputs of others.
    pub fn name(self) -> String {
        match self {
            Self::Teacher => "teacher".to_owned(),
            Self::Ranker => "ranker".to_owned(),
            Self::FullData => "full-data".to_owned(),
            Self::Committee(index) => format!("committee-{index}"),
        }
    }
}

impl Pipeline {
    /// The network settings of a role; `None` where the pipeline has no such network.
    ///
    /// The full-data student is trained as `teacher.train` says; with the student's network equal to an imported
    /// teacher's, the import is the full-data line.
    pub fn network_of(&self, role: Role) -> Option<Teacher> {
        match role {
            Role::Teacher => Some(self.teacher.clone()),
            Role::Ranker => self.select.ranker.clone().or_else(|| Some(self.teacher.clone())),
            Role::Committee(index) => self.committee.get(index).cloned(),
            Role::FullData if !self.full_data => None,
            Role::FullData if self.evaluate.student == self.teacher.network => Some(self.teacher.clone()),
            Role::FullData => {
                self.teacher.train.as_ref()?;
                Some(Teacher { network: self.evaluate.student, import: None, ..self.teacher.clone() })
            }
        }
    }
}

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
