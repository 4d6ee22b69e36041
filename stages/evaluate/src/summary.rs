//! From histories to the numbers of the table: last and best.

use delt_formats::{HistoryRow, StudentResult};

/// One student's result: the test after the last epoch, and the best of all its tests (the published number).
/// `None` without a test.
pub fn student_result(seed: u64, history: &[HistoryRow]) -> Option<StudentResult> {
    let tested: Vec<(u32, f64, f64)> =
        history.iter().filter_map(|row| Some((row.epoch, row.top1?, row.top5?))).collect();
    let (_, last_top1, last_top5) = *tested.last()?;
    let best = tested.iter().fold(tested[0], |best, test| if test.1 > best.1 { *test } else { best });
    Some(StudentResult { seed, last_top1, best_top1: best.1, best_epoch: best.0, last_top5 })
}

#[cfg(test)]
mod tests {
    use super::*;

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
