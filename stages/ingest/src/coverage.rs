//! What a data set covers and what it does not: the lines that the reader of a result must know.

use delt_formats::dataset::TRAIN_FILE;
use delt_pipeline::config::ingest::Ingest;

use crate::classes::LabelMap;
use crate::digests::Digests;
use crate::source::Split;

/// The largest class may have so many times the images of the smallest before it is worth a line.
const EVEN_RATIO: u64 = 3;

/// Classes that a line names; the rest are only counted.
const NAMES_SHOWN: usize = 5;

/// Which bytes were seen, and what was seen twice: 18 bytes for each image.
#[derive(Debug)]
pub struct SeenBytes {
    /// Of all images, training images first.
    digests: Digests,
    /// Class of each.
    labels: Vec<u32>,
    /// How many of them are training images.
    train: usize,
    /// Test images that are training images too.
    in_both: Repeated,
    /// Images whose bytes another class has.
    in_two_classes: Repeated,
}

/// How many images, and the first of them.
#[derive(Debug, Default)]
struct Repeated {
    images: u64,
    example: String,
}

impl Repeated {
    fn add(&mut self, example: impl FnOnce() -> String) {
        if self.images == 0 {
            self.example = example();
        }
        self.images += 1;
    }
}

impl SeenBytes {
    /// Before any is seen of so many images; there may be more.
    pub fn of(images: u64) -> Self {
        let digests = Digests::of(images as usize);
        let labels = Vec::with_capacity(images as usize);
        Self { digests, labels, train: 0, in_both: Repeated::default(), in_two_classes: Repeated::default() }
    }

    /// Takes note of an image that is written as the next row of a split: training images come first.
    pub fn add(&mut self, digest: u64, split: Split, path: &str, (label, names): (u32, &[String])) {
        self.labels.push(label);
        self.train += usize::from(split == Split::Train);
        let Some(first) = self.digests.add(digest) else { return };
        let name = |label: u32| names.get(label as usize).map_or("?", String::as_str);
        if split == Split::Test && first < self.train {
            self.in_both.add(|| format!("{path} is row {first} of {TRAIN_FILE}"));
        }
        let other = self.labels[first];
        if other != label {
            self.in_two_classes
                .add(|| format!("{path} is of class `{}` and of class `{}`", name(other), name(label)));
        }
    }

    fn notes(&self, test_images: u64) -> Vec<String> {
        let Self { in_both, in_two_classes, .. } = self;
        let mut notes = Vec::new();
        if in_both.images > 0 {
            notes.push(format!(
                "test images that are training images too, byte for byte: {} of {test_images} ({}); accuracies on them measure \
                 memory",
                in_both.images, in_both.example
            ));
        }
        if in_two_classes.images > 0 {
            notes.push(format!(
                "images with the bytes of an image of another class: {} ({}); no network is right on both",
                in_two_classes.images, in_two_classes.example
            ));
        }
        notes
    }
}

/// What was written of a split, and what there was.
#[derive(Debug, Clone, Copy)]
pub struct Used<'a> {
    /// Images written, by label.
    pub per_class: &'a [u64],
    /// Images of the source.
    pub of: u64,
    /// Images that could not be read and were left out.
    pub broken: u64,
}

impl Used<'_> {
    fn images(&self) -> u64 {
        self.per_class.iter().sum()
    }
}

/// One line for each thing that the reader of a result must know of its data set.
pub fn notes(
    section: &Ingest,
    labels: &LabelMap,
    train: Used<'_>,
    test: Used<'_>,
    seen: &SeenBytes,
) -> Vec<String> {
    let mut notes: Vec<String> = left_out(section, train, test).into_iter().collect();
    let without: Vec<&str> = labels
        .used()
        .filter(|label| test.per_class[*label as usize] == 0)
        .map(|label| labels.names[label as usize].as_str())
        .collect();
    if !without.is_empty() {
        notes.push(format!(
            "classes without test images: {} of {} ({}); accuracies say nothing of them",
            without.len(),
            labels.used().count(),
            some_of(&without)
        ));
    }
    let spread = [("training", train), ("test", test)].into_iter();
    let spread: Vec<String> =
        spread.filter_map(|(name, used)| uneven(labels, name, used.per_class)).collect();
    if !spread.is_empty() {
        notes.push(format!(
            "the classes are uneven, {}; accuracies count images, so large classes weigh more",
            spread.join(", ")
        ));
    }
    notes.extend(seen.notes(test.images()));
    notes
}

