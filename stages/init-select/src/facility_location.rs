//! Diversity-aware selection: of many candidates the few that cover them best, in the ranker's eyes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use delt_formats::dataset::DatasetReader;
use delt_networks::FrozenNetwork;

use crate::scoring::{BATCH, Ranker, batches, decode, rows_of};

/// Penultimate features of the wanted images, each of length 1, by image id.
///
/// # Errors
/// An image that cannot be read, or a device that returns no values.
pub fn unit_features(
    ranker: &Ranker,
    images: &DatasetReader,
    wanted: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, Vec<f32>>> {
    let mut features = BTreeMap::new();
    for batch in batches(rows_of(images, wanted), BATCH) {
        let batch = batch?;
        let pixels = decode(&batch, ranker.size, &ranker.normalization)?;
        for (row, values) in batch.iter().zip(ranker.see(pixels, FrozenNetwork::features)?) {
            features.insert(row.image_id, unit(&values));
        }
    }
    Ok(features)
}

fn unit(values: &[f32]) -> Vec<f32> {
    let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1e-12);
    values.iter().map(|value| (f64::from(*value) / norm) as f32).collect()
}

/// Places of the `n` candidates that greedily raise the facility-location value most, in the order in which they are taken: the
/// sum over all candidates of the largest cosine to one that is taken. Of equal gains the first wins; greedy is within 1 - 1/e of
/// the best (Nemhauser, Wolsey and Fisher, 1978).
///
/// # Shapes
/// `features`: one vector of length 1 for each candidate, at least `n`.
pub fn cover(features: &[&[f32]], n: usize) -> Vec<usize> {
    let cosine = |a: usize, b: usize| -> f64 {
        features[a].iter().zip(features[b]).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let count = features.len();
    let cosines: Vec<Vec<f64>> = (0..count).map(|a| (0..count).map(|b| cosine(a, b)).collect()).collect();
    // -1 is the least that a cosine can be, so that the first gains of all candidates compare
    let mut covered = vec![-1.0_f64; count];
    let mut taken = Vec::with_capacity(n);
    while taken.len() < n.min(count) {
        let gain = |candidate: usize| -> f64 {
            covered.iter().zip(&cosines[candidate]).map(|(best, cosine)| (cosine - best).max(0.0)).sum()
        };
        let free = (0..count).filter(|candidate| !taken.contains(candidate));
        let best = free
            .map(|candidate| (candidate, gain(candidate)))
            .reduce(|best, other| if other.1 > best.1 { other } else { best });
        let Some((candidate, _)) = best else { break };
        for (best, cosine) in covered.iter_mut().zip(&cosines[candidate]) {
            *best = best.max(*cosine);
        }
        taken.push(candidate);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_of_like_candidates_gives_one_the_largest_first() {
        let at = |degrees: f32| {
            let angle = degrees.to_radians();
            unit(&[angle.cos(), angle.sin()])
        };
        // three near 0 degrees, two near 90, one at 180
        let candidates = [at(91.0), at(2.0), at(0.0), at(89.0), at(1.0), at(180.0)];
        let features: Vec<&[f32]> = candidates.iter().map(Vec::as_slice).collect();
        let taken = cover(&features, 3);
        assert_eq!(taken.len(), 3);
        let group = |place: &usize| match place {
            1 | 2 | 4 => 'a',
            0 | 3 => 'b',
            _ => 'c',
        };
        let mut groups: Vec<char> = taken.iter().map(group).collect();
        groups.sort_unstable();
        assert_eq!(groups, ['a', 'b', 'c']);
        // as many as there are, and never one twice
        let mut all = cover(&features, 6);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_first_taken_is_the_one_nearest_to_all() {
        let candidates = [unit(&[1.0, 0.0]), unit(&[1.0, 1.0]), unit(&[0.0, 1.0])];
        let features: Vec<&[f32]> = candidates.iter().map(Vec::as_slice).collect();
        assert_eq!(cover(&features, 1), [1]);
    }
}
