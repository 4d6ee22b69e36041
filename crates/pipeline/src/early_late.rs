//! The EarlyLate schedule (DELT, section 3.2): which image of which batch is optimized in which round.
//!
//! The slots of a class are assigned to K = MI / RI rounds, ipc / K each, the first ipc mod K rounds one more. An image
//! enters at its round and is then optimized in every later one, so early images get MI iterations and the last RI.
//! A pure value: computed and printed before any tensor exists.

use crate::config::synthesize::{Batches, Synthesize};
use delt_augment::draws::Draws;
use rand::RngExt;
use serde::Serialize;

/// Schedule of all batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EarlyLate {
    /// All batches, in the order in which they are optimized.
    pub batches: Vec<BatchSchedule>,
    /// Iterations of one round.
    pub round_iterations: u32,
}

/// Schedule of one batch of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchSchedule {
    /// Index of the batch.
    pub batch: u32,
    /// How many images the batches before have.
    pub first: u32,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// Slot of each image in its class.
    pub slots: Vec<u32>,
    /// Round of the class schedule at which each image joins.
    pub joins: Vec<u32>,
    /// For each round of the batch, the images optimized in it, by position in the batch. Leading rounds in which
    /// the batch has no image are dropped.
    pub rounds: Vec<Vec<u32>>,
    /// Iterations of the batch: cosine learning rate and crop curriculum run over these.
    pub iterations: u32,
}

impl BatchSchedule {
    /// Iterations of one round, at least 1.
    pub fn round_iterations(&self) -> u32 {
        (self.iterations / self.rounds.len().max(1) as u32).max(1)
    }

    /// Iterations of the image at a position of the batch.
    pub fn iterations_of(&self, position: usize) -> u32 {
        let rounds = self.rounds.iter().filter(|active| active.contains(&(position as u32))).count() as u32;
        rounds * self.round_iterations()
    }

    /// Sum over images of their iterations.
    pub fn image_iterations(&self) -> u64 {
        self.rounds.iter().map(|active| active.len() as u64 * u64::from(self.round_iterations())).sum()
    }
}

impl EarlyLate {
    /// Computes the schedule for the classes with these labels, in this order, of `ipc` images each. At IPC 1 there are no rounds.
    /// `draws` serve `min_iterations` only.
    pub fn new(config: &Synthesize, ipc: u32, classes: impl IntoIterator<Item = u32>, draws: &Draws) -> Self {
        let has_rounds = config.early_late && ipc > 1;
        let round_iterations =
            if has_rounds { config.round_iterations } else { config.max_iterations }.max(1);
        let rounds = (config.max_iterations / round_iterations).max(1);
        let rounds_of = |label: u32| match config.min_iterations {
            Some(least) if rounds > 1 => {
                let least = (least / round_iterations).clamp(1, rounds);
                draws.stream("rounds-of-class", u64::from(label), 0).random_range(least..=rounds)
            }
            _ => rounds,
        };
        let mut images = Vec::new();
        for label in classes {
            let skipped = rounds - rounds_of(label);
            for (slot, join) in rounds_of_slots(ipc, rounds - skipped).into_iter().enumerate() {
                images.push((label, slot as u32, skipped + join));
            }
        }
        if config.batches == Batches::AcrossClasses {
            images.sort_by_key(|(_, slot, _)| *slot);
        }
        let batches = images.chunks(config.batch.max(1) as usize).enumerate();
        let batches = batches.map(|(index, chunk)| {
            let earliest = chunk.iter().map(|(_, _, join)| *join).min().unwrap_or(0);
            let active = |round: u32| {
                chunk.iter().zip(0..).filter(|((_, _, join), _)| *join <= round).map(|(_, at)| at).collect()
            };
            BatchSchedule {
                batch: index as u32,
                first: index as u32 * config.batch,
                labels: chunk.iter().map(|image| image.0).collect(),
                slots: chunk.iter().map(|image| image.1).collect(),
                joins: chunk.iter().map(|image| image.2).collect(),
                rounds: (earliest..rounds).map(active).collect(),
                iterations: (rounds - earliest) * round_iterations,
            }
        });
        Self { batches: batches.collect(), round_iterations }
    }

    /// Sum over all images of their iterations: what the synthesis costs.
    pub fn image_iterations(&self) -> u64 {
        self.batches.iter().map(BatchSchedule::image_iterations).sum()
    }

    /// [`Self::image_iterations`] of so many classes, before anything of them is known; with `min_iterations`, the most that it
    /// can be.
    pub fn image_iterations_of(config: &Synthesize, ipc: u32, classes: u64) -> u64 {
        if config.max_iterations == 0 {
            return 0;
        }
        let config = Synthesize { min_iterations: None, ..config.clone() };
        classes * Self::new(&config, ipc, [0], &Draws::new(0)).image_iterations()
    }

