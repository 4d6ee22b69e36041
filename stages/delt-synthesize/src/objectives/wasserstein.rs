//! The free-support 2-Wasserstein barycenter of one class's real features: the few weighted points that stand for many
//! (WMDD, ICCV 2025, arXiv 2311.18531, section 3.2; Cuturi and Doucet, ICML 2014, algorithms 1 and 2).

use anyhow::Result;
use delt_training::Floats;

use super::shares::Shares;
use super::transport::Transport;

/// Rounds of weights and positions.
const ROUNDS: u32 = 20;

/// Features read at once.
const BLOCK: usize = 256;

/// A few weighted points.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WassersteinBarycenter {
    /// `[points, length]`, row by row.
    pub(super) points: Vec<f32>,
    /// Share of the mass of each point; they sum to 1.
    pub(super) weights: Vec<f64>,
    /// Squared 2-Wasserstein distance to the features.
    pub(super) cost: f64,
}

impl WassersteinBarycenter {
    /// Alternates a projected-subgradient step of the weights and the Newton step of the positions, each from an exact
    /// transport plan, 20 times. The start decides which local minimum is found; nothing is drawn.
    ///
    /// The Newton step is the whole way to the minimum: with a fixed plan the distance is quadratic in the positions.
    ///
    /// Of an image it takes 8 bytes for each point and 24 more, where the features lie in a file.
    ///
    /// # Shapes
    /// `features`: `[images, length]`; `start`: `[points, length]`, no more points than images.
    ///
    /// # Errors
    /// A disk that does not give the features back.
    pub(super) fn of(features: &Floats, start: &[f32], length: usize) -> Result<Self> {
        let count = start.len() / length;
        let mut points = start.to_vec();
        let mut weights = vec![1.0 / count as f64; count];
        for round in 0..ROUNDS {
            let costs = squared_distances(features, &points, length)?;
            let step = subgradient_step(&Transport::solve(&costs, &weights).prices, round);
            let moved: Vec<f64> = weights.iter().zip(step).map(|(weight, step)| weight - step).collect();
            weights = onto_simplex(&moved);
            let plan = Transport::solve(&costs, &weights).plan;
            move_points(&mut points, features, &plan, &weights, length)?;
        }
        let cost = Transport::solve(&squared_distances(features, &points, length)?, &weights).cost;
        Ok(Self { points, weights, cost })
    }
}

/// What to take from the weights: along the prices, centered, with a longest entry of ½ · 1/points at first, falling as
/// 1/round.
fn subgradient_step(prices: &[f64], round: u32) -> Vec<f64> {
    let count = prices.len() as f64;
    let mean = prices.iter().sum::<f64>() / count;
    let longest = prices.iter().map(|price| (price - mean).abs()).fold(0.0, f64::max);
    let scale = if longest > 0.0 { 0.5 / count / longest / f64::from(round + 1) } else { 0.0 };
    prices.iter().map(|price| scale * (price - mean)).collect()
}

/// The nearest weights that are not negative and sum to 1 (Duchi et al., ICML 2008, figure 1).
fn onto_simplex(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (value, count) in sorted.iter().zip(1..) {
        sum += value;
        let candidate = (sum - 1.0) / f64::from(count);
        if value - candidate > 0.0 {
            shift = candidate;
        }
    }
    values.iter().map(|value| (value - shift).max(0.0)).collect()
}

/// Moves each point to the mean of the mass that comes to it; one without mass stays.
fn move_points(
    points: &mut [f32],
    features: &Floats,
    plan: &Shares,
    weights: &[f64],
    length: usize,
) -> Result<()> {
    let mut means = vec![0.0_f64; points.len()];
    each_feature(features, length, |image, feature| {
        for (place, share) in plan.of_point(image) {
            let place = *place as usize;
            let share = share / weights[place];
            if share > 0.0 {
                for (sum, value) in means[place * length..][..length].iter_mut().zip(feature) {
                    *sum += share * f64::from(*value);
                }
            }
        }
    })?;
    let moved = points.chunks_mut(length).zip(means.chunks(length)).zip(weights);
    for ((point, mean), _) in moved.filter(|(_, weight)| **weight * features.len() as f64 > 1e-6) {
        point.iter_mut().zip(mean).for_each(|(value, mean)| *value = *mean as f32);
    }
    Ok(())
}

