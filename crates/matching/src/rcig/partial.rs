//! Backward passes through some of the synthetic images only, drawn anew for each: large sets.

use delt_augment::draws::Draws;
use rand::Rng;
use rand::seq::index;

/// Passes whose mean the gradient of the outer loss is where each goes through some images only, as published.
const PASSES: usize = 2;

/// Which images the backward passes of an iteration go through.
#[derive(Debug)]
pub struct Partial {
    /// How many of how many, by which draws; none: all.
    some: Option<(usize, usize, Box<dyn DebugRng>)>,
}

/// A pass of which the mean is taken.
#[derive(Debug)]
pub(super) struct Pass {
    /// Its images; none: all.
    pub(super) rows: Option<Vec<usize>>,
    /// Its share in the mean.
    pub(super) share: f64,
}

trait DebugRng: Rng + std::fmt::Debug {}
impl<T: Rng + std::fmt::Debug> DebugRng for T {}

impl Partial {
    /// All images in every pass.
    pub fn all() -> Self {
        Self { some: None }
    }

    /// `count` of `images` images, drawn by iteration; all where that is no fewer.
    pub fn of(count: Option<u32>, images: usize, draws: &Draws, iteration: u32) -> Self {
        let count = count.map(|count| count as usize).filter(|count| *count < images);
        let rng = || Box::new(draws.stream("partial", iteration.into(), 0)) as Box<dyn DebugRng>;
        Self { some: count.map(|count| (count, images, rng())) }
    }

    /// Images of the next pass.
    pub(super) fn rows(&mut self) -> Option<Vec<usize>> {
        let (count, images, rng) = self.some.as_mut()?;
        let mut rows = index::sample(rng, *images, *count).into_vec();
        rows.sort_unstable();
        Some(rows)
    }

    /// Passes of which the mean is taken.
    pub(super) fn passes(&mut self) -> Vec<Pass> {
        match self.some {
            None => vec![Pass { rows: None, share: 1.0 }],
            Some(_) => (0..PASSES).map(|_| Pass { rows: self.rows(), share: 1.0 / PASSES as f64 }).collect(),
        }
    }
}
