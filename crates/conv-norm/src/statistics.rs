//! Mean and variance per channel, gathered task by task and joined in task order.

use crate::vectors::with_vectors;

/// Number, mean and sum of squared distances from the mean of some values, per channel.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    count: f64,
    mean: Vec<f32>,
    squares: Vec<f32>,
}

impl Partial {
    /// Of channels-last values.
    pub(crate) fn of(values: &[f32], channels: usize) -> Self {
        let pixels = values.len() / channels;
        let mut mean = vec![0.0; channels];
        let mut squares = vec![0.0; channels];
        with_vectors!({
            for pixel in values.chunks_exact(channels) {
                for (sum, value) in mean.iter_mut().zip(pixel) {
                    *sum += value;
                }
            }
            let share = 1.0 / pixels as f32;
            for sum in &mut mean {
                *sum *= share;
            }
            for pixel in values.chunks_exact(channels) {
                for ((sum, value), mean) in squares.iter_mut().zip(pixel).zip(&mean) {
                    let distance = value - mean;
                    *sum += distance * distance;
                }
            }
        });
        Self { count: pixels as f64, mean, squares }
    }
}

/// Mean and biased variance per channel of a whole batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
}

impl Moments {
    /// Joins the parts in their order (Chan, Golub and LeVeque's pairwise update), in 64 bits.
    pub(crate) fn join(parts: &[Partial], channels: usize) -> Self {
        let mut mean = vec![0.0; channels];
        let mut variance = vec![0.0; channels];
        for channel in 0..channels {
            let (mut n, mut m, mut s) = (0.0, 0.0, 0.0);
            for part in parts {
                let distance = f64::from(part.mean[channel]) - m;
                let joined = n + part.count;
                m += distance * part.count / joined;
                s += f64::from(part.squares[channel]) + distance * distance * n * part.count / joined;
                n = joined;
            }
            mean[channel] = m as f32;
            variance[channel] = (s / n) as f32;
        }
        Self { mean, variance }
    }
}

/// Sums of the rows of a table, value by value, in row order and in 64 bits.
pub(crate) fn column_sums(rows: &[Vec<f32>], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_to_the_moments_of_the_whole() {
        let values: Vec<f32> = (0..60).map(|i| ((i * 37) % 23) as f32 + 100.0).collect();
        let whole = Moments::join(&[Partial::of(&values, 3)], 3);
        let parts =
            [Partial::of(&values[..12], 3), Partial::of(&values[12..45], 3), Partial::of(&values[45..], 3)];
        let joined = Moments::join(&parts, 3);
        for channel in 0..3 {
            let own: Vec<f64> = values.iter().skip(channel).step_by(3).map(|v| f64::from(*v)).collect();
            let mean = own.iter().sum::<f64>() / 20.0;
            let variance = own.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20.0;
            for moments in [&whole, &joined] {
                assert!((f64::from(moments.mean[channel]) - mean).abs() < 1e-4);
                assert!((f64::from(moments.variance[channel]) - variance).abs() < 1e-3);
            }
        }
    }
}
