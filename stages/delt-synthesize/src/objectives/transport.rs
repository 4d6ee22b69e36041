//! Exact optimal transport from many equal points to a few weighted places.

use super::shares::Shares;

/// The cheapest way to bring points of equal mass to a few places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transport {
    /// Share of all mass that goes from a point to a place: those of a point sum to 1 / points, those of a place to its weight.
    pub(super) plan: Shares,
    /// Dual variable of each place: how the cost grows with the place's weight, up to a constant.
    pub(super) prices: Vec<f64>,
    /// Σ plan · cost.
    pub(super) cost: f64,
}

impl Transport {
    /// Solves the problem for `costs`, `[points, places]`, and the `weights` of the places, which sum to 1.
    ///
    /// By successive shortest paths: each point goes where it is cheapest when those before it may be sent on from place to
    /// place. Exact within rounding, and without draws. About points · (places² + points) operations; beside the costs about
    /// 24 bytes a point.
    pub(super) fn solve(costs: &[f64], weights: &[f64]) -> Self {
        let places = weights.len();
        let points = costs.len() / places;
        let mut room: Vec<f64> = weights.iter().map(|weight| weight * points as f64).collect();
        let mut flow = Flow::new(costs, places);
        for point in 0..points {
            let mut left = 1.0;
            while left > NOTHING {
                let (distance, before) = flow.shortest(point);
                let open = (0..places).filter(|place| room[*place] > NOTHING);
                // what rounding leaves of the last points has no room anywhere
                let Some(end) = open.min_by(|a, b| distance[*a].total_cmp(&distance[*b])) else { break };
                let mass = flow.push(point, end, &before, left.min(room[end]));
                room[end] -= mass;
                left -= mass;
            }
        }
        let prices = flow.prices();
        let plan = flow.sent.divided_by(points as f64);
        let of_point = |(point, costs): (usize, &[f64])| {
            plan.of_point(point)
                .iter()
                .map(|(place, share)| share * costs[*place as usize])
                .collect::<Vec<_>>()
        };
        let cost = costs.chunks(places).enumerate().flat_map(of_point).sum();
        Self { plan, prices, cost }
    }
}

/// Mass of a point below which there is none.
const NOTHING: f64 = 1e-9;

/// Where the points seen so far have gone; each has mass 1.
struct Flow<'a> {
    costs: &'a [f64],
    places: usize,
    /// What a distance must shrink by to count.
    least: f64,
    sent: Shares,
    /// Points that have mass at a place, as they came.
    present: Vec<Vec<u32>>,
    /// What it costs least to send a point on from one place to another, and which point that is; `[places, places]`.
    moves: Vec<Option<(f64, usize)>>,
}

impl<'a> Flow<'a> {
    fn new(costs: &'a [f64], places: usize) -> Self {
        let (present, moves) = (vec![Vec::new(); places], vec![None; places * places]);
        let least = NOTHING * costs.iter().fold(0.0_f64, |most, cost| most.max(cost.abs()));
        Self { costs, places, least, sent: Shares::of(costs.len() / places), present, moves }
    }

    /// Lets distances shrink along the moves until none does; `before` gets the place that each was reached from.
    fn relax(&self, distance: &mut [f64], before: &mut [Option<usize>]) {
        // a shortest path visits no place twice
        for _ in 0..self.places {
            let mut is_done = true;
            for from in 0..self.places {
                for to in 0..self.places {
                    if let Some((cost, _)) = self.moves[from * self.places + to]
                        && distance[from] + cost < distance[to] - self.least
                    {
                        distance[to] = distance[from] + cost;
                        before[to] = Some(from);
                        is_done = false;
                    }
                }
            }
            if is_done {
                return;
            }
        }
    }

    /// The cost of each place for a new point, when others may be sent on, and the way there.
    fn shortest(&self, point: usize) -> (Vec<f64>, Vec<Option<usize>>) {
        let mut distance = self.costs[point * self.places..][..self.places].to_vec();
        let mut before = vec![None; self.places];
        self.relax(&mut distance, &mut before);
        (distance, before)
    }

    /// Sends at most `most` of a point along a path; returns how much it was.
    fn push(&mut self, point: usize, end: usize, before: &[Option<usize>], most: f64) -> f64 {
        let (mut steps, mut first) = (Vec::new(), end);
        while let Some(from) = before[first].filter(|_| steps.len() < self.places) {
            if let Some((_, moved)) = self.moves[from * self.places + first] {
                steps.push((moved, from, first));
            }
            first = from;
        }
        let mass = steps.iter().fold(most, |mass, (moved, from, _)| mass.min(self.sent.at(*moved, *from)));
        for (moved, from, to) in steps {
            let left = self.sent.add(moved, from, -mass);
            self.arrive(moved, to, mass);
            if left <= NOTHING {
                self.present[from].retain(|present| *present as usize != moved);
                self.count_moves(from, moved);
            }
        }
        self.arrive(point, first, mass);
        mass
    }

    fn arrive(&mut self, point: usize, place: usize, mass: f64) {
        let before = self.sent.at(point, place);
        self.sent.add(point, place, mass);
        if before <= NOTHING {
            self.present[place].push(point as u32);
            self.offer(point, place);
        }
    }

