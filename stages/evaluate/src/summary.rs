//! From histories to the numbers of the table: last and best, and whether they say more than guessing does.

use delt_formats::{HistoryRow, StudentResult};
use delt_harness::chance::Chance;

/// One student's result: the test after the last epoch, and the best of all its tests (the published number).
/// `None` without a test.
pub fn student_result(seed: u64, history: &[HistoryRow]) -> Option<StudentResult> {
    let tested: Vec<(u32, f64, f64)> =
        history.iter().filter_map(|row| Some((row.epoch, row.top1?, row.top5?))).collect();
    let (_, last_top1, last_top5) = *tested.last()?;
    let best = tested.iter().fold(tested[0], |best, test| if test.1 > best.1 { *test } else { best });
    Some(StudentResult { seed, last_top1, best_top1: best.1, best_epoch: best.0, last_top5 })
}

/// What to know of students, seed and top-1 after the last epoch, that guessing explains; none where all are better.
/// `knobs` are what they may owe it to.
pub fn at_chance(students: &[(u64, f64)], test_labels: &[u32], knobs: &str) -> Option<String> {
    let chance = Chance::of(test_labels);
    let at_chance: Vec<_> = students.iter().filter(|(_, top1)| chance.reaches(*top1)).collect();
    let (seed, top1) = at_chance.first()?;
    Some(format!(
        "{} of {} students are no better than guessing after the last epoch (that of seed {seed}: {top1:.2} % of {} test images; \
         {chance}); look at {knobs}",
        at_chance.len(),
        students.len(),
        test_labels.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_that_guessing_explains_are_counted_and_one_is_named() {
        let labels: Vec<u32> = (0..540).map(|index| index % 10).collect();
        let said = |last: [f64; 3]| {
            let students = [(5, last[0]), (7, last[1]), (9, last[2])];
            at_chance(&students, &labels, "evaluate.lr (0.5) and the teacher's accuracy")
        };
        assert_eq!(said([14.0, 90.0, 15.0]), None);
        assert_eq!(
            said([14.0, 9.5, 12.0]).as_deref(),
            Some(
                "2 of 3 students are no better than guessing after the last epoch (that of seed 7: 9.50 % of 540 test images; guessing \
                 reaches up to 13.1 %, the share of the largest class is 10.0 %); look at evaluate.lr (0.5) and the teacher's \
                 accuracy"
            )
        );
    }

    #[test]
    fn last_and_best_are_told_apart() {
        let row =
            |epoch, top1: Option<f64>| HistoryRow { seed: 1, epoch, lr: 0.1, loss: 1.0, top1, top5: top1 };
        let result =
            student_result(1, &[row(0, Some(10.0)), row(10, Some(30.0)), row(11, None), row(20, Some(25.0))]);
        let result = result.expect("tested");
        assert_eq!((result.last_top1, result.best_top1, result.best_epoch), (25.0, 30.0, 10));
    }
}
