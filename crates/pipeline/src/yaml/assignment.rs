//! Overrides of the command line: `a.b.c=value`.

use serde_yaml::{Mapping, Value};

use super::{YamlError, merge};

/// Parts of a key, at most: no section lies deeper.
const MOST_PARTS: usize = 16;

/// What is said of the value of an override that is not YAML.
const WRONG_VALUE: &str = "its value is not valid YAML; lists are written [1,2], sections {a: 1}, and text with special \
    characters in \"quotes\"";

/// What is said of a value that ends before what it begins with is closed, as what make leaves of `SET='a=[1, 2]'`.
const CUT_VALUE: &str = "its value begins with a bracket or a quote that is not closed; make splits SET= at spaces, so write \
    [1,2] and {\"a\":1} there, and a space within a text as \\x20 in \"double quotes\"; --set of a program and a pipeline \
    file take spaces as they are";

/// What is said of an override that assigns nothing.
const NO_VALUE: &str = "expected key=value, e.g. synthesize.batch=50 (make splits SET= at spaces)";

/// Applies one `a.b.c=value` override; the value is read as YAML.
///
/// # Errors
/// [`YamlError`] where the form or the value is wrong.
pub fn set(root: &mut Mapping, assignment: &str) -> Result<(), YamlError> {
    merge(root, parsed(assignment)?);
    Ok(())
}

/// A map of what an override says, and nothing else.
pub(crate) fn parsed(assignment: &str) -> Result<Mapping, YamlError> {
    let refused = |problem| YamlError::new(format!("--set {assignment}"), problem);
    let assigned = assignment.split_once('=').filter(|(path, _)| {
        let mut parts = path.split('.');
        parts.clone().count() <= MOST_PARTS && parts.all(|part| !part.is_empty())
    });
    let Some((path, value)) = assigned else {
        return Err(refused(NO_VALUE));
    };
    let wrong = if is_cut(value) { CUT_VALUE } else { WRONG_VALUE };
    let value = serde_yaml::from_str(value).map_err(|source| refused(wrong).because(source))?;
    Ok(overlay(path, value))
}

/// Whether a value begins with a bracket or a quote and does not end in the one that closes it.
fn is_cut(value: &str) -> bool {
    let value = value.trim();
    let pairs = [('[', ']'), ('{', '}'), ('"', '"'), ('\'', '\'')];
    pairs.iter().any(|(open, close)| value.strip_prefix(*open).is_some_and(|rest| !rest.ends_with(*close)))
}

/// A map with this value at a dotted path, and nothing else.
pub(crate) fn overlay(path: &str, value: Value) -> Mapping {
    let (key, value) = match path.split_once('.') {
        Some((section, rest)) => (section, Value::Mapping(overlay(rest, value))),
        None => (path, value),
    };
    Mapping::from_iter([(key.into(), value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Mapping {
        serde_yaml::from_str(text).expect("test YAML")
    }

    #[test]
    fn set_reaches_into_sections_and_reads_yaml_values() {
        let mut base = map("a: {x: 1}\n");
        set(&mut base, "a.x=2.5").expect("valid");
        set(&mut base, "b.c=[1, two]").expect("valid");
        assert_eq!(base, map("a: {x: 2.5}\nb: {c: [1, two]}\n"));
        assert_eq!(
            set(&mut base, "nonsense").expect_err("no equals sign").to_string(),
            "--set nonsense: expected key=value, e.g. synthesize.batch=50 (make splits SET= at spaces)"
        );
    }

    #[test]
    fn an_override_that_is_none_is_refused() {
        for given in ["nonsense", "=5", "a..b=5", "a.=5"] {
            assert_eq!(
                set(&mut Mapping::new(), given).expect_err("refused").to_string(),
                format!("--set {given}: {NO_VALUE}")
            );
        }
        let said = set(&mut Mapping::new(), "a=[1]]").expect_err("refused").to_string();
        assert!(
            said.starts_with("--set a=[1]]: its value is not valid YAML; lists are written [1,2]"),
            "{said}"
        );
    }

    #[test]
    fn a_value_that_make_has_split_is_told_how_it_is_written_there() {
        for given in ["a=[1,", "a={b:", "a=\"cat", "a='cat", "a=[\"cat"] {
            let said = set(&mut Mapping::new(), given).expect_err("refused").to_string();
            assert_eq!(said, format!("--set {given}: {CUT_VALUE}"));
        }
        let mut root = Mapping::new();
        set(&mut root, r#"a=["big\x20cat",dog]"#).expect("what the message recommends");
        assert_eq!(root, map("a: [big cat, dog]\n"));
    }
}
