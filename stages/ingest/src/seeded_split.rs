//! A training and a test split for sources that have none.

use std::path::Path;

use crate::error::{IngestError, Result};

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

/// For each of a class's pictures, whether it becomes a test image.
///
/// Pictures are ranked by BLAKE3 over seed and path, and the first `fraction` of them (rounded, but at least one and
/// never all) are test images: no picture's rank depends on how the folder was listed or on the other pictures.
/// `None` if the class has fewer than two pictures.
pub fn is_test(paths: &[&str], fraction: f64, seed: u64) -> Option<Vec<bool>> {
    if paths.len() < 2 {
        return None;
    }
    let wanted = ((paths.len() as f64 * fraction).round() as usize).clamp(1, paths.len() - 1);
    let mut ranked: Vec<([u8; 32], usize)> =
        paths.iter().enumerate().map(|(index, path)| (rank(seed, path), index)).collect();
    ranked.sort_unstable();
    let mut is_test = vec![false; paths.len()];
    for (_, index) in &ranked[..wanted] {
        is_test[*index] = true;
    }
    Some(is_test)
}

fn rank(seed: u64, path: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"test split");
    hasher.update(&seed.to_le_bytes());
    hasher.update(path.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

    #[test]
    fn the_share_is_met_and_the_seed_decides() {
        let first = is_test(&PATHS, 0.3, 0).expect("splits");
        assert_eq!(first.iter().filter(|t| **t).count(), 3);
        assert_eq!(is_test(&PATHS, 0.3, 0).expect("splits"), first);
        assert!((1..20).any(|seed| is_test(&PATHS, 0.3, seed).expect("splits") != first));
    }

    #[test]
    fn listing_order_does_not_matter() {
        let forward = is_test(&PATHS, 0.5, 7).expect("splits");
        let reversed: Vec<&str> = PATHS.into_iter().rev().collect();
        let mut backward = is_test(&reversed, 0.5, 7).expect("splits");
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn both_splits_keep_an_image_and_one_image_cannot_be_split() {
        assert_eq!(is_test(&PATHS[..2], 0.01, 0).expect("splits").iter().filter(|t| **t).count(), 1);
        assert_eq!(is_test(&PATHS[..2], 0.99, 0).expect("splits").iter().filter(|t| **t).count(), 1);
        assert_eq!(is_test(&PATHS[..1], 0.5, 0), None);
    }
}
