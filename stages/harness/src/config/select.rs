//! Section `select`: which real images the synthesis starts from.

use serde::{Deserialize, Serialize};

use super::{Invalid, SourcePath, range, teacher::Teacher};

/// Section `select`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Images per class.
    pub ipc: u32,
    /// Which images of a class.
    pub strategy: Strategy,
    /// The network that scores the images, where it is not the teacher.
    #[serde(default)]
    pub ranker: Option<Teacher>,
    /// A ranking made elsewhere in place of scoring: CSV with `image_id,label,probability,loss,rank`, or `image_id,rank`.
    #[serde(default)]
    pub scores: Option<SourcePath>,
}

/// Which images of a class, by the ranker's probability of the true class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// DELT: from the middle of the ranking outwards (paper, table 4b).
    Medium,
    /// The most probable ones: easiest.
    Top,
    /// The least probable ones: hardest.
    Min,
    /// Drawn by the seed; scored all the same, so that the table can say how easy they are.
    Random,
}

impl Strategy {
    /// As the YAML spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::Top => "top",
            Self::Min => "min",
            Self::Random => "random",
        }
    }

    /// Images of a class that the selection needs beyond those it takes: `medium` starts above the middle, and the
    /// published code fails without one to spare.
    pub fn spare(self) -> u32 {
        match self {
            Self::Medium => 1,
            Self::Top | Self::Min | Self::Random => 0,
        }
    }
}

impl Select {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.ipc == 0 {
            return Err(Invalid::new("select.ipc", "found 0, expected at least 1 image per class"));
        }
        range::at_most("select.ipc", self.ipc, range::MOST_IPC)?;
        if self.ranker.is_some() && self.scores.is_some() {
            let problem = "a ranking made elsewhere takes the place of the ranker, and select.ranker is set too; leave one out";
            return Err(Invalid::new("select.scores", problem));
        }
        if let Some(ranker) = &self.ranker {
            ranker.validate("select.ranker")?;
        }
        Ok(())
    }
}
