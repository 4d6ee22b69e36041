//! Section `published`: what a paper reports, beside which ours is shown.

use serde::{Deserialize, Serialize};
use serde_yaml::Mapping;

use super::{Invalid, range};

/// A published accuracy. It makes nothing and changes no artifact, so no key names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Where it stands, e.g. `DELT, table 1`.
    pub source: String,
    /// The branch that it is to be compared with.
    pub branch: String,
    /// Percent: the best of the tested epochs, as papers print it.
    pub top1: f64,
    /// Standard deviation over students, where it is printed.
    #[serde(default)]
    pub std: Option<f64>,
}

impl Published {
    pub(super) fn validate(&self, branches: &Mapping) -> Result<(), Invalid> {
        range::PERCENT.check("published.top1", self.top1)?;
        range::NOT_NEGATIVE.check("published.std", self.std.unwrap_or(0.0))?;
        let problem = format!("no branch `{}`; name the one that the score is compared with", self.branch);
        range::ensure(
            branches.get(self.branch.as_str()).is_some_and(|branch| !branch.is_null()),
            "published.branch",
            problem,
        )
    }
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.std {
            Some(std) => write!(f, "{:.1} ± {std:.1}", self.top1),
            None => write!(f, "{:.1}", self.top1),
        }
    }
}
