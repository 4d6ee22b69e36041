//! Random moments and places, by seed.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Draws(u64);

impl Draws {
    /// The draws of one scenario.
    pub(crate) fn new(seed: u64, scenario: u64) -> Self {
        Self(seed.wrapping_add(scenario.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether an event of this probability happens.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// From 0 up to below `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_of_their_seed_and_scenario() {
        let of = |seed, scenario| Draws::new(seed, scenario).next();
        assert_eq!(of(1, 2), of(1, 2));
        assert_ne!(of(1, 2), of(1, 3));
        assert_ne!(of(1, 2), of(2, 2));
        let mut draws = Draws::new(7, 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&draws.unit()) && draws.below(3) < 3));
    }
}
