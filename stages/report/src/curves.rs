//! The lines of the charts: accuracies of students over epochs, losses of the synthesis over iterations.

use std::collections::BTreeMap;

use delt_formats::history::HistoryRow;
use delt_formats::trace::TraceRow;

use crate::chart::{Chart, Line, Scale};
use crate::findings::{BranchFindings, Findings};

/// Colors of the style sheet, `c0`, `c1`, …
const COLORS: usize = 12;

/// Up to so many batches have a line of their own behind the mean.
const BATCH_LINES: usize = 12;

/// The class of the style sheet that colors a branch; where colors come again, lines are dashed or dotted and swatches hollow.
pub fn color(branch: usize) -> String {
    let color = format!("c{}", branch % COLORS);
    match branch / COLORS {
        0 => color,
        1 => format!("{color} again"),
        _ => format!("{color} again dotted"),
    }
}

/// Which epochs a chart of accuracies shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epochs {
    /// All of them.
    All,
    /// Those of the second half, where the branches lie close together.
    SecondHalf,
}

/// Top-1 by epoch: each student thin, the mean of a branch bold, the full data as a level line.
pub fn accuracy(findings: &Findings, epochs: Epochs) -> Chart {
    let tested = findings.branches.iter().flat_map(|branch| &branch.history).filter(|row| row.top1.is_some());
    let last = tested.map(|row| row.epoch).max();
    let (first, title) = match (epochs, last) {
        (Epochs::SecondHalf, Some(last)) => (last.div_ceil(2), "top-1 accuracy by epoch, second half"),
        _ => (0, "top-1 accuracy by epoch"),
    };
    let mut lines = Vec::new();
    for row in &findings.table.rows {
        if let (true, Some(score), Some(last)) = (row.is_full_data(), row.last, last) {
            let (name, class) = (format!("{}: {score}", row.name), "full dashed".to_owned());
            let ends = [first, last.max(first + 1)].map(|epoch| (f64::from(epoch), score.mean));
            lines.push(Line { name, class, points: ends.to_vec() });
        }
    }
    for (index, branch) in findings.branches.iter().enumerate() {
        let students = tests_by_seed(&branch.history, first);
        if students.len() > 1 {
            for (seed, points) in &students {
                let (name, class) =
                    (format!("{}, seed {seed}", branch.name), format!("{} thin", color(index)));
                lines.push(Line { name, class, points: points.clone() });
            }
        }
        let name = format!("{}, mean of {}", branch.name, students.len());
        lines.push(Line { name, class: color(index), points: mean_line(students.values()) });
    }
    Chart { title: title.to_owned(), x_label: "epoch", y_label: "top-1, %", scale: Scale::Linear, lines }
}

fn tests_by_seed(history: &[HistoryRow], first_epoch: u32) -> BTreeMap<u64, Vec<(f64, f64)>> {
    let mut students: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for row in history.iter().filter(|row| row.epoch >= first_epoch) {
        if let Some(top1) = row.top1 {
            students.entry(row.seed).or_default().push((f64::from(row.epoch), top1));
        }
    }
    students
}

/// One of the two losses of a branch's synthesis by iteration: each batch thin, their mean bold. What it is stands in the
/// configuration that the trace was stored with.
pub fn loss(branch: &BranchFindings, index: usize, column: usize) -> Chart {
    let value = |row: &TraceRow| f64::from([row.ce, row.bn][column]);
    let what = branch.trace_names[column].long;
    let mut batches: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for row in &branch.trace {
        batches.entry(row.batch).or_default().push((f64::from(row.iteration), value(row)));
    }
    let mut lines = Vec::new();
    if (2..=BATCH_LINES).contains(&batches.len()) {
        for (batch, points) in &batches {
            let class = format!("{} thin", color(index));
            lines.push(Line { name: format!("batch {batch}"), class, points: points.clone() });
        }
    }
    let name = format!("mean of {} batches", batches.len());
    lines.push(Line { name, class: color(index), points: mean_line(batches.values()) });
    let title = format!("{}: {what}", branch.name);
    Chart { title, x_label: "iteration", y_label: what, scale: Scale::Log, lines }
}

/// The mean of all lines that have a point at x.
fn mean_line<'a>(lines: impl Iterator<Item = &'a Vec<(f64, f64)>>) -> Vec<(f64, f64)> {
    let mut at: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for (x, y) in lines.flatten() {
        let (sum, n) = at.entry(*x as u64).or_default();
        (*sum, *n) = (*sum + y, *n + 1.0);
    }
    at.into_iter().map(|(x, (sum, n))| (x as f64, sum / n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_thirty_six_branches_look_alike() {
        let looks: std::collections::BTreeSet<String> = (0..36).map(color).collect();
        assert_eq!(looks.len(), 36);
        assert_eq!([color(1), color(13), color(25)], ["c1", "c1 again", "c1 again dotted"]);
    }

    #[test]
    fn the_mean_is_over_the_lines_that_reach_so_far() {
        let lines = [vec![(0.0, 1.0), (10.0, 3.0)], vec![(0.0, 3.0)]];
        assert_eq!(mean_line(lines.iter()), [(0.0, 2.0), (10.0, 3.0)]);
    }
}
