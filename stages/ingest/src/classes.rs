//! Which of the source's classes are read, and which label each gets.

use std::collections::{BTreeMap, BTreeSet};

use delt_pipeline::config::ingest::LabelSpace;
use delt_pipeline::near::near_names;

use crate::error::{IngestError, Result};

/// How many names show what the source has.
const NAMES_SHOWN: usize = 3;

/// The dataset's class list and the way into it from the source's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Class names of the dataset.
    pub names: Vec<String>,
    label_of: Vec<Option<u32>>,
}

impl LabelMap {
    /// Chooses classes by name; all of them where `chosen` is `None`.
    ///
    /// Shrinking numbers the chosen ones anew in the *source's* order (the order in which they were asked for does not
    /// matter); keeping leaves names and labels as they are, and the others without images.
    ///
    /// # Errors
    /// [`IngestError::UnknownClasses`] with the names near each unknown one; two classes of one name.
    pub fn choose(source_names: &[String], chosen: Option<&[String]>, space: LabelSpace) -> Result<Self> {
        let mut seen = BTreeSet::new();
        if let Some(name) = source_names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(IngestError::DuplicateClass(name.clone()));
        }
        let unknown: Vec<&String> =
            chosen.into_iter().flatten().filter(|c| !seen.contains(c.as_str())).collect();
        if !unknown.is_empty() {
            let unknown = unknown.into_iter().map(|name| complaint(name, source_names)).collect();
            return Err(IngestError::UnknownClasses { unknown, known: some_of(source_names) });
        }
        let keeps_place = space == LabelSpace::Keep;
        let mut names = Vec::new();
        let mut label_of = Vec::new();
        for (place, name) in source_names.iter().enumerate() {
            let is_chosen = chosen.is_none_or(|chosen| chosen.contains(name));
            let label = if keeps_place { place } else { names.len() };
            label_of.push(is_chosen.then_some(label as u32));
            if keeps_place || is_chosen {
                names.push(name.clone());
            }
        }
        Ok(Self { names, label_of })
    }

    /// The label in the dataset, or `None` where the class is left out. A label outside the class list is left out too:
    /// sources check theirs.
    pub fn label(&self, source_label: u32) -> Option<u32> {
        self.label_of.get(source_label as usize).copied().flatten()
    }

    /// The labels of the dataset that have images.
    pub fn used(&self) -> impl Iterator<Item = u32> + '_ {
        self.label_of.iter().copied().flatten()
    }
}

/// What is said of classes whose names differ only by case or by spaces around them.
pub(crate) fn alike(names: &[String]) -> Option<String> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names {
        groups.entry(name.trim().to_lowercase()).or_default().push(format!("`{name}`"));
    }
    groups.retain(|_, group| group.len() > 1);
    let shown: Vec<String> = groups.values().take(NAMES_SHOWN).map(|group| group.join(" and ")).collect();
    let more = if groups.len() > NAMES_SHOWN { ", .." } else { "" };
    (!groups.is_empty()).then(|| {
        format!(
            "classes whose names differ only by case or spaces are classes of their own: {}{more}",
            shown.join(", ")
        )
    })
}

fn complaint(name: &str, known: &[String]) -> String {
    let near = near_names(name, known.iter().map(String::as_str));
    let hint = if near.is_empty() { String::new() } else { format!(", near names: {}", near.join(", ")) };
    format!("there is no class `{name}`{hint}")
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
    format!("{} classes: {shown}{more}", names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn shrinking_numbers_anew_in_the_order_of_the_source() {
        let source = names(&["apple", "bear", "bus", "cloud"]);
        let map =
            LabelMap::choose(&source, Some(&names(&["cloud", "bear"])), LabelSpace::Shrink).expect("known");
        assert_eq!(map.names, names(&["bear", "cloud"]));
        assert_eq!([0, 1, 2, 3, 9].map(|label| map.label(label)), [None, Some(0), None, Some(1), None]);
    }

    #[test]
    fn keeping_leaves_names_and_labels_alone() {
        let source = names(&["apple", "bear", "bus"]);
        let map = LabelMap::choose(&source, Some(&names(&["bus", "bear"])), LabelSpace::Keep).expect("known");
        assert_eq!(map.names, source);
        assert_eq!([0, 1, 2].map(|label| map.label(label)), [None, Some(1), Some(2)]);
        assert_eq!(map.used().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn unknown_names_are_answered_with_near_ones() {
        let source = names(&["apple", "maple_tree", "bear", "pine_tree"]);
        let error =
            LabelMap::choose(&source, Some(&names(&["aple", "Bear", "tree", "zebra"])), LabelSpace::Shrink);
        assert_eq!(
            error.expect_err("unknown").to_string(),
            "`ingest.classes`: there is no class `aple`, near names: apple, maple_tree; there is no class `Bear`, near names: bear; \
             there is no class `tree`, near names: pine_tree, maple_tree; there is no class `zebra`; \
             the source has 4 classes: apple, maple_tree, bear, …"
        );
    }

    #[test]
    fn names_that_differ_only_by_case_or_spaces_are_noted() {
        assert_eq!(alike(&names(&["cat", "cats", "dog"])), None);
        assert_eq!(
            alike(&names(&["Cat", "cat", "cat ", "dog", "owl", "Owl"])).as_deref(),
            Some(
                "classes whose names differ only by case or spaces are classes of their own: `Cat` and `cat` and `cat `, `owl` and `Owl`"
            )
        );
    }

    #[test]
    fn two_classes_of_one_name_are_refused() {
        let error =
            LabelMap::choose(&names(&["crane", "crane"]), None, LabelSpace::Shrink).expect_err("twice");
        assert_eq!(
            error.to_string(),
            "class name `crane` stands for two classes of the source; give each class a name of its own"
        );
    }
}
