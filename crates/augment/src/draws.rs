//! Random streams that depend on what is drawn, never on when or where.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{StandardNormal, StandardUniform};

/// The source of all draws of one stage.
///
/// A stream is a pure function of (seed, purpose, a, b): a resumed run, another thread count or another shard draws the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
}

impl Draws {
    /// Creates the source for a stage's seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Opens the stream for `purpose` and two counters, such as epoch and image.
    pub fn stream(&self, purpose: &str, a: u64, b: u64) -> ChaCha8Rng {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&a.to_le_bytes());
        hasher.update(&b.to_le_bytes());
        // Last, and the only part of variable length: two different draws never hash the same bytes.
        hasher.update(purpose.as_bytes());
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }
}

/// Draws standard normal values without end: noise for images and weights.
pub fn standard_normal(rng: ChaCha8Rng) -> impl Iterator<Item = f32> {
    rng.sample_iter(StandardNormal)
}

/// Draws numbers in 0..1 without end.
pub fn uniform(rng: ChaCha8Rng) -> impl Iterator<Item = f32> {
    rng.sample_iter(StandardUniform)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let values: Vec<f32> = standard_normal(Draws::new(1).stream("noise", 0, 0)).take(100_000).collect();
        let mean = values.iter().sum::<f32>() / 100_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / 100_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02);
    }

    #[test]
    fn equal_names_give_equal_streams_and_any_change_gives_another() {
        let first = Draws::new(3407).stream("crop", 1, 2).next_u64();
        assert_eq!(first, Draws::new(3407).stream("crop", 1, 2).next_u64());
        for other in [
            Draws::new(3408).stream("crop", 1, 2).next_u64(),
            Draws::new(3407).stream("flip", 1, 2).next_u64(),
            Draws::new(3407).stream("crop", 2, 1).next_u64(),
            Draws::new(3407).stream("crop", 1, 3).next_u64(),
        ] {
            assert_ne!(first, other);
        }
    }
}
