//! Which images a student takes in which step, and at what learning rate: pure numbers, drawn by (seed, epoch).

use std::collections::BTreeMap;

use delt_augment::Draws;
use delt_pipeline::config::given::{Batch, Budget, Given, GivenOptimizer};
use delt_training::schedule::warm_cosine;
use rand::seq::SliceRandom;

/// The steps of one student.
#[derive(Debug)]
pub struct Timetable<'a> {
    given: &'a Given,
    draws: Draws,
    /// Indices of the images, mirror images behind all others: together, or by class where a step takes some of each.
    groups: Vec<Vec<usize>>,
    /// Images of a step from each group.
    taken: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
}

impl<'a> Timetable<'a> {
    /// The steps by a recipe over images of these classes.
    pub fn new(given: &'a Given, labels: &[u32], seed: u64) -> Self {
        let copies = if given.mirror { 2 } else { 1 };
        let images = labels.len() * copies;
        let mut by_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, label) in (0..images).zip(labels.iter().cycle()) {
            by_class.entry(*label).or_default().push(index);
        }
        let (groups, taken) = match given.batch {
            Batch::All => (vec![(0..images).collect()], images),
            Batch::Images(taken) => (vec![(0..images).collect()], taken as usize),
            Batch::OfEachClass(taken) => (by_class.into_values().collect(), taken as usize),
        };
        let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
        let steps_per_epoch = longest.div_ceil(taken.max(1)) as u64;
        Self { given, draws: Draws::new(seed), groups, taken: taken.max(1), steps_per_epoch }
    }

    /// Steps of the whole training.
    pub fn steps(&self) -> u64 {
        self.steps_after(self.given.budget.units())
    }

    /// Steps of so many epochs or steps.
    pub fn steps_after(&self, units: u32) -> u64 {
        match self.given.budget {
            Budget::Epochs(_) => u64::from(units) * self.steps_per_epoch,
            Budget::Steps(_) => u64::from(units),
        }
    }

    /// The images of each step of an epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut groups = self.groups.clone();
        if self.given.batch != Batch::All {
            for (group, number) in groups.iter_mut().zip(0..) {
                group.shuffle(&mut self.draws.stream("given order", epoch, number));
            }
        }
        let step = |step: u64| {
            let chunks = groups.iter().filter_map(|group| group.chunks(self.taken).nth(step as usize));
            chunks.flatten().copied().collect()
        };
        (0..self.steps_per_epoch).map(step).collect()
    }

    /// Images of so many steps.
    pub fn images_of(&self, steps: u64) -> u64 {
        let sizes: Vec<u64> = self.epoch(0).iter().map(|step| step.len() as u64).collect();
        let (epochs, rest) = (steps / self.steps_per_epoch.max(1), steps % self.steps_per_epoch.max(1));
        epochs * sizes.iter().sum::<u64>() + sizes.iter().take(rest as usize).sum::<u64>()
    }

    /// The share of the peak learning rate in a step.
    pub fn lr_share(&self, step: u64) -> f64 {
        match self.given.optimizer {
            GivenOptimizer::Sgd { drop: Some(drop), .. } if step >= self.steps_after(drop.after) => {
                drop.factor
            }
            GivenOptimizer::Adam { schedule: Some(it), .. } => {
                warm_cosine(step, self.steps(), u64::from(it.warmup_steps), it.final_share)
            }
            _ => 1.0,
        }
    }

    /// Whether momentum starts anew before a step.
    pub fn is_restart(&self, step: u64) -> bool {
        matches!(self.given.optimizer, GivenOptimizer::Sgd { drop: Some(drop), .. } if step == self.steps_after(drop.after))
    }

    /// The stream of a step's views.
    pub fn view_draws(&self, step: u64) -> impl rand::Rng + use<> {
        self.draws.stream("given views", step, 0)
    }
}

#[cfg(test)]
mod tests {
    use delt_pipeline::config::given::{Drop, FirstWeights, GivenLoss, GivenLr, Tests, WarmCosine};
    use delt_pipeline::config::matching::Targets;

