//! What the page answers first: did it work, what did it cost, where does it come from.

use chrono::DateTime;
use delt_harness::table::Row;
use delt_pipeline::amounts::human_bytes;
use maud::{Markup, html};

use crate::findings::{Findings, Timing};
use crate::page::short_seconds;

/// Stages by the name that a sentence has for their work.
const WORK: [(&str, &str); 6] = [
    ("ingest", "reading the data"),
    ("teacher-train", "networks"),
    ("init-select", "selection"),
    ("delt-synthesize", "synthesis"),
    ("relabel", "labels"),
    ("evaluate", "students"),
];

/// Stages that took less of the time are left out.
const LEAST_SHARE: f64 = 0.002;

/// The two sections on top.
pub(crate) fn answers(findings: &Findings) -> Markup {
    let cost: Vec<String> = [bytes(findings), time(findings)].into_iter().flatten().collect();
    html! {
        section .answers {
            h2 { "Did it work?" }
            (verdict(findings))
            @if !cost.is_empty() {
                h2 { "What did it cost?" }
                ul { @for sentence in &cost { li { (sentence) } } }
            }
        }
    }
}

/// What a run came to.
pub(crate) fn verdict(findings: &Findings) -> Markup {
    html! {
        @if findings.verdict.is_empty() { p .note { "Nothing was evaluated yet." } }
        @else { ul { @for sentence in &findings.verdict { li { (sentence) } } } }
    }
}

/// Command, date and folder.
pub(crate) fn origin(findings: &Findings) -> Markup {
    let store = std::path::absolute(&findings.store).unwrap_or_else(|_| findings.store.clone());
    html! {
        p .origin {
            code { (findings.command) } br;
            @if let Some(made) = made(&findings.timings) { "made " (made) ", " }
            "in " (store.display())
        }
    }
}

/// From the first artifact to the last, to the minute.
fn made(timings: &[Timing]) -> Option<String> {
    let finished = || timings.iter().filter_map(|timing| timing.record.finished_unix_seconds);
    let minute = |seconds| Some(DateTime::from_timestamp(seconds, 0)?.format("%Y-%m-%d %H:%M").to_string());
    let (first, last) = (minute(finished().min()?)?, minute(finished().max()?)?);
    Some(if first == last { format!("{last} UTC") } else { format!("{first} to {last} UTC") })
}

/// Bytes of the first synthetic branch, of its images and its labels, beside those of the data set.
fn bytes(findings: &Findings) -> Option<String> {
    let rows = || findings.table.rows.iter().filter(|row| !row.is_full_data() && row.image_bytes.is_some());
    let is_synthetic = |row: &&Row| row.image_iterations.is_some_and(|iterations| iterations > 0);
    let row = rows().find(is_synthetic).or_else(|| rows().next())?;
    let (images, real) = (row.image_bytes?, findings.train_bytes?);
    let mut text = format!(
        "the {} images of {} take {}, {} times the data set ({})",
        row.images?,
        row.name,
        human_bytes(images),
        ratio(images, real),
        human_bytes(real)
    );
    if let Some(labels) = row.label_bytes.filter(|labels| *labels > 0) {
        text.push_str(&format!(
            "; the labels of one student {}, {} times the data set and {} times the images",
            human_bytes(labels),
            ratio(labels, real),
            ratio(labels, images)
        ));
    }
    Some(text)
}

/// Time by stage, as multiples of training on all real images where that was done here.
fn time(findings: &Findings) -> Option<String> {
    let sum = |stage: &str| -> f64 {
        let records = findings.timings.iter().map(|timing| &timing.record);
        records.filter(|record| record.stage == stage).map(|record| record.seconds).sum()
    };
    let spent: Vec<(&str, f64)> = WORK.iter().map(|(stage, work)| (*work, sum(stage))).collect();
    let total: f64 = spent.iter().map(|(_, seconds)| seconds).sum();
    let each = |text: &dyn Fn(f64) -> String| {
        let each = spent.iter().filter(|(_, seconds)| *seconds >= LEAST_SHARE * total);
        each.map(|(work, seconds)| format!("{work} {}", text(*seconds))).collect::<Vec<_>>().join(", ")
    };
    let all = short_seconds(total);
    match findings.full_data_seconds.filter(|full| *full > 0.0) {
        _ if total <= 0.0 => None,
        None => Some(format!("all branches took {all}: {}", each(&short_seconds))),
        Some(full) => Some(format!(
            "all branches took {all}, {} times as long as training on all images ({}); as multiples of that: {}",
            two_digits(total / full),
            short_seconds(full),
            each(&|seconds| two_digits(seconds / full))
        )),
    }
}

fn ratio(part: u64, whole: u64) -> String {
    two_digits(part as f64 / whole.max(1) as f64)
}

/// Two digits that say something; numbers above a hundred as they are.
fn two_digits(value: f64) -> String {
    let places = if value > 0.0 { (1.0 - value.log10().floor()).max(0.0) } else { 0.0 };
    format!("{value:.*}", places as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_two_digits() {
        let said = [312.4, 31.2, 3.71, 0.062, 0.0004, 0.0].map(two_digits);
        assert_eq!(said, ["312", "31", "3.7", "0.062", "0.00040", "0"]);
    }
}
