//! Pipeline files: `extends:`, overrides from the command line, and errors that name the key's place.

mod assignment;
mod words;

use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

pub use self::assignment::set;
pub(crate) use self::assignment::{overlay, parsed};
use self::words::{in_words, twice};
use crate::cells::{self, Table};
use crate::config::{Invalid, pipeline_name, refuse_vain_null};

/// Keys that choose a variant: where a file names another variant than the file it extends, the section is replaced
/// and not merged, since the options of one variant mean nothing to another.
const VARIANT_KEYS: [&str; 2] = ["kind", "name"];

/// Keys of which a map holds one alone: the other then takes its place.
const EITHER: [[&str; 2]; 3] = [["epochs", "steps"], ["images", "of_each_class"], ["every", "at"]];

/// What is said of a key that has no value.
const MISSING: &str = "write it, or let the file extend one that has it (`extends: base/delt.yaml`)";

/// What is said of one that lies in a section about the user's own files, which no file to extend can have.
const MISSING_OWN: &str = "write it, no file to extend has what is true of your own files";
const OWN: [&str; 2] = ["ingest.source", "teacher.import"];

/// Keys of columns, which no file to extend has, and what is said of them.
const COLUMNS: [&str; 2] = ["image_column", "label_column"];
const MISSING_COLUMN: &str = "name the column of the Parquet files: usual are image_column: image and label_column: label, \
    and img and fine_label for CIFAR-100";

/// What is wrong with a pipeline file, an override of it or the command line.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct YamlError {
    origin: String,
    problem: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl YamlError {
    /// A complaint about a file or an override, which `origin` names.
    pub fn new(origin: impl Display, problem: impl Into<String>) -> Self {
        Self { origin: origin.to_string(), problem: problem.into(), source: None }
    }

    /// A complaint about a key or its value.
    pub fn of_key(origin: impl Display, invalid: &Invalid) -> Self {
        Self::new(origin, format!("at {invalid}"))
    }

    fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }
}

/// A relative path that is not here, but in the folder where an installed wheel keeps pipelines and data (`DELT_HOME`).
pub(crate) fn installed(path: &Path) -> Option<PathBuf> {
    let installed = PathBuf::from(std::env::var_os("DELT_HOME")?).join(path);
    (!path.exists() && installed.exists()).then_some(installed)
}

/// Reads a pipeline file and everything it extends into one map, or a cell of a table ([`cells`]).
///
/// # Errors
/// [`YamlError`], naming the file.
pub fn load(path: &Path) -> Result<Mapping, YamlError> {
    if let Some(table) = cells::table_of(path)
        && let Some(table) = Table::read(&table)?
    {
        return table.cell(&pipeline_name(path));
    }
    load_within(path, None, &mut Vec::new())
}

