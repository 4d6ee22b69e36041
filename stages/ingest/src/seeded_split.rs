//! A training and a test split for sources that have none.

use std::path::Path;

use crate::digests::digest;
use crate::error::{IngestError, Result};
use crate::source::Split;

/// Refuses the settings of a split beside test images that are there: they would change nothing.
///
/// # Errors
/// Names the setting and `test`, the folder or the first file of test images.
pub fn refuse_beside(test: &Path, fraction: Option<f64>, seed: Option<u64>) -> Result<()> {
    let setting = match (fraction, seed) {
        (Some(fraction), _) => format!("`ingest.source.test_fraction` {fraction}"),
        (None, Some(seed)) => format!("`ingest.source.split_seed` {seed}"),
        (None, None) => return Ok(()),
    };
    let problem = format!(
        "holds the test images, and {setting} asks for a split beside them; leave test_fraction and split_seed out to test \
         on these, or move these away"
    );
    Err(IngestError::layout(test, problem))
}

/// A split of each class by a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeededSplit {
    /// Share of each class that becomes the test split.
    pub fraction: f64,
    /// Seed of the split.
    pub seed: u64,
}

impl SeededSplit {
    /// The split that a section asks for, where it gives both settings.
    pub fn of(fraction: Option<f64>, seed: Option<u64>) -> Option<Self> {
        Some(Self { fraction: fraction?, seed: seed? })
    }

    /// What to give for a split, where a section gives none or one of its settings.
    pub fn cure(fraction: Option<f64>, seed: Option<u64>) -> &'static str {
        match (fraction, seed) {
            (Some(_), None) => {
                "for a split of its own give `ingest.source.split_seed` beside `ingest.source.test_fraction`, e.g. 0"
            }
            (None, Some(_)) => {
                "for a split of its own give `ingest.source.test_fraction` beside `ingest.source.split_seed`, e.g. 0.2"
            }
            _ => {
                "for a split of its own give `ingest.source.test_fraction` and `ingest.source.split_seed`, e.g. 0.2 and 0"
            }
        }
    }

    /// The split of each of a class's images.
    ///
    /// Images are ranked by BLAKE3 over seed and name, and the first `fraction` of them (rounded, but at least one and
    /// never all) are test images: no image's rank depends on how the folder was listed or on the other images.
    /// `None` if the class has fewer than two images.
    pub fn of_class(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Vec<Split>> {
        let ranked = names.into_iter().zip(0_u32..).map(|(name, at)| (rank(self.seed, name.as_ref()), at));
        let mut ranked: Vec<(u64, u32)> = ranked.collect();
        ranked.sort_unstable();
        let mut splits = vec![Split::Train; ranked.len()];
        ranked[..self.wanted(ranked.len())?].iter().for_each(|(_, at)| splits[*at as usize] = Split::Test);
        Some(splits)
    }

    /// The split of each row of a table, given the labels of all and the name of each, in order.
    ///
    /// # Errors
    /// A class of one row; `path` names the table.
    pub fn of_rows(
        self,
        labels: &[u32],
        names: impl IntoIterator<Item = impl AsRef<str>>,
        classes: &[String],
        path: &Path,
    ) -> Result<Vec<Split>> {
        let mut ranked = Vec::with_capacity(labels.len());
        for ((row, label), name) in (0_u32..).zip(labels).zip(names) {
            ranked.push((*label, rank(self.seed, name.as_ref()), row));
        }
        ranked.sort_unstable();
        let mut splits = vec![Split::Train; labels.len()];
        for of_class in ranked.chunk_by(|a, b| a.0 == b.0) {
            let Some(wanted) = self.wanted(of_class.len()) else {
                let name = &classes[of_class[0].0 as usize];
                let problem =
                    format!("has 1 row of class `{name}`, expected at least 2 to split them; add some");
                return Err(IngestError::layout(path, problem));
            };
            of_class[..wanted].iter().for_each(|(.., row)| splits[*row as usize] = Split::Test);
        }
        Ok(splits)
    }

    /// How many of a class's images are test images.
    fn wanted(self, images: usize) -> Option<usize> {
        let share = (images as f64 * self.fraction).round() as usize;
        (images > 1).then(|| share.clamp(1, images - 1))
    }
}

/// The first bytes of the digest, which tell millions of names apart.
fn rank(seed: u64, name: &str) -> u64 {
    digest(&[b"test split", &seed.to_le_bytes()[..], name.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

    fn split(names: &[&str], fraction: f64, seed: u64) -> Vec<Split> {
        SeededSplit { fraction, seed }.of_class(names).expect("splits")
    }

    fn tested(splits: &[Split]) -> usize {
        splits.iter().filter(|split| **split == Split::Test).count()
    }

    #[test]
    fn the_share_is_met_and_the_seed_decides() {
        let first = split(&NAMES, 0.3, 0);
        assert_eq!(tested(&first), 3);
        assert_eq!(split(&NAMES, 0.3, 0), first);
        assert!((1..20).any(|seed| split(&NAMES, 0.3, seed) != first));
    }

    #[test]
    fn listing_order_does_not_matter() {
        let forward = split(&NAMES, 0.5, 7);
        let reversed: Vec<&str> = NAMES.into_iter().rev().collect();
        let mut backward = split(&reversed, 0.5, 7);
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn both_splits_keep_an_image_and_one_image_cannot_be_split() {
        assert_eq!(tested(&split(&NAMES[..2], 0.01, 0)), 1);
        assert_eq!(tested(&split(&NAMES[..2], 0.99, 0)), 1);
        assert_eq!(SeededSplit { fraction: 0.5, seed: 0 }.of_class(&NAMES[..1]), None);
    }

    #[test]
    fn rows_are_split_class_by_class_and_a_class_without_rows_is_no_matter() {
        let (half, labels) = (SeededSplit { fraction: 0.5, seed: 7 }, [0, 2, 2, 0, 2, 2]);
        let rows = |labels: &[u32]| {
            let classes = ["cat", "none", "dog"].map(str::to_owned);
            half.of_rows(labels, NAMES, &classes, Path::new("t.parquet"))
        };
        let splits = rows(&labels).expect("splits");
        assert_eq!([splits[0], splits[3]].to_vec(), split(&["a", "d"], 0.5, 7));
        assert_eq!([1, 2, 4, 5].map(|row| splits[row]).to_vec(), split(&["b", "c", "e", "f"], 0.5, 7));
        assert_eq!(
            rows(&labels[..2]).expect_err("one cat").to_string(),
            "t.parquet: has 1 row of class `cat`, expected at least 2 to split them; add some"
        );
    }
}
