//! What becomes of a network that was trained here and is no better than guessing: it has nothing to teach, and whatever is made
//! with it would look like any other result.

use anyhow::{Result, bail};
use delt_formats::HistoryRow;
use delt_harness::chance::Chance;
use delt_pipeline::config::teacher::TrainRecipe;
use delt_pipeline::roles::Role;

/// Share of the first epoch's training loss below which the last one's must fall to count as learned.
const LEARNED: f64 = 0.8;

/// Refuses a network that guessing explains, where the test images are enough to tell and nobody has allowed it; the baseline on
/// the full data guides nothing. Else it may be worth a note.
///
/// # Errors
/// What was reached, what guessing reaches, and which settings to look at.
pub fn judge(
    role: Role,
    recipe: &TrainRecipe,
    history: &[HistoryRow],
    test_labels: &[u32],
    top1: f64,
) -> Result<Option<String>> {
    let chance = Chance::of(test_labels);
    if !chance.reaches(top1) {
        return Ok(None);
    }
    let place = place(role);
    let found = format!(
        "right on {top1:.2} % of {} test images, no better than guessing ({chance})",
        test_labels.len()
    );
    let cause = cause(&place, recipe, history);
    if !chance.is_telling {
        return Ok(Some(format!("{found}, but so few do not tell; {cause}")));
    }
    if recipe.allow_chance || role == Role::FullData {
        return Ok(Some(format!("{found}; {cause}")));
    }
    bail!(
        "the {} is {found}, so it has nothing to teach; {cause}; the weights are kept as a checkpoint, which {place}.allow_chance: \
         true publishes as they are",
        role.name()
    )
}

/// The most likely reason, by whether the training images were learned.
fn cause(place: &str, recipe: &TrainRecipe, history: &[HistoryRow]) -> String {
    let loss = |row: Option<&HistoryRow>| row.map_or(f64::NAN, |row| row.loss);
    let (first, last, epochs) = (loss(history.first()), loss(history.last()), recipe.epochs);
    if history.len() > 1 && last < LEARNED * first {
        return format!(
            "its training loss fell from {first:.3} to {last:.3} in {epochs} epochs, so it knows the training images: see that labels \
             mean the same in both splits, and that {place}.epochs is not too many for so few images"
        );
    }
    format!(
        "its training loss is {last:.3} after {epochs} epochs ({first:.3} after the first): look at {place}.optimizer.lr ({}), \
         {place}.epochs, ingest.normalization and the labels",
        recipe.optimizer.lr()
    )
}

/// Where the recipe of a network stands.
fn place(role: Role) -> String {
    match role {
        Role::Teacher | Role::FullData => "teacher.train".to_owned(),
        Role::Ranker => "select.ranker.train".to_owned(),
        Role::Committee(index) => format!("committee.{index}.train"),
    }
}

#[cfg(test)]
mod tests {
    use delt_pipeline::config::teacher::{Optimizer, Replicas, TrainSchedule};

    use super::*;

    fn recipe(allow_chance: bool) -> TrainRecipe {
        TrainRecipe {
            epochs: 2,
            batch: 64,
            optimizer: Optimizer::Sgd { lr: 80.0, momentum: 0.9, nesterov: true, weight_decay: 0.0 },
            schedule: TrainSchedule::Cosine {},
            label_smoothing: 0.0,
            pad: 0,
            flip: false,
            bn_momentum: 0.1,
            dropout: false,
            replicas: Replicas::default(),
            allow_chance,
        }
    }

    fn history(losses: [f64; 2]) -> [HistoryRow; 2] {
        let mut epoch = 0;
        losses.map(|loss| {
            epoch += 1;
            HistoryRow { seed: 0, epoch: epoch - 1, lr: 0.1, loss, top1: None, top5: None }
        })
    }

    /// Ten classes of so many test images.
    fn labels(each: usize) -> Vec<u32> {
        (0..10).flat_map(|label| vec![label; each]).collect()
    }

    const DIVERGED: [f64; 2] = [2.31, 2.5];

    #[test]
    fn a_network_at_chance_is_refused_with_the_settings_to_look_at() {
        let said = judge(Role::Teacher, &recipe(false), &history(DIVERGED), &labels(54), 11.0);
        assert_eq!(
            said.expect_err("refused").to_string(),
            "the teacher is right on 11.00 % of 540 test images, no better than guessing (guessing reaches up to 13.1 %, the share of \
             the largest class is 10.0 %), so it has nothing to teach; its training loss is 2.500 after 2 epochs (2.310 after the \
             first): look at teacher.train.optimizer.lr (80), teacher.train.epochs, ingest.normalization and the labels; the weights \
             are kept as a checkpoint, which teacher.train.allow_chance: true publishes as they are"
        );
        let said = judge(Role::Ranker, &recipe(false), &history([2.3, 0.1]), &labels(54), 11.0);
        let said = said.expect_err("refused").to_string();
        assert!(said.contains("the ranker is right on 11.00 %"), "{said}");
        assert!(
            said.contains("fell from 2.300 to 0.100 in 2 epochs, so it knows the training images"),
            "{said}"
        );
        assert!(said.contains("which select.ranker.train.allow_chance: true publishes"), "{said}");
    }

    #[test]
    fn one_that_is_better_passes_in_silence() {
        for (top1, each) in [(14.0, 54), (100.0, 1)] {
            let said = judge(Role::Teacher, &recipe(false), &history(DIVERGED), &labels(each), top1);
            assert_eq!(said.expect("passes"), None);
        }
    }

    #[test]
    fn few_test_images_the_full_data_and_a_user_who_allows_it_get_a_note() {
        let note = |role, allow, each| {
            judge(role, &recipe(allow), &history(DIVERGED), &labels(each), 10.0)
                .expect("passes")
                .expect("a note")
        };
        assert!(note(Role::Teacher, false, 2).contains(", but so few do not tell; its training loss"));
        for said in [note(Role::Teacher, true, 54), note(Role::FullData, false, 54)] {
            assert!(
                said.starts_with("right on 10.00 % of 540 test images, no better than guessing ("),
                "{said}"
            );
            assert!(!said.contains("so few"), "{said}");
        }
    }
}