    /// A table for people: rounds with the number of images optimized in them.
    pub fn describe(&self) -> String {
        let images: usize = self.batches.iter().map(|b| b.labels.len()).sum();
        let full: u64 = self.batches.iter().map(|b| b.labels.len() as u64).sum::<u64>()
            * u64::from(self.batches.iter().map(|b| b.iterations).max().unwrap_or(0));
        let share = if full == 0 { 0.0 } else { 100.0 * self.image_iterations() as f64 / full as f64 };
        let mut text = format!(
            "early-late schedule: {images} images in {} batches, rounds of {} iterations, {} image-iterations ({share:.2} % of all images all the time)",
            self.batches.len(),
            self.round_iterations,
            self.image_iterations(),
        );
        let sizes = |batch: &BatchSchedule| batch.rounds.iter().map(Vec::len).collect::<Vec<_>>();
        for alike in self.batches.chunk_by(|a, b| sizes(a) == sizes(b)) {
            let (first, last) = (&alike[0], &alike[alike.len() - 1]);
            let which = match alike.len() {
                1 => format!("batch {}", first.batch),
                _ => format!("batches {}-{}", first.batch, last.batch),
            };
            let sizes: Vec<String> = sizes(first).iter().map(usize::to_string).collect();
            text.push_str(&format!("\n  {which}: images active by round: {}", sizes.join(" ")));
        }
        text
    }
}

/// The round at which each of `ipc` slots joins.
fn rounds_of_slots(ipc: u32, rounds: u32) -> Vec<u32> {
    (0..rounds)
        .flat_map(|r| std::iter::repeat_n(r, (ipc / rounds + u32::from(r < ipc % rounds)) as usize))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(early_late: bool) -> Synthesize {
        Synthesize { early_late, ..Synthesize::published() }
    }

    #[test]
    fn late_images_join_at_their_round() {
        let schedule = EarlyLate::new(&config(true), 50, 0..2, &Draws::new(0));
        let batch = &schedule.batches[0];
        assert_eq!(batch.rounds[0].len(), 14);
        assert_eq!(batch.joins[6..8], [0, 1]);
        assert_eq!((batch.iterations_of(0), batch.iterations_of(49)), (4000, 500));
        assert_eq!(schedule.image_iterations() as f64 / (100.0 * 4000.0), 0.5775);
    }

    #[test]
    fn a_batch_across_classes_has_one_image_of_each() {
        let across = Synthesize { batches: Batches::AcrossClasses, batch: 3, ..config(true) };
        let schedule = EarlyLate::new(&across, 10, [4, 5, 9], &Draws::new(0));
        let by_class = EarlyLate::new(&config(true), 10, [4, 5, 9], &Draws::new(0));
        assert_eq!(schedule.batches.len(), 10);
        for (batch, slot) in schedule.batches.iter().zip(0..) {
            assert_eq!((batch.labels.as_slice(), &batch.slots), ([4, 5, 9].as_slice(), &vec![slot; 3]));
            assert_eq!((batch.first, batch.joins[0]), (slot * 3, by_class.batches[0].joins[slot as usize]));
            // a batch that joins late has its own cosine over what is left
            assert_eq!(batch.iterations, batch.iterations_of(0));
        }
        assert_eq!(schedule.image_iterations(), by_class.image_iterations());
    }

    #[test]
    fn the_cost_told_beforehand_is_that_of_the_schedule() {
        for (ipc, early_late) in [(1, true), (3, true), (10, true), (50, true), (10, false)] {
            let told = EarlyLate::image_iterations_of(&config(early_late), ipc, 7);
            let schedule = EarlyLate::new(&config(early_late), ipc, 0..7, &Draws::new(0));
            assert_eq!(told, schedule.image_iterations(), "ipc {ipc}, early_late {early_late}");
        }
    }

    #[test]
    fn one_image_per_class_and_early_late_off_have_no_rounds() {
        for (ipc, early_late) in [(1, true), (10, false)] {
            let schedule = EarlyLate::new(&config(early_late), ipc, 0..3, &Draws::new(0));
            assert_eq!(schedule.batches[0].rounds.len(), 1);
            assert_eq!(schedule.batches[0].iterations, 4000);
        }
    }

    #[test]
    fn min_iterations_bounds_the_first_image_of_every_class() {
        let config = Synthesize { min_iterations: Some(2000), ..config(true) };
        let schedule = EarlyLate::new(&config, 10, 0..40, &Draws::new(7));
        let firsts: Vec<u32> = schedule
            .batches
            .iter()
            .flat_map(|b| (0..b.slots.len()).filter(|p| b.slots[*p] == 0).map(|p| b.iterations_of(p)))
            .collect();
        assert_eq!(firsts.len(), 40);
        assert!(firsts.iter().all(|n| (2000..=4000).contains(n)));
        assert!(firsts.iter().any(|n| *n < 4000) && firsts.iter().any(|n| *n > 2000));
    }
}
