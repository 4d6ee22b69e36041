//! Key `synthesize.method`: the outer loop that makes the images.

use serde::{Deserialize, Serialize};

use super::objective::{Needs, ObjectiveKind};

/// An outer loop with its own settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Recovery from a frozen teacher, image after image joining (DELT). (Braces: serde lets unknown keys pass beside a unit
    /// variant.)
    EarlyLate {},
}

impl Method {
    /// What the method reads; EarlyLate recovery what its objective does.
    pub fn needs(self, objective: ObjectiveKind) -> Needs {
        match self {
            Self::EarlyLate {} => objective.needs(),
        }
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::EarlyLate {}
    }
}