/// `child` is the file that extends this one.
fn load_within(path: &Path, child: Option<&Path>, open: &mut Vec<PathBuf>) -> Result<Mapping, YamlError> {
    let refused = |problem: &str| YamlError::new(path.display(), problem);
    let unreadable = |source: std::io::Error| match child {
        None => refused("cannot be read; check the path (--pipeline)").because(source),
        Some(child) => {
            let problem = format!(
                "`extends` names {}, which cannot be read; correct it there (paths are relative to that file's folder)",
                path.display()
            );
            YamlError::new(child.display(), problem).because(source)
        }
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let real = path.canonicalize().map_err(unreadable)?;
    if open.contains(&real) {
        return Err(refused("`extends` is circular; remove one of the links"));
    }
    let value = serde_yaml::from_str(&text).map_err(|source| match twice(&text, &source) {
        Some(problem) => refused(&problem),
        None => refused("is not valid YAML; correct the line named below").because(source),
    })?;
    let Value::Mapping(mut own) = value else {
        let found = in_a_word(&value);
        let expected = "expected a map of sections, e.g. `select: {ipc: 10}`";
        return Err(refused(&format!("found {found} at the top, {expected}")));
    };
    let parents = match own.remove("extends") {
        None => Vec::new(),
        Some(Value::Sequence(many)) if many.iter().all(Value::is_string) => many,
        Some(one) if one.is_string() => vec![one],
        Some(other) => {
            let found = in_a_word(&other);
            let problem = format!("`extends` is {found}, expected a file name or a list of file names");
            return Err(refused(&problem));
        }
    };
    open.push(real);
    let mut merged = Mapping::new();
    let folder = path.parent().unwrap_or(Path::new("."));
    for parent in parents.iter().filter_map(Value::as_str) {
        let beside = folder.join(parent);
        let inside = if beside.exists() { None } else { installed(&Path::new("pipelines").join(parent)) };
        merge(&mut merged, load_within(&inside.unwrap_or(beside), Some(path), open)?);
    }
    open.pop();
    let parents = merged.clone();
    merge(&mut merged, own);
    refuse_vain_null(&parents, &merged).map_err(|invalid| YamlError::of_key(path.display(), &invalid))?;
    Ok(merged)
}

/// Lays `over` over `base`: maps are merged key by key, everything else is replaced.
pub fn merge(base: &mut Mapping, over: Mapping) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Mapping(below)), Value::Mapping(above)) if !names_another_variant(below, &above) => {
                merge(below, above);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn names_another_variant(below: &Mapping, above: &Mapping) -> bool {
    VARIANT_KEYS.iter().any(|key| above.get(key).is_some_and(|new| below.get(key) != Some(new)))
        || is_either(below, above)
}

/// Whether two maps hold one key each, of which a map holds one alone.
pub(crate) fn is_either(below: &Mapping, above: &Mapping) -> bool {
    let is_alone = |map: &Mapping, key: &str| map.len() == 1 && map.contains_key(key);
    let swaps = |one: &str, other: &str| is_alone(below, one) && is_alone(above, other);
    EITHER.iter().any(|[one, other]| swaps(one, other) || swaps(other, one))
}

/// Turns a map into a typed configuration; unknown keys are refused with their place.
///
/// # Errors
/// [`YamlError`], naming the key.
pub fn typed<T: DeserializeOwned>(root: &Mapping, origin: &str) -> Result<T, YamlError> {
    serde_path_to_error::deserialize(Value::Mapping(root.clone())).map_err(|error| {
        let (place, said) = (error.path().to_string(), error.inner().to_string());
        let missing = said.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
        let Some((key, _)) = missing else {
            return YamlError::of_key(origin, &Invalid { place, problem: in_words(&said) });
        };
        let cure = match key {
            key if COLUMNS.contains(&key) => MISSING_COLUMN,
            _ if OWN.contains(&place.as_str()) => MISSING_OWN,
            _ => MISSING,
        };
        let place = if place == "." { key.to_owned() } else { format!("{place}.{key}") };
        let choices = choices::<T>(root, &place).map_or_else(String::new, |one| format!(", expected {one}"));
        let problem = format!("is missing{choices}; {cure}");
        YamlError::of_key(origin, &Invalid { place, problem })
    })
}

/// What a missing key may be, where it is one of a few names.
fn choices<T: DeserializeOwned>(root: &Mapping, place: &str) -> Option<String> {
    const NONE_OF_THEM: &str = "?";
    let mut asked = root.clone();
    merge(&mut asked, overlay(place, NONE_OF_THEM.into()));
    let said = serde_path_to_error::deserialize::<_, T>(Value::Mapping(asked)).err()?.inner().to_string();
    said.strip_prefix(&format!("unknown variant `{NONE_OF_THEM}`, expected "))?
        .split(" at line ")
        .next()
        .map(str::to_owned)
}

/// What kind of value this is.
pub(crate) fn in_a_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Tagged(_) => "a tagged value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Mapping {
        serde_yaml::from_str(text).expect("test YAML")
    }

    #[test]
    fn sections_merge_and_another_variant_replaces() {
        let mut base = map("a: {x: 1, y: 2}\nnetwork: {name: convnet, depth: 3, width: 128}\n");
        merge(&mut base, map("a: {y: 3}\nnetwork: {name: resnet18, stem: small}\n"));
        assert_eq!(base, map("a: {x: 1, y: 3}\nnetwork: {name: resnet18, stem: small}\n"));
        let mut base = map("budget: {epochs: 5}\nrelabel: {epochs: 5}\n");
        merge(&mut base, map("budget: {steps: 9}\nrelabel: {batch: 2}\n"));
        assert_eq!(base, map("budget: {steps: 9}\nrelabel: {epochs: 5, batch: 2}\n"));
    }

    #[test]
    fn extends_may_be_a_list_whose_later_files_win() {
        let dir = tempfile::tempdir().expect("temp dir");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
        write("one.yaml", "seed: 1\nrelabel: {epochs: 1, batch: 1}\n");
        write("two.yaml", "seed: 2\nrelabel: {epochs: 2}\n");
        write("both.yaml", "extends: [one.yaml, two.yaml]\nseed: 3\n");
        assert_eq!(
            load(&dir.path().join("both.yaml")).expect("loads"),
            map("relabel: {epochs: 2, batch: 1}\nseed: 3\n")
        );
    }

    #[test]
    fn a_file_that_is_no_pipeline_is_refused_with_what_it_holds() {
        let refusals = [
            ("a: [1\n", "is not valid YAML; correct the line named below"),
            ("", "found nothing at the top, expected a map of sections, e.g. `select: {ipc: 10}`"),
            ("- a\n", "found a list at the top, expected a map of sections, e.g. `select: {ipc: 10}`"),
            ("extends: 3\n", "`extends` is a number, expected a file name or a list of file names"),
            ("extends: [a.yaml, 3]\n", "`extends` is a list, expected a file name or a list of file names"),
            ("extends: {a: b}\n", "`extends` is a map, expected a file name or a list of file names"),
        ];
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("p.yaml");
        for (text, expected) in refusals {
            std::fs::write(&path, text).expect("write");
            let message = load(&path).expect_err("refused").to_string();
            assert_eq!(message, format!("{}: {expected}", path.display()));
        }
        std::fs::write(&path, "seed: 0\nextends: absent.yaml\n").expect("write");
        let absent = dir.path().join("absent.yaml");
        assert_eq!(
            load(&path).expect_err("refused").to_string(),
            format!(
                "{}: `extends` names {}, which cannot be read; correct it there (paths are relative to that file's folder)",
                path.display(),
                absent.display()
            )
        );
        assert_eq!(
            load(&absent).expect_err("refused").to_string(),
            format!("{}: cannot be read; check the path (--pipeline)", absent.display())
        );
    }

    #[test]
    fn a_syntax_error_tells_line_and_column() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("p.yaml");
        std::fs::write(&path, "seed: 0\nselect: {ipc: 10\n").expect("write");
        let error = load(&path).expect_err("refused");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains(" at line 3 column 1"), "{cause}");
    }

    #[test]
    fn rust_types_are_said_in_words() {
        let cases = [
            ("invalid type: string \"x\", expected f64", "invalid type: string \"x\", expected a number"),
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number without a minus sign",
            ),
            (
                "invalid value: integer `0`, expected a nonzero u32",
                "invalid value: integer `0`, expected a whole number above 0",
            ),
            (
                "invalid type: floating point `2.5`, expected u32",
                "invalid type: floating point `2.5`, expected a whole number",
            ),
            (
                "invalid type: integer `3`, expected a sequence",
                "invalid type: integer `3`, expected a list, e.g. [1, 2]",
            ),
            (
                "invalid type: integer `3`, expected struct Select",
                "invalid type: integer `3`, expected a section of `key: value` lines",
            ),
            (
                "invalid type: integer `3`, expected internally tagged enum Loss",
                "invalid type: integer `3`, expected a section of `key: value` lines",
            ),
            (
                "unknown field `sizes`, expected `batch` or `seed`",
                "unknown field `sizes`, expected `batch` or `seed`",
            ),
            (
                "unknown field `bach`, expected `batch` or `seed`",
                "unknown field `bach`, expected `batch` or `seed`; did you mean `batch`?",
            ),
            ("missing field `seed`", "missing field `seed`"),
        ];
        for (problem, expected) in cases {
            assert_eq!(in_words(problem), expected);
        }
    }

    #[test]
    fn extends_is_followed_and_a_circle_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("base")).expect("mkdir");
        std::fs::write(dir.path().join("base/all.yaml"), "seed: 0\nrelabel: {epochs: 300}\n").expect("write");
        std::fs::write(dir.path().join("one.yaml"), "extends: base/all.yaml\nrelabel: {epochs: 5}\n")
            .expect("write");
        assert_eq!(
            load(&dir.path().join("one.yaml")).expect("loads"),
            map("seed: 0\nrelabel: {epochs: 5}\n")
        );
        std::fs::write(dir.path().join("loop.yaml"), "extends: loop.yaml\n").expect("write");
        let message = load(&dir.path().join("loop.yaml")).expect_err("circle").to_string();
        assert!(message.ends_with("loop.yaml: `extends` is circular; remove one of the links"), "{message}");
    }
}
