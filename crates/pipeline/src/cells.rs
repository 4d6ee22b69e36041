//! Tables of published results as pipelines: a cell is a line of a table's file, and what the words of its name stand for.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::config::pipeline_name;
use crate::near::near_names;
use crate::yaml::{self, YamlError};

/// Keys of a table's file that are no sections of a pipeline.
const PARTS: &str = "parts";
const CELLS: &str = "cells";
const DESCRIPTION: &str = "description";

/// What stands between the words of a name.
const HYPHEN: char = '-';

/// A table: sections that all cells share, the parts that they are made of, and a line for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    path: PathBuf,
    shared: Mapping,
    parts: Mapping,
    cells: Mapping,
}

/// The file of the table that a pipeline is a cell of: `tables/table1/CELL.yaml`, which is no file, is a line of `tables/table1.yaml`.
pub fn table_of(pipeline: &Path) -> Option<PathBuf> {
    let table = pipeline.parent().filter(|folder| folder.file_name().is_some())?.with_extension("yaml");
    match pipeline.exists() {
        true => None,
        false if table.is_file() => Some(table),
        false => yaml::installed(&table),
    }
}

/// What make calls a pipeline: `NAME`, or `TABLE/CELL`.
pub fn target_of(pipeline: &Path, name: &str) -> String {
    table_of(pipeline).map_or_else(|| name.to_owned(), |table| format!("{}/{name}", pipeline_name(&table)))
}

/// Where a pipeline, or a branch of it, is written, for messages: its file, and of a cell the table's and which line of it.
pub fn origin_of(pipeline: &Path, branch: Option<&str>) -> String {
    let table = table_of(pipeline);
    let cell = table.as_ref().map(|_| format!("cell {}", pipeline_name(pipeline)));
    let parts: Vec<String> = cell.into_iter().chain(branch.map(|name| format!("branch {name}"))).collect();
    let file = table.as_deref().unwrap_or(pipeline).display();
    if parts.is_empty() { file.to_string() } else { format!("{file} ({})", parts.join(", ")) }
}

impl Table {
    /// Reads the file of a table; none where it is another kind of file.
    ///
    /// # Errors
    /// [`YamlError`], naming the file.
    pub fn read(path: &Path) -> Result<Option<Self>, YamlError> {
        let mut shared = yaml::load(path)?;
        let mut section = |key: &str| match shared.remove(key) {
            None => Ok(None),
            Some(Value::Mapping(map)) => Ok(Some(map)),
            Some(other) => {
                let found = yaml::in_a_word(&other);
                Err(YamlError::new(path.display(), format!("`{key}` is {found}, expected a map of names")))
            }
        };
        let (parts, cells) = (section(PARTS)?.unwrap_or_default(), section(CELLS)?);
        Ok(cells.map(|cells| Self { path: path.to_owned(), shared, parts, cells }))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands above its cells.
    pub fn description(&self) -> &str {
        self.shared.get(DESCRIPTION).and_then(Value::as_str).unwrap_or_default()
    }

    /// The names of its cells, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.cells.keys().filter_map(Value::as_str)
    }

    /// The pipeline of a cell, as programs take it.
    pub fn pipeline_of(&self, cell: &str) -> PathBuf {
        self.path.with_extension("").join(format!("{cell}.yaml"))
    }

