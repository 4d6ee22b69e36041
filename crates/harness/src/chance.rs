//! Whether an accuracy says more than guessing does: the one bound of all notes and verdicts.

use std::collections::BTreeMap;

use anyhow::Result;
use delt_formats::dataset::{DatasetFacts, TEST_FILE};
use delt_images::image_table::{self, Columns};
use delt_images::label_column::Labels;
use delt_store::Entry;
use statrs::distribution::{Binomial, DiscreteCDF};

/// Share of test sets on which guessing stays within the bound.
const CONFIDENCE: f64 = 0.99;

/// What guessing reaches on a test set: always naming its largest class, which is what a network that has collapsed does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chance {
    images: u64,
    /// Share of the largest class.
    share: f64,
    /// Right answers that guessing exceeds on one test set in a hundred.
    bound: u64,
    /// Whether there are enough images: a network that is right twice as often stays within the bound on one test set in a hundred.
    pub is_telling: bool,
}

impl Chance {
    /// Of test images with these labels.
    pub fn of(labels: &[u32]) -> Self {
        let mut per_class: BTreeMap<u32, u64> = BTreeMap::new();
        labels.iter().for_each(|label| *per_class.entry(*label).or_default() += 1);
        let largest = per_class.values().max().copied().unwrap_or(0);
        Self::of_counts(labels.len() as u64, largest)
    }

    /// Of the test images of a data set. Where they are not on this machine, as those of a store in the cloud, of as many of each class
    /// that has training images.
    ///
    /// # Errors
    /// A file or facts that cannot be read.
    pub fn of_dataset(dataset: &Entry) -> Result<Self> {
        Self::of_classes(dataset, |_| true)
    }

    /// Of the test images of some classes, as [`Self::of_dataset`].
    ///
    /// # Errors
    /// As there.
    pub fn of_classes(dataset: &Entry, is_meant: impl Fn(usize) -> bool) -> Result<Self> {
        let (path, classes) = (dataset.dir.join(TEST_FILE), dataset.manifest.provenance.classes.len());
        if path.is_file() {
            let columns = Columns { image: "image".into(), label: "label".into() };
            let file = fs_err::File::open(&path)?.into_file();
            let mut labels = image_table::labels(file, &path, &columns, &Labels::Numbers(classes))?;
            labels.retain(|label| is_meant(*label as usize));
            return Ok(Self::of(&labels));
        }
        let facts: DatasetFacts = dataset.manifest.facts_as()?;
        let (mut in_use, mut meant) = (0, 0);
        for class in (0..).zip(&facts.train_per_class).filter(|(_, images)| **images > 0).map(|(at, _)| at) {
            in_use += 1;
            meant += u64::from(is_meant(class));
        }
        let images = facts.test_images * meant / in_use.max(1);
        Ok(Self::of_counts(images, images.div_ceil(meant.max(1))))
    }

    /// Of so many images, of which so many are of the largest class.
    fn of_counts(images: u64, largest: u64) -> Self {
        let share = largest as f64 / images.max(1) as f64;
        // only a share outside 0..=1 is refused
        let bound = Binomial::new(share, images).map_or(images, |right| right.inverse_cdf(CONFIDENCE));
        // right twice as often, and with few classes half way from chance to all
        let learned = (2.0 * share).min(0.5 * (1.0 + share));
        let missed = Binomial::new(learned, images).map_or(1.0, |right| right.cdf(bound));
        Self { images, share, bound, is_telling: missed <= 1.0 - CONFIDENCE }
    }

    /// Whether guessing may reach a top-1 accuracy, in percent.
    pub fn reaches(&self, top1: f64) -> bool {
        (top1 / 100.0 * self.images as f64).round() <= self.bound as f64
    }
}

impl std::fmt::Display for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = 100.0 * self.bound as f64 / self.images.max(1) as f64;
        let share = 100.0 * self.share;
        write!(f, "guessing reaches up to {bound:.1} %, the share of the largest class is {share:.1} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced(classes: u32, each: usize) -> Chance {
        Chance::of(&(0..classes).flat_map(|label| vec![label; each]).collect::<Vec<_>>())
    }

    #[test]
    fn the_bound_is_that_of_the_binomial_distribution() {
        // sums of binomial probabilities in Python: 0.99 is reached at 124 for n = 10,000 and p = 0.01, at 18 for 100 and 0.1
        let chance = balanced(100, 100);
        assert_eq!((chance.bound, chance.is_telling), (124, true));
        assert!(chance.reaches(1.24) && !chance.reaches(1.25) && chance.reaches(0.0));
        let chance = balanced(10, 10);
        assert_eq!((chance.bound, chance.is_telling), (18, false));
        assert_eq!(
            chance.to_string(),
            "guessing reaches up to 18.0 %, the share of the largest class is 10.0 %"
        );
    }

    #[test]
    fn always_naming_the_largest_class_is_guessing() {
        let labels: Vec<u32> = [vec![0; 900], vec![1; 100]].concat();
        let chance = Chance::of(&labels);
        assert!(chance.reaches(90.0) && chance.reaches(92.0) && !chance.reaches(93.0), "{chance:?}");
    }

    #[test]
    fn few_images_do_not_tell() {
        assert!(!balanced(10, 10).is_telling && balanced(10, 30).is_telling);
        assert!(!balanced(100, 20).is_telling && balanced(100, 50).is_telling);
        assert!(balanced(2, 50).is_telling);
        assert!(!Chance::of(&[]).is_telling);
        assert!(!Chance::of(&[3; 50]).is_telling);
    }
}
