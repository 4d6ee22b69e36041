//! A branch on top of those of a pipeline file: a synthetic set that another project made, under the pipeline's recipe.

use std::path::{Component, Path};

use delt_formats::teacher::TeacherFacts;
use serde_yaml::{Mapping, Value};

use super::Invalid;
use crate::yaml::{in_a_word, overlay};

/// The branch.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalBranch {
    /// What it is called: as the folder or file of the set.
    pub name: String,
    changes: Mapping,
}

impl ExternalBranch {
    /// A branch that imports the images of `set`. Nothing is scored or selected for it, and no network trained on all data.
    pub fn new(set: &Path) -> Self {
        let mut branch = Self { name: name_of(set), changes: Mapping::new() };
        branch.change("full_data", false.into());
        for choice in ["ranker", "scores", "patches", "facility_location"] {
            branch.change(&format!("select.{choice}"), Value::Null);
        }
        branch.change("synthesize.import", set.to_string_lossy().into_owned().into());
        branch
    }

    /// Takes another teacher than the pipeline's: a file of weights. What the pipeline says of weights of its own does not hold
    /// for them.
    pub fn import_teacher(&mut self, weights: &Path) {
        for option in ["top_level_key", "expected_top1", "normalization"] {
            self.change(&format!("teacher.import.{option}"), Value::Null);
        }
        self.change("teacher.import.path", weights.to_string_lossy().into_owned().into());
        self.change("teacher.import.classes", "dataset".into());
    }

    /// Says what a network of a store is whose weights are imported.
    ///
    /// # Errors
    /// Facts that cannot be written as YAML.
    pub fn describe_teacher(
        &mut self,
        facts: &TeacherFacts,
        classes: &[String],
    ) -> Result<(), serde_yaml::Error> {
        self.change("teacher.network", serde_yaml::to_value(facts.architecture)?);
        self.change("teacher.size", facts.size.into());
        self.change("teacher.import.classes", serde_yaml::to_value(classes)?);
        self.change("teacher.import.normalization", serde_yaml::to_value(facts.normalization)?);
        Ok(())
    }

    fn change(&mut self, key: &str, value: Value) {
        crate::yaml::merge(&mut self.changes, overlay(key, value));
    }

    /// Adds the branch to those of a pipeline file.
    ///
    /// # Errors
    /// A branch of that name in the file.
    pub(super) fn add_to(&self, root: &mut Mapping) -> Result<(), Invalid> {
        let refused = |problem| Err(Invalid::new("branches", problem));
        match root.entry("branches".into()).or_insert_with(|| Mapping::new().into()) {
            Value::Mapping(branches) if branches.contains_key(self.name.as_str()) => refused(format!(
                "`{}` is a branch of this pipeline, and the set of SET_PATH (--set-path) would be called so too; rename its folder \
                 or file",
                self.name
            )),
            Value::Mapping(branches) => {
                branches.insert(self.name.as_str().into(), self.changes.clone().into());
                Ok(())
            }
            other => refused(format!("found {}, expected a map of branches", in_a_word(other))),
        }
    }
}

/// The last part of a path without an ending, of signs that a run's name may have; dots would divide keys of `SET`.
fn name_of(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let last = path.components().rev().find_map(|part| match part {
        Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    });
    let stem = last.map(|name| match path.is_dir() {
        true => name.to_string_lossy(),
        false => name.file_stem().unwrap_or_default().to_string_lossy(),
    });
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = stem.unwrap_or_default().chars().map(plain).collect();
    if name.is_empty() { "set".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_called_as_the_last_part_of_its_path() {
        for (path, name) in
            [("a/my set v1.2.parquet", "my-set-v1-2"), ("/x/dc.pt", "dc"), ("a/ds/", "ds"), ("/", "set")]
        {
            assert_eq!(ExternalBranch::new(Path::new(path)).name, name);
        }
    }
}