/// `[images, points]`.
fn squared_distances(features: &Floats, points: &[f32], length: usize) -> Result<Vec<f64>> {
    let distance =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let mut distances = Vec::with_capacity(features.len() * points.len() / length);
    each_feature(features, length, |_, feature| {
        distances.extend(points.chunks(length).map(|point| -> f64 { distance(feature, point) }));
    })?;
    Ok(distances)
}

/// Hands over the features one after the other, each with its number.
fn each_feature(features: &Floats, length: usize, mut each: impl FnMut(usize, &[f32])) -> Result<()> {
    for start in (0..features.len()).step_by(BLOCK) {
        let images: Vec<usize> = (start..features.len().min(start + BLOCK)).collect();
        let rows = features.rows(&images)?;
        images.iter().zip(rows.chunks(length)).for_each(|(image, row)| each(*image, row));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two numbers, in memory.
    fn floats(rows: &[f32]) -> Floats {
        Floats::of(rows, 2).expect("in memory")
    }

    fn barycenter(features: &[f32], start: &[f32]) -> WassersteinBarycenter {
        WassersteinBarycenter::of(&floats(features), start, 2).expect("in memory")
    }

    fn distances(features: &[f32], points: &[f32]) -> Vec<f64> {
        squared_distances(&floats(features), points, 2).expect("in memory")
    }

    #[test]
    fn a_single_point_is_the_mean() {
        let found = barycenter(&[0.0, 1.0, 4.0, 1.0, 2.0, 4.0], &[9.0, 9.0]);
        assert_eq!((found.points, found.weights), (vec![2.0, 2.0], vec![1.0]));
        // squared distances of the three points: 4 + 1, 4 + 1, 0 + 4
        assert!((found.cost - 14.0 / 3.0).abs() < 1e-12, "{}", found.cost);
    }

    #[test]
    fn clusters_of_uneven_size_get_points_at_their_means_and_weights_as_their_shares() {
        // 30 values around 0 and 10 around 100, in two dimensions
        let spread = |i: usize| ((i * 7) % 11) as f32 / 11.0;
        let features: Vec<f32> =
            (0..40).flat_map(|i| [if i % 4 == 3 { 100.0 } else { 0.0 } + spread(i), spread(i + 5)]).collect();
        let mean = |far: bool, axis: usize| {
            let of = (0..40).filter(|i| (i % 4 == 3) == far).map(|i| features[2 * i + axis]);
            of.clone().sum::<f32>() / of.count() as f32
        };
        let found = barycenter(&features, &[40.0, 0.0, 60.0, 0.0]);
        assert!((found.weights[0] - 0.75).abs() < 0.02, "{:?}", found.weights);
        assert!((found.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // the point whose weight is not quite its cluster's share gets some of the other one
        for (at, far) in [(0, false), (1, true)] {
            for axis in 0..2 {
                let (point, mean) = (found.points[2 * at + axis], mean(far, axis));
                assert!((point - mean).abs() < 5.0, "point {at}, axis {axis}: {point}, cluster mean {mean}");
            }
        }
        let quarters = Transport::solve(&distances(&features, &[0.0, 0.0, 100.0, 0.0]), &[0.5, 0.5]);
        assert!(found.cost < quarters.cost / 10.0, "{} against {}", found.cost, quarters.cost);
    }

    #[test]
    fn weights_are_projected_to_the_nearest_that_sum_to_one() {
        assert_eq!(onto_simplex(&[0.5, 0.5]), [0.5, 0.5]);
        assert_eq!(onto_simplex(&[1.0, 1.0]), [0.5, 0.5]);
        assert_eq!(onto_simplex(&[2.0, 0.0, -1.0]), [1.0, 0.0, 0.0]);
        let found = onto_simplex(&[0.6, 0.5, -0.3]);
        assert!(
            (found[0] - 0.55).abs() < 1e-12 && (found[1] - 0.45).abs() < 1e-12 && found[2] == 0.0,
            "{found:?}"
        );
    }
}
