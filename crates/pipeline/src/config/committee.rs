//! Section `committee`: networks beside the teacher that recover and label with it (G-VBSM, CVPR 2024; CV-DD).

use serde::{Deserialize, Serialize};

use super::teacher::Teacher;
use super::{Invalid, Pipeline, range};

/// Which networks guide a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Committee {
    /// The teacher alone.
    #[default]
    #[serde(rename = "teacher")]
    TeacherAlone,
    /// The teacher and the networks of section `committee`.
    #[serde(rename = "committee")]
    All,
}

/// More networks than anyone votes with.
const MOST_MEMBERS: usize = 32;

impl Pipeline {
    /// Whether the committee recovers images; images that are kept as they are know no network.
    pub fn recovers_by_committee(&self) -> bool {
        self.synthesize.teachers == Committee::All && self.synthesize.makes_images()
    }

    /// Whether the committee makes soft labels.
    pub fn labels_by_committee(&self) -> bool {
        self.relabel.voters == Committee::All
    }

    /// The networks of which each iteration of the recovery takes one.
    pub fn recovering(&self) -> Vec<&Teacher> {
        self.members(self.recovers_by_committee())
    }

    /// The networks of which each makes soft labels.
    pub fn labeling(&self) -> Vec<&Teacher> {
        self.members(self.labels_by_committee())
    }

    fn members(&self, by_committee: bool) -> Vec<&Teacher> {
        let members = self.committee.iter().filter(|_| by_committee);
        std::iter::once(&self.teacher).chain(members).collect()
    }

    pub(super) fn validate_committee(&self) -> Result<(), Invalid> {
        let found = format!("{} networks", self.committee.len());
        let fits = self.committee.len() <= MOST_MEMBERS;
        range::require(fits, "committee", found, format!("at most {MOST_MEMBERS}"))?;
        for (index, member) in self.committee.iter().enumerate() {
            let place = format!("committee.{index}");
            member.validate(&place)?;
            let (size, wanted) = (member.size, self.teacher.size);
            let expected = format!("teacher.size ({wanted} px): all networks see the same images");
            range::require(size == wanted, format!("{place}.size"), format!("{size} px"), expected)?;
            let is_new = *member != self.teacher && !self.committee[..index].contains(member);
            let problem = "is the same network as one before it, which would vote twice; change its network, or how it is \
                trained, or leave it out";
            range::ensure(is_new, place, problem)?;
        }
        for (place, committee) in
            [("synthesize.teachers", self.synthesize.teachers), ("relabel.voters", self.relabel.voters)]
        {
            let names_any = committee == Committee::TeacherAlone || !self.committee.is_empty();
            let problem =
                "found committee, but section `committee` names no network; list one, or set it to teacher";
            range::ensure(names_any, place, problem)?;
        }
        let fits = !self.recovers_by_committee() || !self.synthesize.target.is_barycenter();
        let problem = "found committee with target.kind barycenter, whose features are those of one network; set one of them to \
            its default";
        range::ensure(fits, "synthesize.teachers", problem)
    }
}
