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

/// How much each network of a committee counts: the softmax of its strength over a temperature (CV-DD).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strengths {
    /// That of the teacher, then those of section `committee` in their order. CV-DD: the top-1, percent, of students of what each
    /// recovers alone.
    pub values: Vec<f64>,
    /// The lower, the more the strongest ones count (published: 5 in recovery, 10 for labels).
    pub temperature: f64,
}

/// Several networks at once for all iterations of a batch, in place of one for each iteration (CV-DD).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Together {
    /// How many, drawn for each batch (published: 2).
    pub networks: u32,
    /// What their losses are weighted by.
    pub strengths: Strengths,
}

impl Strengths {
    /// The weights of these networks, by their places; they sum to 1.
    pub fn weights(&self, members: &[usize]) -> Vec<f64> {
        let most = members.iter().map(|at| self.values[*at]).fold(f64::NEG_INFINITY, f64::max);
        let raw = members.iter().map(|at| ((self.values[*at] - most) / self.temperature).exp());
        let raw: Vec<f64> = raw.collect();
        let sum: f64 = raw.iter().sum();
        raw.into_iter().map(|weight| weight / sum).collect()
    }

    fn validate(&self, place: &str, networks: usize) -> Result<(), Invalid> {
        let found = format!("{} numbers", self.values.len());
        let expected = format!("{networks}: the teacher's, then one for each network of section `committee`");
        range::require(self.values.len() == networks, format!("{place}.values"), found, expected)?;
        self.values.iter().try_for_each(|value| range::FINITE.check(format!("{place}.values"), *value))?;
        range::POSITIVE.check(format!("{place}.temperature"), self.temperature)
    }
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

    /// How many networks an iteration of the recovery takes.
    pub fn networks_at_once(&self) -> u32 {
        let together = self.synthesize.together.as_ref().filter(|_| self.recovers_by_committee());
        together.map_or(1, |together| together.networks)
    }

    fn validate_strengths(&self) -> Result<(), Invalid> {
        let networks = 1 + self.committee.len();
        let problem =
            |key: &str| format!("found without {key}: committee, whose networks it is about; leave it out");
        if let Some(together) = &self.synthesize.together {
            let (place, committee) = ("synthesize.together", self.synthesize.teachers);
            range::ensure(committee == Committee::All, place, problem("synthesize.teachers"))?;
            let fits = (1..=networks).contains(&(together.networks as usize));
            range::require(fits, format!("{place}.networks"), together.networks, format!("1 to {networks}"))?;
            together.strengths.validate("synthesize.together.strengths", networks)?;
        }
        let Some(strengths) = &self.relabel.strengths else { return Ok(()) };
        let place = "relabel.strengths";
        range::ensure(self.relabel.voters == Committee::All, place, problem("relabel.voters"))?;
        strengths.validate(place, networks)
    }

    pub(super) fn validate_committee(&self) -> Result<(), Invalid> {
        self.validate_strengths()?;
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
