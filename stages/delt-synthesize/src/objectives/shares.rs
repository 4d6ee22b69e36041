//! How much of each of many points goes to which of a few places: nearly all go to one, so 16 bytes each.

use std::collections::BTreeMap;

/// Mass of points at places; each point has some.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shares {
    /// Of each point the place that has it all, and how much that is; of a point that is split, [`SPLIT`].
    whole: Vec<(u32, f64)>,
    /// The places of the points that are split, in ascending order.
    split: BTreeMap<u32, Vec<(u32, f64)>>,
}

/// In the place of a place.
const SPLIT: u32 = u32::MAX;

impl Shares {
    /// Of so many points, which are nowhere yet.
    pub(super) fn of(points: usize) -> Self {
        Self { whole: vec![(0, 0.0); points], split: BTreeMap::new() }
    }

    /// The places of a point with its mass there, in ascending order.
    pub(super) fn of_point(&self, point: usize) -> &[(u32, f64)] {
        match &self.whole[point] {
            (SPLIT, _) => &self.split[&(point as u32)],
            (_, 0.0) => &[],
            whole => std::slice::from_ref(whole),
        }
    }

    /// The mass of a point at a place.
    pub(super) fn at(&self, point: usize, place: usize) -> f64 {
        let found = self.of_point(point).iter().find(|(at, _)| *at as usize == place);
        found.map_or(0.0, |(_, mass)| *mass)
    }

    /// Adds to the mass of a point at a place; returns what is there then.
    pub(super) fn add(&mut self, point: usize, place: usize, mass: f64) -> f64 {
        let sum = self.at(point, place) + mass;
        let mut places = self.of_point(point).to_vec();
        places.retain(|(at, _)| *at as usize != place);
        if sum != 0.0 {
            let next = places.partition_point(|(at, _)| (*at as usize) < place);
            places.insert(next, (place as u32, sum));
        }
        let is_split = places.len() > 1;
        self.whole[point] = if is_split { (SPLIT, 0.0) } else { places.pop().unwrap_or((0, 0.0)) };
        if is_split {
            self.split.insert(point as u32, places);
        } else {
            self.split.remove(&(point as u32));
        }
        sum
    }

    /// All masses divided.
    pub(super) fn divided_by(mut self, by: f64) -> Self {
        let split = self.split.values_mut().flatten();
        self.whole.iter_mut().chain(split).for_each(|(_, mass)| *mass /= by);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_may_be_split_and_joined_again() {
        let mut shares = Shares::of(2);
        assert_eq!(shares.of_point(0), []);
        shares.add(0, 3, 1.0);
        shares.add(0, 3, -0.25);
        assert_eq!(shares.add(0, 1, 0.25), 0.25);
        assert_eq!(shares.of_point(0), [(1, 0.25), (3, 0.75)]);
        assert_eq!([0, 1, 3].map(|place| shares.at(0, place)), [0.0, 0.25, 0.75]);
        assert_eq!(shares.clone().divided_by(2.0).of_point(0), [(1, 0.125), (3, 0.375)]);
        shares.add(0, 3, -0.75);
        assert_eq!((shares.of_point(0), shares.of_point(1)), (&[(1, 0.25)][..], &[][..]));
        assert!(shares.split.is_empty());
    }
}