    /// A cell as the map of a pipeline: what all share, then each part all of whose words are in its name, in their order, then its
    /// own line. Their descriptions become one.
    ///
    /// # Errors
    /// [`YamlError`]: no such cell, a word without a part, or what is no map.
    pub fn cell(&self, name: &str) -> Result<Mapping, YamlError> {
        let refused = |problem: String| YamlError::new(self.path.display(), problem);
        let Some(own) = self.cells.get(name) else {
            let near = near_names(name, self.names());
            let near = near.first().map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(refused(format!("no cell `{name}`{near}")));
        };
        let words: Vec<&str> = name.split(HYPHEN).collect();
        if let Some(word) = words.iter().find(|word| !self.parts.contains_key(**word)) {
            return Err(refused(format!(
                "cell `{name}`: `{word}` is none of `parts`, which say what it stands for"
            )));
        }
        let is_of_it = |key: &str| key.split(HYPHEN).all(|word| words.contains(&word));
        let parts = self.parts.iter().filter_map(|(key, part)| Some((key.as_str()?, part)));
        let parts =
            parts.filter(|(key, _)| is_of_it(key)).map(|(key, part)| (format!("{PARTS}.{key}"), part));
        let (mut merged, mut titles) = (self.shared.clone(), Vec::new());
        for (place, section) in parts.chain([(format!("{CELLS}.{name}"), own)]) {
            let Value::Mapping(section) = section else {
                let found = yaml::in_a_word(section);
                return Err(refused(format!("`{place}` is {found}, expected a map of sections")));
            };
            titles.extend(section.get(DESCRIPTION).and_then(Value::as_str).map(str::to_owned));
            yaml::merge(&mut merged, section.clone());
        }
        let title = format!("{}: {}", self.description(), titles.join(", "));
        merged.insert(DESCRIPTION.into(), title.into());
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "
description: table 9
seed: 0
parts:
  red: {description: red, relabel: {epochs: 1, batch: 1}}
  one: {description: one, relabel: {batch: 2}}
  two: {description: two}
  red-two: {relabel: {batch: 3}}
cells:
  red-one: {}
  red-two: {relabel: {epochs: 4}}
  red-six: {}
  one-two: 5
";

    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table9.yaml");
        std::fs::write(&path, TABLE).expect("written");
        (folder, path)
    }

    #[test]
    fn a_cell_is_what_the_words_of_its_name_say_and_then_its_own_line() {
        let (folder, path) = written();
        let cell = |name: &str| folder.path().join("table9").join(format!("{name}.yaml"));
        let map = |text: &str| serde_yaml::from_str::<Mapping>(text).expect("test YAML");
        let loaded = |name: &str| yaml::load(&cell(name)).expect("loads");
        assert_eq!(
            loaded("red-one"),
            map("{description: 'table 9: red, one', seed: 0, relabel: {epochs: 1, batch: 2}}")
        );
        assert_eq!(
            loaded("red-two"),
            map("{description: 'table 9: red, two', seed: 0, relabel: {epochs: 4, batch: 3}}")
        );
        assert_eq!((table_of(&cell("red-one")), table_of(&path)), (Some(path.clone()), None));
        assert_eq!(target_of(&cell("red-one"), "red-one"), "table9/red-one");
        assert_eq!(target_of(&path, "table9"), "table9");
        let (file, one) = (path.display(), cell("red-one"));
        assert_eq!(origin_of(&path, Some("delt")), format!("{file} (branch delt)"));
        assert_eq!(origin_of(&one, Some("delt")), format!("{file} (cell red-one, branch delt)"));
        let said = crate::config::load(&one, &[], None).expect_err("no pipeline").to_string();
        assert!(said.starts_with(&format!("{file} (cell red-one): at `")), "{said}");
        let table = Table::read(&path).expect("reads").expect("has cells");
        assert_eq!(table.names().collect::<Vec<_>>(), ["red-one", "red-two", "red-six", "one-two"]);
        assert_eq!(table.pipeline_of("red-two"), cell("red-two"));
    }

    #[test]
    fn a_cell_that_is_none_is_refused() {
        let (folder, path) = written();
        for (name, expected) in [
            ("red-tow", "no cell `red-tow`; did you mean `red-two`?"),
            ("red-six", "cell `red-six`: `six` is none of `parts`, which say what it stands for"),
            ("one-two", "`cells.one-two` is a number, expected a map of sections"),
        ] {
            let cell = folder.path().join("table9").join(format!("{name}.yaml"));
            let said = yaml::load(&cell).expect_err("refused").to_string();
            assert_eq!(said, format!("{}: {expected}", path.display()));
        }
        std::fs::write(&path, "cells: [a]").expect("written");
        let said = Table::read(&path).expect_err("refused").to_string();
        assert_eq!(said, format!("{}: `cells` is a list, expected a map of names", path.display()));
        std::fs::write(&path, "seed: 0").expect("written");
        assert_eq!(Table::read(&path).expect("reads"), None);
    }
}
