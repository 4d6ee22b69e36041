//! Labels as texts, of tables and shards: which class each is.

use std::collections::{BTreeMap, BTreeSet};

/// The classes of a source whose labels are texts.
#[derive(Debug)]
pub(crate) struct TextLabels {
    /// Names by label.
    pub(crate) names: Vec<String>,
    by_name: BTreeMap<String, u32>,
    /// Whether numbers are places in the list.
    has_given_names: bool,
}

impl TextLabels {
    /// The given names, else the texts that occur: sorted as numbers where all are, by code point otherwise.
    pub(crate) fn of<'a>(given: Option<&[String]>, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let found = || {
            let texts: BTreeSet<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
            let mut names: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            if names.iter().all(|name| name.parse::<u64>().is_ok()) {
                names.sort_by_key(|name| name.parse::<u64>().unwrap_or_default());
            }
            names
        };
        let names = given.map_or_else(found, <[String]>::to_vec);
        let by_name = names.iter().cloned().zip(0..).collect();
        Self { names, by_name, has_given_names: given.is_some() }
    }

    /// The label of a text: a class by name, or by number where the names are given.
    pub(crate) fn label(&self, text: &str) -> Option<u32> {
        let number = || {
            text.parse().ok().filter(|number| self.has_given_names && (*number as usize) < self.names.len())
        };
        self.by_name.get(text).copied().or_else(number)
    }

    /// What is wrong with a text that is no class.
    pub(crate) fn complaint(&self, text: &str) -> String {
        let found = if text.is_empty() { "no label".to_owned() } else { format!("label `{text}`") };
        let or_number = if self.has_given_names { " or its number" } else { "" };
        format!(
            "found {found}, expected one of {} classes{or_number}; correct the data or `ingest.source.class_names`",
            self.names.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_as_numbers_and_name_given_classes() {
        let names = |texts: &[&str]| TextLabels::of(None, texts.iter().copied()).names;
        assert_eq!(names(&["10", "9", "10"]), ["9", "10"]);
        assert_eq!(names(&["10", "9", "cat"]), ["10", "9", "cat"]);
        let given = ["cat".to_owned(), "dog".to_owned()];
        let labels = TextLabels::of(Some(&given), ["9"]);
        assert_eq!(
            ["dog", "0", "1", "2", "owl"].map(|text| labels.label(text)),
            [Some(1), Some(0), Some(1), None, None]
        );
        let found = TextLabels::of(None, ["9", "10"]);
        assert_eq!(["9", "0"].map(|text| found.label(text)), [Some(0), None]);
    }
}
