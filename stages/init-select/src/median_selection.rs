//! Which images of a class become initial images, and in which slots: slot 0 is optimized longest (DELT, table 4b).

use anyhow::{Result, ensure};
use delt_augment::draws::Draws;
use delt_formats::scores::ScoreRow;
use delt_pipeline::config::select::Strategy;
use rand::RngExt;

/// Fills in [`ScoreRow::rank`]: the place of each image in its class, 0 for the hardest.
pub fn write_ranks(rows: &mut [ScoreRow]) {
    let mut sorted: Vec<&mut ScoreRow> = rows.iter_mut().collect();
    sorted.sort_unstable_by(|a, b| {
        a.label.cmp(&b.label).then(a.probability.total_cmp(&b.probability)).then(a.image_id.cmp(&b.image_id))
    });
    for class in sorted.chunk_by_mut(|a, b| a.label == b.label) {
        for (rank, row) in (0..).zip(class) {
            row.rank = rank;
        }
    }
}

/// Picks `ipc` images of one class in slot order.
///
/// `ranked` stands from the hardest to the easiest: by [`ScoreRow::rank`]. `class` names the class in the error.
///
/// # Errors
/// A class that has too few images: `medium` needs more images than `ipc` (the published code fails there too), the others as many.
///
/// # Paper
/// `medium`: from the middle, place ⌈n/2⌉, outwards: mid, mid + 1, mid − 1, mid + 2, … Where one side ends first (n odd
/// and ipc = n − 1, which the published code does not reach), the other side goes on.
pub fn select(
    strategy: Strategy,
    ranked: &[ScoreRow],
    ipc: usize,
    draws: &Draws,
    class: &str,
) -> Result<Vec<ScoreRow>> {
    let (size, needed) = (ranked.len(), ipc + strategy.spare() as usize);
    ensure!(
        size >= needed,
        "class `{class}` has {size} training images, `{}` with {ipc} images per class needs at least {needed}; \
         {}choose another select.strategy or leave the class out with ingest.classes",
        strategy.name(),
        if ipc > 1 { "lower select.ipc, " } else { "" }
    );
    Ok(match strategy {
        Strategy::Medium => middle_outwards(size).take(ipc).map(|place| ranked[place].clone()).collect(),
        Strategy::Min => ranked[..ipc].to_vec(),
        Strategy::Top => {
            let mut easiest = ranked.to_vec();
            // stable: among equals the order of the ranking, that is by image id
            easiest.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            easiest.truncate(ipc);
            easiest
        }
        Strategy::Random => draw(ranked, ipc, draws),
    })
}

/// The places 0..n from ⌈n/2⌉ outwards, the higher one first.
fn middle_outwards(n: usize) -> impl Iterator<Item = usize> {
    let middle = n.div_ceil(2);
    let outwards = (1..=n).flat_map(move |step| [middle.checked_add(step), middle.checked_sub(step)]);
    std::iter::once(Some(middle)).chain(outwards).flatten().filter(move |place| *place < n)
}

/// `ipc` different images, by image id independent of how they rank.
fn draw(ranked: &[ScoreRow], ipc: usize, draws: &Draws) -> Vec<ScoreRow> {
    let mut images = ranked.to_vec();
    images.sort_by_key(|row| row.image_id);
    let mut rng = draws.stream("random-selection", u64::from(images[0].label), 0);
    for slot in 0..ipc {
        let other = rng.random_range(slot as u64..images.len() as u64) as usize;
        images.swap(slot, other);
    }
    images.truncate(ipc);
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(probabilities: &[f32]) -> Vec<ScoreRow> {
        let row = |(image_id, probability): (u64, &f32)| ScoreRow {
            image_id,
            label: 3,
            probability: *probability,
            loss: 0.0,
            rank: 0,
        };
        let mut rows: Vec<ScoreRow> = (0..).zip(probabilities).map(row).collect();
        write_ranks(&mut rows);
        rows.sort_by_key(|row| row.rank);
        rows
    }

    fn picked(strategy: Strategy, ranked: &[ScoreRow], ipc: usize) -> Result<Vec<u64>> {
        let picked = select(strategy, ranked, ipc, &Draws::new(7), "wolf")?;
        Ok(picked.iter().map(|row| row.image_id).collect())
    }

    fn ids(strategy: Strategy, ranked: &[ScoreRow], ipc: usize) -> Vec<u64> {
        picked(strategy, ranked, ipc).expect("enough images")
    }

    fn refusal(strategy: Strategy, ranked: &[ScoreRow], ipc: usize) -> String {
        picked(strategy, ranked, ipc).expect_err("refused").to_string()
    }

    #[test]
    fn medium_goes_from_the_middle_outwards() {
        let even = class(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!(ids(Strategy::Medium, &even, 5), [3, 4, 2, 5, 1]);
        let odd = class(&[0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(ids(Strategy::Medium, &odd, 4), [3, 4, 2, 1]);
    }

    #[test]
    fn equal_probabilities_stand_in_order_of_image_id() {
        let ranked = class(&[0.5, 0.5, 0.2, 0.5]);
        assert_eq!(ids(Strategy::Min, &ranked, 3), [2, 0, 1]);
        assert_eq!(ids(Strategy::Top, &ranked, 2), [0, 1]);
    }

    #[test]
    fn random_gives_different_images_that_depend_on_seed_and_class_only() {
        let mut ranked = class(&[0.9, 0.1, 0.5, 0.3, 0.7, 0.2]);
        let mut reversed = ranked.clone();
        reversed.reverse();
        let picked = ids(Strategy::Random, &ranked, 6);
        assert_eq!(ids(Strategy::Random, &reversed, 6), picked);
        let mut sorted = picked.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        ranked.iter_mut().for_each(|row| row.label = 4);
        assert_ne!(ids(Strategy::Random, &ranked, 6), picked);
    }

    #[test]
    fn a_class_that_is_too_small_is_named_with_its_size() {
        let ranked = class(&[0.1, 0.2, 0.3]);
        assert_eq!(
            refusal(Strategy::Medium, &ranked, 3),
            "class `wolf` has 3 training images, `medium` with 3 images per class needs at least 4; \
             lower select.ipc, choose another select.strategy or leave the class out with ingest.classes"
        );
        assert!(picked(Strategy::Top, &ranked, 3).is_ok());
        let message = refusal(Strategy::Random, &ranked, 4);
        assert!(message.starts_with("class `wolf` has 3 training images, `random` with 4"), "{message}");
        let message = refusal(Strategy::Medium, &ranked[..1], 1);
        assert!(message.contains("at least 2; choose another select.strategy"), "{message}");
    }

    #[test]
    fn ranks_count_within_the_class() {
        let row =
            |image_id, label, probability| ScoreRow { image_id, label, probability, loss: 0.0, rank: 9 };
        let mut rows = [row(0, 1, 0.8), row(1, 0, 0.4), row(2, 1, 0.3), row(3, 1, 0.3)];
        write_ranks(&mut rows);
        assert_eq!(rows.map(|row| row.rank), [2, 0, 0, 1]);
    }
}
