//! `delt-export.json` beside a set that was exported from a store: which class each of its folders is.

use std::path::Path;

use serde_json::Value;

use crate::error::{ImagesError, Result};

/// The file.
pub(super) const RECORD_FILE: &str = "delt-export.json";

/// What it says of folders.
#[derive(Debug)]
pub(super) struct Record {
    classes: Vec<String>,
    folders: Vec<String>,
    /// Where the folders of the classes are, if they lie deeper.
    pub(super) images: Option<String>,
}

impl Record {
    /// That of an export at `path`; none where there is none, or it has no folders.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let file = path.join(RECORD_FILE);
        if !file.is_file() {
            return Ok(None);
        }
        let broken = || {
            let problem = "expected JSON with a name in `classes` for each of `folders`, as export writes it; export again, or \
                           rename the folders as the classes and delete this file";
            ImagesError::layout(&file, problem)
        };
        let record: Value = serde_json::from_slice(&fs_err::read(&file)?).map_err(|_| broken())?;
        if record.get("folders").is_none() {
            return Ok(None);
        }
        let [classes, folders] = ["classes", "folders"].map(|key| {
            let names = record[key].as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<Vec<String>>>()
        });
        let images = record["image_folder"].as_str().map(str::to_owned);
        match (classes, folders) {
            (Some(classes), Some(folders)) if classes.len() == folders.len() => {
                Ok(Some(Self { classes, folders, images }))
            }
            _ => Err(broken()),
        }
    }

    /// The class of a folder; its own name where the record does not know it.
    pub(super) fn class_of(&self, folder: &str) -> String {
        let place = self.folders.iter().position(|name| name == folder);
        place.map_or(folder, |place| &self.classes[place]).to_owned()
    }
}

/// Refuses the folder of images inside an export: the names of its classes lie above it, and what lies there is no part of the set.
pub(super) fn refuse_part(path: &Path, record: Option<&Record>) -> Result<()> {
    let above = path.parent().filter(|above| record.is_none() && above.join(RECORD_FILE).is_file());
    let problem = |above: &Path| {
        format!(
            "its folders are called by number, and {RECORD_FILE} above it names the classes; give {}",
            if above.as_os_str().is_empty() { Path::new(".") } else { above }.display()
        )
    };
    above.map_or(Ok(()), |above| Err(ImagesError::layout(path, problem(above))))
}