/// How much of the source is used, where that is not all, and why.
fn left_out(section: &Ingest, train: Used<'_>, test: Used<'_>) -> Option<String> {
    if (train.images(), test.images()) == (train.of, test.of) {
        return None;
    }
    let reasons = [
        section.classes.as_ref().map(|_| "ingest.classes".to_owned()),
        section.max_train_per_class.map(|most| format!("ingest.max_train_per_class {most}")),
        section.max_test_per_class.map(|most| format!("ingest.max_test_per_class {most}")),
        (train.broken + test.broken > 0)
            .then(|| format!("{} training and {} test images are broken", train.broken, test.broken)),
    ];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    Some(format!(
        "{} of {} training and {} of {} test images are used{why}",
        train.images(),
        train.of,
        test.images(),
        test.of
    ))
}

/// How far the largest class of a split is from the smallest that has images, where that is far.
fn uneven(labels: &LabelMap, split: &str, per_class: &[u64]) -> Option<String> {
    let has_images = || labels.used().filter(|label| per_class[*label as usize] > 0);
    let images = |label: &u32| per_class[*label as usize];
    let (smallest, largest) = (has_images().min_by_key(images)?, has_images().max_by_key(images)?);
    let said = |label: u32| format!("{} (`{}`)", images(&label), labels.names[label as usize]);
    (images(&largest) > EVEN_RATIO * images(&smallest))
        .then(|| format!("from {} to {} {split} images", said(smallest), said(largest)))
}

fn some_of(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > NAMES_SHOWN { ", .." } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> LabelMap {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        LabelMap::choose(&names, None, Default::default()).expect("distinct")
    }

    #[test]
    fn classes_are_uneven_beyond_three_to_one_and_empty_ones_are_told_of_elsewhere() {
        let labels = labels(&["a", "b", "c"]);
        assert_eq!(uneven(&labels, "training", &[30, 10, 20]), None);
        assert_eq!(uneven(&labels, "training", &[31, 0, 20]), None);
        let said = "from 10 (`b`) to 31 (`a`) training images";
        assert_eq!(uneven(&labels, "training", &[31, 10, 20]).as_deref(), Some(said));
        assert_eq!(uneven(&labels, "test", &[0, 0, 0]), None);
    }

    #[test]
    fn at_most_five_names_stand_in_a_line() {
        assert_eq!(some_of(&["a", "b"]), "`a`, `b`");
        assert_eq!(some_of(&["a", "b", "c", "d", "e", "f"]), "`a`, `b`, `c`, `d`, `e`, ..");
    }

    #[test]
    fn bytes_are_counted_once_for_each_image_that_comes_again() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut seen = SeenBytes::of(2);
        let mut add = |bytes: &[u8], split, path, label| {
            seen.add(crate::digests::digest(bytes), split, path, (label, &names));
        };
        add(b"one", Split::Train, "1.png", 0);
        // the same in one class and split is nobody's business
        add(b"one", Split::Train, "2.png", 0);
        add(b"two", Split::Train, "3.png", 0);
        add(b"two", Split::Train, "4.png", 1);
        add(b"three", Split::Test, "5.png", 0);
        add(b"three", Split::Test, "6.png", 0);
        add(b"two", Split::Test, "7.png", 0);
        add(b"one", Split::Test, "8.png", 1);
        assert_eq!(
            seen.notes(4),
            [
                "test images that are training images too, byte for byte: 2 of 4 (7.png is row 2 of train.parquet); accuracies on \
                 them measure memory",
                "images with the bytes of an image of another class: 2 (4.png is of class `a` and of class `b`); no network is \
                 right on both",
            ]
        );
    }
}
