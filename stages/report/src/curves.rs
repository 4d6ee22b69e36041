//! The lines of the charts: accuracies of students over epochs, losses of the synthesis over iterations.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use delt_formats::trace::TraceRow;

use crate::chart::{Chart, Line, Scale};
use crate::findings::{BranchFindings, Findings};

/// Colors of the style sheet, `c0`, `c1`, …
const COLORS: usize = 12;

/// Up to so many batches have a line of their own behind the mean.
const BATCH_LINES: usize = 12;

/// The class of the style sheet that colors a branch; where colors come again, lines are dashed or dotted and swatches hollow.
pub fn color(branch: usize) -> String {
    let again = ["", " again", " again dotted"][(branch / COLORS).min(2)];
    format!("c{}{again}", branch % COLORS)
}

/// Top-1 by epoch: each student thin, the mean of a branch bold, the full data as a level line. One chart of all epochs and, once
/// any was tested, one of the second half, where the branches lie close together.
pub fn accuracy(findings: &Findings) -> Vec<Chart> {
    let tested = findings.branches.iter().flat_map(|branch| &branch.history).filter(|row| row.top1.is_some());
    let last = tested.map(|row| row.epoch).max();
    let chart = |first, title| accuracy_between(findings, first, last, title);
    let whole = chart(0, "top-1 accuracy by epoch");
    let half = last.map(|last| chart(last.div_ceil(2), "top-1 accuracy by epoch, second half"));
    [whole].into_iter().chain(half).collect()
}

fn accuracy_between(findings: &Findings, first: u32, last: Option<u32>, title: &str) -> Chart {
    let mut lines = Vec::new();
    for row in &findings.table.rows {
        if let (true, Some(score), Some(last)) = (row.is_full_data(), row.last, last) {
            let (name, class) = (format!("{}: {score}", row.name), "full dashed".to_owned());
            let ends = [first, last.max(first + 1)].map(|epoch| (f64::from(epoch), score.mean));
            lines.push(Line { name, class, points: ends.to_vec() });
        }
    }
    for (index, branch) in findings.branches.iter().enumerate() {
        let tested = branch.history.iter().filter(|row| row.epoch >= first);
        let students = by_group(tested.filter_map(|row| Some((row.seed, row.epoch, row.top1?))));
        let each = |seed: &u64| format!("{}, seed {seed}", branch.name);
        let mean = format!("{}, mean of {}", branch.name, students.len());
        lines.extend(with_mean(students, 2..=usize::MAX, &color(index), each, mean));
    }
    let (title, marks) = (title.to_owned(), Vec::new());
    Chart { title, x_label: "epoch", y_label: "top-1, %", scale: Scale::Linear, lines, marks }
}

/// Top-1 by the number of classes so far, where classes came in steps: each order of them thin, the mean of a branch bold.
pub fn continual(findings: &Findings) -> Option<Chart> {
    let mut lines = Vec::new();
    for (index, branch) in
        findings.branches.iter().enumerate().filter(|(_, branch)| !branch.continual.points.is_empty())
    {
        let orders = by_group(branch.continual.points.iter().copied());
        let each = |order: &u64| format!("{}, order {order}", branch.name);
        let mean = format!("{}, mean of {} orders", branch.name, orders.len());
        lines.extend(with_mean(orders, 2..=usize::MAX, &color(index), each, mean));
    }
    let title = "top-1 accuracy by classes so far".to_owned();
    let (x_label, y_label) = ("classes so far", "top-1, %");
    (!lines.is_empty()).then(|| Chart {
        title,
        x_label,
        y_label,
        scale: Scale::Linear,
        lines,
        marks: Vec::new(),
    })
}

/// One of the two losses of a branch's synthesis by iteration: each batch thin, their mean bold, marks where images join. What it is stands in the
/// configuration that the trace was stored with.
pub fn loss(branch: &BranchFindings, index: usize, column: usize) -> Chart {
    let value = |row: &TraceRow| f64::from([row.ce, row.bn][column]);
    let what = branch.trace_names[column].long;
    let batches = by_group(branch.trace.iter().map(|row| (row.batch, row.iteration, value(row))));
    let mean = format!("mean of {} batches", batches.len());
    let each = |batch: &u32| format!("batch {batch}");
    let lines = with_mean(batches, 2..=BATCH_LINES, &color(index), each, mean);
    let title = format!("{}: {what}", branch.name);
    let marks = branch.joins.iter().map(|iteration| f64::from(*iteration)).collect();
    // a logarithm would leave out what is negative
    let is_positive = branch.trace.iter().all(|row| value(row) > 0.0);
    let scale = if is_positive { Scale::Log } else { Scale::Linear };
    Chart { title, x_label: "iteration", y_label: what, scale, lines, marks }
}

/// Lines by what they are of, each in the order of its points.
type Groups<K> = BTreeMap<K, Vec<(f64, f64)>>;

fn by_group<K: Ord>(points: impl Iterator<Item = (K, u32, f64)>) -> Groups<K> {
    let mut groups = Groups::new();
    for (of, x, y) in points {
        groups.entry(of).or_default().push((f64::from(x), y));
    }
    groups
}

/// Each line thin, where there are as many as `shown`, and their mean bold.
fn with_mean<K>(
    groups: Groups<K>,
    shown: RangeInclusive<usize>,
    color: &str,
    name: impl Fn(&K) -> String,
    name_of_mean: String,
) -> Vec<Line> {
    let mean = Line { name: name_of_mean, class: color.to_owned(), points: mean_line(groups.values()) };
    let is_each_shown = shown.contains(&groups.len());
    let each = groups.into_iter().filter(|_| is_each_shown);
    let each = each.map(|(of, points)| Line { name: name(&of), class: format!("{color} thin"), points });
    each.chain([mean]).collect()
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
