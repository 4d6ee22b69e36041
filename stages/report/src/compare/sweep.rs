//! The sweep file: which pipelines are compared.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use delt_pipeline::yaml;
use serde::Deserialize;

/// Pipelines whose branches are the rows of one table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// One sentence for people.
    pub description: String,
    /// Names of pipelines, in the order of the rows: files `NAME.yaml` of the folder above the sweep's.
    pub pipelines: Vec<String>,
}

impl Sweep {
    /// Reads a sweep file.
    ///
    /// # Errors
    /// A file that cannot be read or is none, or that names no pipeline or one that is not there.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        if !path.is_file() {
            let problem = "no such file; make's SWEEP= (--sweep) names a file of pipelines/sweeps";
            return Err(yaml::YamlError::new(place, problem).into());
        }
        let sweep: Self = yaml::typed(&yaml::load(path)?, &place.to_string())?;
        ensure!(
            !sweep.pipelines.is_empty(),
            "{place}: `pipelines` is empty; name at least one, e.g. [compare-small]"
        );
        for name in &sweep.pipelines {
            let file = pipeline_file(path, name);
            ensure!(file.is_file(), "{place}: pipeline `{name}`: {}: no such file", file.display());
        }
        Ok(sweep)
    }
}

/// Where a pipeline of a sweep lies.
pub fn pipeline_file(sweep: &Path, name: &str) -> PathBuf {
    let folder = sweep.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    folder.join(format!("{name}.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_names_no_pipeline_or_one_that_is_not_there_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let sweeps = folder.path().join("sweeps");
        std::fs::create_dir(&sweeps).expect("created");
        std::fs::write(folder.path().join("here.yaml"), "").expect("written");
        let path = sweeps.join("s.yaml");
        let said = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Sweep::read(&path).map_err(|error| {
                let said = format!("{error:#}");
                said.split_once("s.yaml: ").map_or(said.clone(), |(_, said)| said.to_owned())
            })
        };
        assert_eq!(said("{description: d, pipelines: [here]}").expect("reads").pipelines, ["here"]);
        assert_eq!(
            said("{description: d, pipelines: []}").expect_err("refused"),
            "`pipelines` is empty; name at least one, e.g. [compare-small]"
        );
        let gone = said("{description: d, pipelines: [gone]}").expect_err("refused");
        assert!(gone.starts_with("pipeline `gone`: ") && gone.ends_with("gone.yaml: no such file"), "{gone}");
        let absent = Sweep::read(&sweeps.join("absent.yaml")).expect_err("refused").to_string();
        assert!(
            absent.ends_with(
                "absent.yaml: no such file; make's SWEEP= (--sweep) names a file of pipelines/sweeps"
            ),
            "{absent}"
        );
        assert!(said("{pipeline: [here]}").expect_err("refused").contains("unknown field `pipeline`"));
    }

    #[test]
    fn every_sweep_of_the_repository_reads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/sweeps");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("sweeps folder") {
            Sweep::read(&entry.expect("entry").path()).expect("reads");
            count += 1;
        }
        assert!(count > 0);
    }
}
