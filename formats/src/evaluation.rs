//! Students trained on the stored views and tested on real images: `history.parquet` (see [`crate::history`]) and
//! `summary.json`, made by `evaluate`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::canonical::readable_json;
use crate::error::{FormatError, Result};

/// The file of the summary.
pub const SUMMARY_FILE: &str = "summary.json";

/// How one student did. All measures are percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentResult {
    /// The student's seed.
    pub seed: u64,
    /// top-1 after the last epoch.
    pub last_top1: f64,
    /// The best top-1 of all tested epochs: the number the field publishes.
    pub best_top1: f64,
    /// The epoch of the best.
    pub best_epoch: u32,
    /// top-5 after the last epoch.
    pub last_top5: f64,
}

/// What an evaluation comes to. Measures are percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The config which led to these students, all stages of the branch.
    pub branch_recipe: serde_json::Value,
    /// The students.
    pub students: Vec<StudentResult>,
    /// Mean over students of the last top-1.
    pub last_mean: f64,
    /// Sample standard deviation of the last top-1; 0 for a single student.
    pub last_std: f64,
    /// Mean over students of the best top-1.
    pub best_mean: f64,
    /// Sample standard deviation of the best top-1; 0 for a single student.
    pub best_std: f64,
    /// Bytes of the synthetic images.
    pub image_bytes: u64,
    /// Bytes of the soft labels of all students.
    pub label_bytes: u64,
    /// Synthetic images.
    pub images: u64,
    /// Real images the students were tested on.
    pub test_images: u64,
    /// Diversity: mean cosine of the images' teacher features to the centroid of their class; lower is more diverse.
    pub cosine_to_centroid: f64,
    /// Diversity: mean cosine over pairs of images of a class.
    pub pairwise_cosine: f64,
}

impl Summary {
    /// Writes the summary as JSON.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(fs_err::write(path.as_ref(), readable_json(self))?)
    }

    /// Reads a summary.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is none.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        serde_json::from_slice(&fs_err::read(path)?)
            .map_err(|source| FormatError::Json { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_round_trips_and_refuses_unknown_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SUMMARY_FILE);
        let student =
            StudentResult { seed: 3407, last_top1: 42.5, best_top1: 43.25, best_epoch: 290, last_top5: 70.0 };
        let summary = Summary {
            branch_recipe: serde_json::json!({"evaluate": {"epochs": 300}}),
            students: vec![student],
            last_mean: 42.5,
            last_std: 0.0,
            best_mean: 43.25,
            best_std: 0.0,
            image_bytes: 10,
            label_bytes: 20,
            images: 100,
            test_images: 1000,
            cosine_to_centroid: 0.7,
            pairwise_cosine: 0.5,
        };
        summary.write(&path).unwrap();
        assert_eq!(Summary::read(&path).unwrap(), summary);
        fs_err::write(&path, r#"{"color": 1}"#).unwrap();
        assert_eq!(
            Summary::read(&path).unwrap_err().to_string(),
            format!(
                "{}: its JSON is not what this build writes; check it with `delt-store verify` or make it again",
                path.display()
            )
        );
    }
}
