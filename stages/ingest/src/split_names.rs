//! What people call the parts of a data set: one table for folders, files and columns, whatever their case.

use crate::source::Split;

/// Names of training images.
const TRAIN: [&str; 2] = ["train", "training"];
/// Names of test images, the first of them first; `test` comes last because published test folders often have no labels.
const TEST: [&str; 7] = ["val", "valid", "validation", "eval", "dev", "test", "testing"];
/// What stands beside or behind such a name and says no more: `training_set`, `seg_train`, `TrainImages`, `val2017`.
const FILLERS: [&str; 14] = [
    "set", "data", "dataset", "images", "image", "imgs", "img", "seg", "split", "samples", "photos",
    "pictures", "folder", "ilsvrc",
];

/// A name of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// Its place in the table: names of test images before others that are less often labeled.
    rank: usize,
    /// Whether more than the name stands there.
    is_adorned: bool,
}

impl PartName {
    /// The place of the name in the table, whatever stands beside it.
    pub fn rank(self) -> usize {
        self.rank
    }
}

/// Which part of a data set something is by its name; `None` where it is no name of a part.
pub fn part_of(name: &str) -> Option<(Split, PartName)> {
    let lower = name.to_lowercase();
    let words = lower
        .split(|c: char| !c.is_alphanumeric())
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()));
    let mut found = None;
    for word in words.filter(|word| !word.is_empty() && !FILLERS.contains(word)) {
        // two names, or a word that says more: a class perhaps
        if found.replace(table_entry(word)?).is_some() {
            return None;
        }
    }
    found.map(|(split, rank, known)| (split, PartName { rank, is_adorned: known != name }))
}

/// The part that a word of a longer name tells, as that of a shard: `imagenet-train-0001.tar`.
pub fn part_within(name: &str) -> Option<(Split, PartName)> {
    let lower = name.to_lowercase();
    let found = lower.split(|c: char| !c.is_alphanumeric()).find_map(table_entry);
    found.map(|(split, rank, _)| (split, PartName { rank, is_adorned: true }))
}

/// The split of a word, its place in the table and the word of the table that it begins with.
fn table_entry(word: &str) -> Option<(Split, usize, &'static str)> {
    let is_known = |known: &&str| {
        word.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || FILLERS.contains(&rest))
    };
    let of = |names: &'static [&'static str], split| {
        names.iter().position(is_known).map(|rank| (split, rank, names[rank]))
    };
    of(&TRAIN, Split::Train).or_else(|| of(&TEST, Split::Test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_recognized_whatever_their_case_and_others_are_classes() {
        let split = |name| part_of(name).map(|(split, _)| split);
        for name in [
            "train",
            "TRAIN",
            "Training",
            "training_set",
            "trainset",
            "seg_train",
            "train_images",
            "TrainImages",
            "train2017",
            "Training Data",
            "ILSVRC2012_img_train",
            "train-1",
        ] {
            assert_eq!(split(name), Some(Split::Train), "{name}");
        }
        for name in [
            "val",
            "Val",
            "validation",
            "VALID",
            "test_set",
            "Testing",
            "seg_test",
            "val2017",
            "testdata",
            "dev",
        ] {
            assert_eq!(split(name), Some(Split::Test), "{name}");
        }
        for name in
            ["cat", "trainer", "bullet_train", "train_test", "valley", "images", "tested", "", "2017", "été"]
        {
            assert_eq!(split(name), None, "{name}");
        }
    }

    #[test]
    fn validation_comes_before_test_and_the_bare_name_before_others() {
        let mut names = ["test", "Val", "val_images", "val", "validation", "Test"];
        names.sort_by_key(|name| part_of(name).map(|(_, part)| part));
        assert_eq!(names, ["val", "Val", "val_images", "validation", "test", "Test"]);
    }
}
