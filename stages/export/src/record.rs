//! `delt-export.json`: what a folder is, what it was made from and how; known again by it, it may be replaced.

use std::path::Path;

use anyhow::Result;
use delt_formats::canonical::readable_json;
use delt_pipeline::recipe;
use serde_json::{Value, json};

use crate::formats::{Format, Written};
use crate::results::Results;

/// The file.
pub const RECORD_FILE: &str = "delt-export.json";
/// How many files there are, itself among them.
pub const FILES: &str = "files";
/// The one text of the configuration that is prose.
const PROSE: &str = "description";

/// What every record says, and more.
pub fn head(format: &Format, pipeline: &str, more: &Value) -> Value {
    let mut record = json!({
        "delt": env!("CARGO_PKG_VERSION"),
        "format": format.name,
        "about": format.about,
        "pipeline": pipeline,
    });
    let members = more.as_object().into_iter().flatten();
    record.as_object_mut().into_iter().for_each(|record| {
        record.extend(members.clone().map(|(key, value)| (key.clone(), value.clone())));
    });
    record
}

/// The record of one branch.
///
/// # Errors
/// [`delt_pipeline::dag::Missing`] before the teacher is made.
pub fn of(format: &Format, results: &Results<'_>, written: &Written) -> Result<Value> {
    let teacher = results.teacher()?;
    let (line, recipe) = recipe(results)?;
    let mut record = json!({
        "branch": results.branch.name,
        "classes": results.classes()?,
        "size": teacher.size,
        "normalization": teacher.normalization,
        "recipe_line": line,
        "recipe": recipe,
        "made_from": results.read(),
        "notes": written.notes,
    });
    if let Value::Object(record) = &mut record {
        record.extend(written.facts.clone());
    }
    Ok(head(format, results.session.pipeline_name(), &record))
}

/// How the images were made and the students trained: in one line, and the whole configuration. Of paths only the last part is
/// left: folders of this machine are nobody else's business.
///
/// # Errors
/// [`delt_pipeline::dag::Missing`] before the teacher is made.
pub fn recipe(results: &Results<'_>) -> Result<(String, Value)> {
    let pipeline = &results.branch.pipeline;
    let mut config = serde_json::to_value(pipeline)?;
    let mut paths = Vec::new();
    strip_folders(&mut config, &mut paths);
    // the sentence of the file, which does not know what was set beside it
    config[PROSE] = results.name().into();
    let imported = results.session.dag().imported_per_class(results.branch)?;
    let mut line = recipe::line(pipeline, results.classes()?.len(), &imported)?;
    for (path, name) in paths {
        line = line.replace(&path, &name);
    }
    Ok((line, config))
}

/// Leaves the last part of every path, and remembers what each was.
fn strip_folders(value: &mut Value, paths: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => {
            if let Some((_, name)) = text.trim_end_matches(['/', '\\']).rsplit_once(['/', '\\']) {
                let name = name.to_owned();
                paths.push((std::mem::replace(text, name.clone()), name));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip_folders(item, paths)),
        Value::Object(members) => {
            let members = members.iter_mut().filter(|(key, _)| key.as_str() != PROSE);
            members.for_each(|(_, member)| strip_folders(member, paths));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Writes a record.
///
/// # Errors
/// If the file cannot be written.
pub fn write(folder: &Path, record: Value) -> Result<()> {
    Ok(fs_err::write(folder.join(RECORD_FILE), readable_json(&record))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_paths_only_the_last_part_leaves() {
        let mut config = json!({
            "description": "CIFAR-10/100",
            "ingest": {"source": {"kind": "image_folder", "path": "/home/me/my images/"}},
            "teacher": {"import": {"path": r"C:\weights\w.pth", "classes": ["cat", "dog"]}},
        });
        let mut paths = Vec::new();
        strip_folders(&mut config, &mut paths);
        assert_eq!(config["ingest"]["source"], json!({"kind": "image_folder", "path": "my images"}));
        assert_eq!(config["teacher"]["import"], json!({"path": "w.pth", "classes": ["cat", "dog"]}));
        assert_eq!(config["description"], "CIFAR-10/100");
        assert_eq!(paths[0], ("/home/me/my images/".to_owned(), "my images".to_owned()));
    }
}
