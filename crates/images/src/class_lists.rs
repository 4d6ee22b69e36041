//! Two lists of class names that meet: labels of one into labels of the other, by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::label_column::shown;

/// Where each name of `names` stands in `classes`; `None` where one does not, or either list has a name twice.
pub fn places(names: &[String], classes: &[String]) -> Option<Vec<u32>> {
    let known: BTreeMap<&String, u32> = classes.iter().zip(0..).collect();
    let is_clear = known.len() == classes.len() && names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let places: Option<Vec<u32>> = names.iter().map(|name| known.get(name).copied()).collect();
    places.filter(|_| is_clear)
}

/// Whether `classes` are other names for `names`, place by place: as many, and none of `names` stands in another place there.
pub fn is_renamed(names: &[String], classes: &[String]) -> bool {
    let once = |name: &&String| names.iter().filter(|other| other == name).count() == 1;
    let mut pairs = names.iter().zip(classes);
    let kept = |(name, class): (&String, &String)| name == class || !once(&name) || !classes.contains(name);
    names.len() == classes.len() && pairs.all(kept)
}

/// How two lists differ, for messages: at most five names of each, and at most five that `classes` lack.
pub fn difference(names: &[String], classes: &[String]) -> String {
    let lacking: Vec<String> = names.iter().filter(|name| !classes.contains(name)).cloned().collect();
    let (found, expected) = (shown(names.iter()), shown(classes.iter()));
    if lacking.is_empty() {
        return format!("names {found}, expected {expected}, each once");
    }
    let which = lacking.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = if lacking.len() > 5 { format!(" and {} more", lacking.len() - 5) } else { String::new() };
    format!("names {found}, expected {expected}, which lack {which}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn lists_in_another_order_or_shorter_are_joined_by_name() {
        let classes = names("cat dog owl");
        assert_eq!(places(&names("dog cat owl"), &classes), Some(vec![1, 0, 2]));
        assert_eq!(places(&names("owl"), &classes), Some(vec![2]));
        assert_eq!(places(&names("cat fox"), &classes), None);
        assert_eq!(places(&names("cat cat"), &classes), None, "a name twice is not clear");
        assert_eq!(places(&names("cat"), &names("cat cat")), None);
    }

    #[test]
    fn other_names_for_the_same_places_are_told_from_another_order() {
        assert!(is_renamed(&names("n1 n2 crane"), &names("cat dog crane")));
        assert!(is_renamed(&names("crane crane"), &names("bird crane")), "what stands twice tells no place");
        assert!(!is_renamed(&names("n1 cat"), &names("cat dog")));
        assert!(!is_renamed(&names("n1 n2"), &names("cat dog owl")));
    }

    #[test]
    fn a_difference_shows_five_names_of_each_list_and_which_lack() {
        assert_eq!(
            difference(&names("a b c d e f z"), &names("a b c d e f")),
            "names 7 classes (a, b, c, d, e, …), expected 6 classes (a, b, c, d, e, …), which lack `z`"
        );
        let said = difference(&names("1 2 3 4 5 6 7"), &names("a"));
        assert!(said.ends_with("which lack `1`, `2`, `3`, `4`, `5` and 2 more"), "{said}");
    }
}
