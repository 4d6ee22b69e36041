//! Which class of the teacher each class of a set is.

use std::collections::BTreeSet;

/// Names that a message lists before the rest is only counted.
const NAMES_SHOWN: usize = 5;

/// The classes of a set as those of the teacher.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matched {
    /// A label for each name.
    pub(super) labels: Vec<u32>,
    /// Whether the names are numbers only, so that nothing but their order says what they mean.
    pub(super) is_by_number: bool,
}

/// Matches by name, or where no name is a class by the number that each ends in; the complaint where neither fits. `what` is
/// what has the names.
pub(super) fn matched(names: &[String], classes: &[String], what: &str) -> Result<Matched, String> {
    let strangers: Vec<&str> =
        names.iter().filter(|name| position(name, classes).is_none()).map(String::as_str).collect();
    if strangers.is_empty() {
        let labels = names.iter().filter_map(|name| position(name, classes)).collect();
        return Ok(Matched { labels, is_by_number: false });
    }
    let numbers: Option<Vec<u32>> = names.iter().map(|name| number(name)).collect();
    let fitting = numbers.filter(|numbers| {
        let distinct: BTreeSet<&u32> = numbers.iter().collect();
        strangers.len() == names.len()
            && distinct.len() == names.len()
            && numbers.iter().all(|number| (*number as usize) < classes.len())
    });
    let Some(labels) = fitting else {
        return Err(format!(
            "{what} not among the teacher's classes ({}): {}; nor does each end in a number of its own below {}; rename them as the \
             classes",
            listed(classes.iter().map(|name| format!("`{name}`"))),
            listed(strangers.iter().map(|name| format!("`{name}`"))),
            classes.len()
        ));
    };
    // where classes are called by numbers in another order, a number may be a name or a place
    let other = labels.iter().find(|label| {
        let named = classes.iter().position(|class| class.parse() == Ok(**label));
        named.is_some_and(|place| place != **label as usize)
    });
    match other {
        Some(label) => Err(format!(
            "{what} end in numbers, and {label} may be the class of that name or the one of that place (`{}`); rename them as the \
             classes",
            classes[*label as usize]
        )),
        None => Ok(Matched { labels, is_by_number: true }),
    }
}

/// Labels that are places in `names` as those of the teacher, going by the names that have an image: a set may name classes that it
/// has none of.
pub(super) fn of_labels(found: &[u32], names: &[String], teacher: &[String]) -> Result<Matched, String> {
    let used: Vec<u32> = found.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let named: Vec<String> = used.iter().map(|label| names[*label as usize].clone()).collect();
    let matched = matched(&named, teacher, "classes")?;
    let of = |label: &u32| used.binary_search(label).map_or(0, |at| matched.labels[at]);
    Ok(Matched { labels: found.iter().map(of).collect(), ..matched })
}

/// What is said where labels are numbers.
pub(super) fn by_number(what: &str, classes: &[String]) -> String {
    let first = classes.iter().enumerate().map(|(label, class)| format!("{label} is `{class}`"));
    format!("{what} classes by number only, taken as the teacher's order: {}", listed(first))
}

/// The first of these, and how many more there are.
pub(super) fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown = names.take(NAMES_SHOWN).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn position(name: &str, classes: &[String]) -> Option<u32> {
    classes.iter().position(|class| class == name).map(|label| label as u32)
}

/// The number that a name ends in.
fn number(name: &str) -> Option<u32> {
    name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], classes: &[&str]) -> Result<Matched, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        matched(&owned(names), &owned(classes), "folders")
    }

    #[test]
    fn classes_are_matched_by_name_and_by_number_only_where_there_are_no_names() {
        let classes = ["cat", "dog", "7"];
        let labels = |names: &[&str]| of(names, &classes).map(|found| (found.labels, found.is_by_number));
        assert_eq!(labels(&["7", "cat", "dog"]), Ok((vec![2, 0, 1], false)));
        assert_eq!(labels(&["00000", "00001", "00002"]), Ok((vec![0, 1, 2], true)));
        assert_eq!(labels(&["new001", "new000"]), Ok((vec![1, 0], true)));
        assert_eq!(labels(&["v2_class0", "v2_class1"]), Ok((vec![0, 1], true)));
        assert_eq!(labels(&["dog"]), Ok((vec![1], false)));
        for names in
            [&["cat", "horse"][..], &["00000", "00003"], &["a1", "b1"], &["00000", "1x"], &["cat", "00001"]]
        {
            let said = labels(names).unwrap_err();
            assert!(
                said.starts_with("folders not among the teacher's classes (`cat`, `dog`, `7`): `"),
                "{said}"
            );
            assert!(
                said.ends_with(
                    "; nor does each end in a number of its own below 3; rename them as the classes"
                ),
                "{said}"
            );
        }
    }

    #[test]
    fn a_number_that_is_the_name_of_one_class_and_the_place_of_another_is_refused() {
        let labels = |names: &[&str], classes: &[&str]| of(names, classes).map(|found| found.labels);
        assert_eq!(labels(&["00000", "00001"], &["0", "1", "2"]), Ok(vec![0, 1]));
        assert_eq!(
            labels(&["00000", "00001"], &["1", "10", "2"]),
            Err("folders end in numbers, and 1 may be the class of that name or the one of that place (`10`); rename them as the \
                 classes"
                .to_owned())
        );
    }
}
