//! Key `synthesize.method`: the outer loop that makes the images.

use serde::{Deserialize, Serialize};

/// An outer loop with its own settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Recovery from a frozen teacher, image after image joining (DELT). (Braces: serde lets unknown keys pass beside a unit
    /// variant.)
    EarlyLate {},
}

impl Default for Method {
    fn default() -> Self {
        Self::EarlyLate {}
    }
}