    use super::*;

    /// Five images of two classes.
    const LABELS: [u32; 5] = [0, 0, 0, 1, 1];

    fn recipe(batch: Batch, mirror: bool) -> Given {
        let drop = Some(Drop { after: 3, factor: 0.1 });
        Given {
            targets: Targets::Hard,
            whitening: None,
            loss: GivenLoss::CrossEntropy {},
            optimizer: GivenOptimizer::Sgd {
                lr: GivenLr::Number(0.1),
                momentum: 0.9,
                weight_decay: 0.0,
                drop,
            },
            first_weights: FirstWeights::Torch,
            budget: Budget::Epochs(5),
            batch,
            augmentation: Vec::new(),
            mirror,
            tests: Tests::Every(2),
        }
    }

    fn sorted(steps: Vec<Vec<usize>>) -> Vec<usize> {
        let mut all: Vec<usize> = steps.into_iter().flatten().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn an_epoch_takes_each_image_once_in_an_order_of_its_own() {
        let given = recipe(Batch::Images(2), true);
        let timetable = Timetable::new(&given, &LABELS, 7);
        assert_eq!((timetable.steps_per_epoch, timetable.steps()), (5, 25));
        assert_eq!(sorted(timetable.epoch(3)), (0..10).collect::<Vec<_>>());
        assert_ne!(timetable.epoch(0), timetable.epoch(1));
        assert_eq!(timetable.epoch(1), Timetable::new(&given, &LABELS, 7).epoch(1));
        let all = recipe(Batch::All, false);
        assert_eq!(Timetable::new(&all, &LABELS, 7).epoch(4), [[0, 1, 2, 3, 4]]);
    }

    #[test]
    fn a_step_takes_some_of_each_class_while_there_are_any() {
        let given = recipe(Batch::OfEachClass(2), false);
        let timetable = Timetable::new(&given, &LABELS, 7);
        let epoch = timetable.epoch(0);
        let classes: Vec<Vec<u32>> =
            epoch.iter().map(|step| step.iter().map(|index| LABELS[*index]).collect()).collect();
        assert_eq!(classes, [vec![0, 0, 1, 1], vec![0]]);
        assert_eq!(sorted(epoch), [0, 1, 2, 3, 4]);
        assert_eq!([0, 1, 2, 3, 7].map(|steps| timetable.images_of(steps)), [0, 4, 5, 9, 19]);
        assert_eq!(given.steps_per_epoch(&[3, 2]), timetable.steps_per_epoch);
    }

    #[test]
    fn the_learning_rate_drops_once_and_momentum_with_it() {
        let given = recipe(Batch::Images(2), false);
        let timetable = Timetable::new(&given, &LABELS, 7);
        let shares: Vec<f64> = [0, 8, 9, 14].map(|step| timetable.lr_share(step)).to_vec();
        assert_eq!(shares, [1.0, 1.0, 0.1, 0.1]);
        assert_eq!((0..15).filter(|step| timetable.is_restart(*step)).collect::<Vec<_>>(), [9]);
        assert_eq!(given.tested_after(), [2, 4, 5]);
    }

    #[test]
    fn a_schedule_in_steps_is_the_same_whatever_an_epoch_is() {
        let schedule = Some(WarmCosine { warmup_steps: 2, final_share: 0.0 });
        let optimizer = GivenOptimizer::Adam {
            lr: GivenLr::Number(0.1),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            schedule,
        };
        let given = Given { optimizer, budget: Budget::Steps(6), ..recipe(Batch::All, false) };
        let timetable = Timetable::new(&given, &LABELS, 7);
        assert_eq!(timetable.steps(), 6);
        let shares: Vec<f64> = (0..6).map(|step| timetable.lr_share(step)).collect();
        for (found, expected) in shares.iter().zip([0.0, 0.5, 1.0, 0.853_553, 0.5, 0.146_447]) {
            assert!((found - expected).abs() < 1e-6, "{shares:?}");
        }
    }
}
