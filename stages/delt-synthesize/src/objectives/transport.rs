//! Exact optimal transport from many equal points to a few weighted places.

/// The cheapest way to bring points of equal mass to a few places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transport {
    /// Share of all mass that goes from a point to a place, `[points, places]`: each row sums to 1 / points, each column to
    /// the weight of its place.
    pub(super) plan: Vec<f64>,
    /// Dual variable of each place: how the cost grows with the place's weight, up to a constant.
    pub(super) prices: Vec<f64>,
    /// Σ plan · cost.
    pub(super) cost: f64,
}

impl Transport {
    /// Solves the problem for `costs`, `[points, places]`, and the `weights` of the places, which sum to 1.
    ///
    /// By successive shortest paths: each point goes where it is cheapest when those before it may be sent on from place to
    /// place. Exact within rounding, and without draws. About points · (places² + points) operations.
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
        let plan: Vec<f64> = flow.sent.iter().map(|sent| sent / points as f64).collect();
        let cost = plan.iter().zip(costs).map(|(share, cost)| share * cost).sum();
        Self { prices: flow.prices(), plan, cost }
    }
}

/// Mass of a point below which there is none.
const NOTHING: f64 = 1e-9;

/// Where the points seen so far have gone; each has mass 1.
struct Flow<'a> {
    costs: &'a [f64],
    places: usize,
    /// `[points, places]`.
    sent: Vec<f64>,
    /// Points that have mass at a place.
    present: Vec<Vec<usize>>,
    /// What it costs least to send a point on from one place to another, and which point that is; `[places, places]`.
    moves: Vec<Option<(f64, usize)>>,
}

impl<'a> Flow<'a> {
    fn new(costs: &'a [f64], places: usize) -> Self {
        let (present, moves) = (vec![Vec::new(); places], vec![None; places * places]);
        Self { costs, places, sent: vec![0.0; costs.len()], present, moves }
    }

    /// Lets distances shrink along the moves until none does; `before` gets the place that each was reached from.
    fn relax(&self, distance: &mut [f64], before: &mut [Option<usize>]) {
        let least = NOTHING * self.costs.iter().fold(0.0_f64, |most, cost| most.max(cost.abs()));
        // a shortest path visits no place twice
        for _ in 0..self.places {
            let mut is_done = true;
            for from in 0..self.places {
                for to in 0..self.places {
                    if let Some((cost, _)) = self.moves[from * self.places + to]
                        && distance[from] + cost < distance[to] - least
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
        let mass =
            steps.iter().fold(most, |mass, (moved, from, _)| mass.min(self.sent[moved * self.places + from]));
        for (moved, from, to) in steps {
            self.sent[moved * self.places + from] -= mass;
            self.arrive(moved, to, mass);
            if self.sent[moved * self.places + from] <= NOTHING {
                self.present[from].retain(|present| *present != moved);
                self.count_moves(from);
            }
        }
        self.arrive(point, first, mass);
        mass
    }

    fn arrive(&mut self, point: usize, place: usize, mass: f64) {
        self.sent[point * self.places + place] += mass;
        if !self.present[place].contains(&point) {
            self.present[place].push(point);
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

    fn count_moves(&mut self, from: usize) {
        self.moves[from * self.places..][..self.places].fill(None);
        for at in 0..self.present[from].len() {
            self.offer(self.present[from][at], from);
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
            for point in plan.chunks(5) {
                assert!((point.iter().sum::<f64>() - 1.0 / 40.0).abs() < 1e-9);
            }
            for (place, weight) in weights.iter().enumerate() {
                let column: f64 = plan.iter().skip(place).step_by(5).sum();
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
}
