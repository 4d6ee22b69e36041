//! How the tensors of `synthesize.import` become pixels.

use delt_formats::teacher::Normalization;
use serde::{Deserialize, Serialize};

use super::{Invalid, SourcePath, range};

/// Key of the section.
const KEY: &str = "synthesize.import_tensors";

/// Undone in this order: whitening, then normalization. What comes out are pixels from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportTensors {
    /// The mean that was taken from each channel.
    #[serde(default)]
    pub mean: Option<[f32; 3]>,
    /// The standard deviation by which each channel was divided then.
    #[serde(default)]
    pub std: Option<[f32; 3]>,
    /// A file of the matrix that undoes ZCA whitening, `inverse` ([3 h w, 3 h w]), and of the `mean` that it is added to.
    #[serde(default)]
    pub zca: Option<SourcePath>,
}

impl ImportTensors {
    /// The normalization, where one was stated.
    pub fn normalization(&self) -> Option<Normalization> {
        Some(Normalization { mean: self.mean?, std: self.std? })
    }

    pub(super) fn validate(&self, has_import: bool) -> Result<(), Invalid> {
        range::ensure(
            has_import,
            KEY,
            "found without synthesize.import, whose tensors it is about; leave it out",
        )?;
        let is_whole = self.mean.is_some() == self.std.is_some();
        range::ensure(is_whole, KEY, "found one of mean and std; state both, or neither")?;
        let is_any = self.mean.is_some() || self.zca.is_some();
        range::ensure(is_any, KEY, "found nothing; state mean and std, or zca")?;
        if let Some(Normalization { mean, std }) = self.normalization() {
            range::not_of_bytes(KEY, mean, std)?;
        }
        for std in self.std.into_iter().flatten() {
            range::POSITIVE.check(format!("{KEY}.std"), f64::from(std))?;
        }
        for mean in self.mean.into_iter().flatten() {
            range::FINITE.check(format!("{KEY}.mean"), f64::from(mean))?;
        }
        Ok(())
    }

    /// Refuses a file that is not there.
    pub(super) fn check_files(&self) -> Result<(), Invalid> {
        let expected = "a file of the tensors `inverse` and `mean`";
        self.zca.iter().try_for_each(|zca| range::file(format!("{KEY}.zca"), zca, expected))
    }
}