    /// Takes in what it costs to send a point on from a place.
    fn offer(&mut self, point: usize, from: usize) {
        let costs = &self.costs[point * self.places..][..self.places];
        for (to, cost) in costs.iter().enumerate() {
            let (best, cost) = (&mut self.moves[from * self.places + to], cost - costs[from]);
            if to != from && best.is_none_or(|(least, _)| cost < least) {
                *best = Some((cost, point));
            }
        }
    }

    /// Looks again for what costs least where that was a point that is gone.
    fn count_moves(&mut self, from: usize, gone: usize) {
        for to in 0..self.places {
            let best = &mut self.moves[from * self.places + to];
            if best.is_some_and(|(_, point)| point == gone) {
                let cost = |point: &u32| {
                    let costs = &self.costs[*point as usize * self.places..][..self.places];
                    (costs[to] - costs[from], *point as usize)
                };
                // of several the first that came, as where they are offered
                *best = self.present[from].iter().map(cost).min_by(|a, b| a.0.total_cmp(&b.0));
            }
        }
    }

    /// Prices φ with c(i, j) − φ(j) least at the places where i is.
    fn prices(&self) -> Vec<f64> {
        let mut prices = vec![0.0; self.places];
        self.relax(&mut prices, &mut vec![None; self.places]);
        prices
    }
}

#[cfg(test)]
mod tests {
    use delt_augment::draws::Draws;
    use rand::RngExt;

    use super::*;

    fn costs(points: usize, places: usize, seed: u64) -> Vec<f64> {
        let mut rng = Draws::new(seed).stream("costs", 0, 0);
        (0..points * places).map(|_| rng.random_range(0.0..10.0)).collect()
    }

    /// The least cost over all ways to give each place the same number of points.
    fn by_trial(costs: &[f64], room: &mut [usize], point: usize) -> f64 {
        let places = room.len();
        if point * places == costs.len() {
            return 0.0;
        }
        let mut least = f64::INFINITY;
        for place in 0..places {
            if room[place] > 0 {
                room[place] -= 1;
                least = least.min(costs[point * places + place] + by_trial(costs, room, point + 1));
                room[place] += 1;
            }
        }
        least
    }

    #[test]
    fn equal_weights_cost_what_the_best_of_all_assignments_costs() {
        for seed in 0..20 {
            let costs = costs(9, 3, seed);
            let least = by_trial(&costs, &mut [3; 3], 0) / 9.0;
            let found = Transport::solve(&costs, &[1.0 / 3.0; 3]).cost;
            assert!((found - least).abs() < 1e-9, "seed {seed}: {found}, expected {least}");
        }
    }

    #[test]
    fn uneven_weights_are_kept_and_the_prices_prove_that_nothing_is_cheaper() {
        let weights = [0.37, 0.05, 0.0, 0.33, 0.25];
        for seed in 0..20 {
            let costs = costs(40, 5, seed);
            let Transport { plan, prices, cost } = Transport::solve(&costs, &weights);
            for point in 0..40 {
                let sum: f64 = plan.of_point(point).iter().map(|(_, share)| share).sum();
                assert!((sum - 1.0 / 40.0).abs() < 1e-9);
            }
            for (place, weight) in weights.iter().enumerate() {
                let column: f64 = (0..40).map(|point| plan.at(point, place)).sum();
                assert!((column - weight).abs() < 1e-8, "seed {seed}, place {place}: {column}");
            }
            // weak duality: no plan costs less than this
            let least = |row: &[f64]| {
                row.iter().zip(&prices).map(|(cost, price)| cost - price).fold(f64::INFINITY, f64::min)
            };
            let bound = costs.chunks(5).map(least).sum::<f64>() / 40.0
                + weights.iter().zip(&prices).map(|(weight, price)| weight * price).sum::<f64>();
            assert!((cost - bound).abs() < 1e-6, "seed {seed}: cost {cost}, bound {bound}");
        }
    }

    #[test]
    fn many_points_go_where_a_dense_plan_sent_them_to_the_bit() {
        for (points, places, expected) in [
            (2000, 10, (0xb0a1_c5c4_5868_3e7a, 0x3ff1_d638_a34c_a777)),
            (500, 50, (0x70aa_26da_2d87_116f, 0x3fd0_eaea_4168_8064)),
        ] {
            let costs = costs(points, places, 3);
            let shares: Vec<f64> = (1..=places).map(|at| at as f64).collect();
            let weights: Vec<f64> = shares.iter().map(|share| share / shares.iter().sum::<f64>()).collect();
            let found = Transport::solve(&costs, &weights);
            let (mut all, mut count) = (0_u64, 0);
            let mut add = |bits: u64| all = all.wrapping_mul(31).wrapping_add(bits);
            for point in 0..points {
                for (place, share) in found.plan.of_point(point) {
                    add(share.to_bits() ^ (point * places + *place as usize) as u64);
                    count += 1;
                }
            }
            found.prices.iter().for_each(|price| add(price.to_bits()));
            assert_eq!((all, found.cost.to_bits()), expected, "{points} points");
            // nearly every point is at one place
            assert!(count < points + 2 * places, "{count} shares");
        }
    }
}
