//! The page: sections in the order in which a reader asks, everything inlined, no script.

use delt_harness::table::Row;
use delt_pipeline::amounts::{human_bytes, human_seconds};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::answers;
use crate::chart::Chart;
use crate::curves;
use crate::findings::{Findings, Timing};
use crate::{continual, notes, recipe};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn render(findings: &Findings) -> Markup {
    let lead = html! {
        p .kind { "dataset distillation, DELT" }
        h1 { (findings.table.pipeline) }
        p .lead { (findings.description) }
        (facts(findings))
        (answers::origin(findings))
    };
    let sections = html! {
        (answers::answers(findings))
        (results(findings))
        (notes::section(&findings.notes))
        (losses(findings))
        (pictures(findings))
        (soft_labels(findings))
        (seconds(findings))
        (recipes(findings))
    };
    document(&findings.table.pipeline, &lead, &sections)
}

/// A page of ours: nothing external, no script.
pub(crate) fn document(title: &str, lead: &Markup, sections: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - delt" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { (lead) }
                main { (sections) }
                footer { "Made by delt " (env!("CARGO_PKG_VERSION")) " from the artifacts of the store." }
            }
        }
    }
}

fn fact(name: &str, value: String) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn facts(findings: &Findings) -> Markup {
    html! {
        dl .facts {
            @if let Some(dataset) = &findings.dataset {
                (fact("classes", dataset.train_per_class.len().to_string()))
                (fact("real training images", grouped(dataset.train_images)))
                (fact("real test images", grouped(dataset.test_images)))
            }
            @if let Some(teacher) = &findings.teacher {
                (fact("teacher", teacher.architecture.to_string()))
                (fact("teacher's top-1", format!("{:.2} %{}", teacher.test_top1, if teacher.imported { ", imported" } else { "" })))
                (fact("input", format!("{0} x {0} px", teacher.size)))
            }
        }
    }
}

fn results(findings: &Findings) -> Markup {
    let color = |row: &Row| match findings.branches.iter().position(|branch| branch.name == row.name) {
        Some(index) if !row.is_full_data() => curves::color(index),
        _ => "full".to_owned(),
    };
    let heads = html! {
        th { "trained on" } th .text { "student" } th { "last" } th { "best" } th { "n" } th { "images" }
        th { "image-iterations" } th { "image bytes" } th { "label bytes" } th { "cosine" }
    };
    let rows = html! {
        @for row in &findings.table.rows {
            @let [name, student, last, others @ ..] = row.cells(grouped, "–");
            tr {
                th { span .{ "swatch " (color(row)) } {} (name) }
                td .text { (student) }
                td .score { (last) }
                @for cell in others { td { (cell) } }
            }
        }
    };
    html! {
        section {
            h2 { "Accuracy" }
            p .note {
                "Top-1 in percent on " (findings.table.tested_on()) ", mean ± sample standard deviation over n students. "
                "Last: after the last epoch. Best: the highest of the tested epochs, the number that papers print. "
                "Image-iterations: the work of the synthesis. Label bytes: of one student's soft labels. Cosine: of the "
                "images' teacher features to the centroid of their class, mean; lower is more diverse."
            }
            (table(None, &heads, &rows))
            (charts(&curves::accuracy(findings)))
            @if let Some(chart) = curves::continual(findings) {
                p .note { "Classes in steps (continual): a new student after each, tested on the classes so far." }
                (charts(&[chart]))
            }
            @if let Some(missing) = continual::missing(findings) { p .note { (missing) } }
            ul .legend {
                @if findings.table.rows.iter().any(Row::is_full_data) {
                    li { span .swatch.full {} "full data, after training" }
                }
                @for (index, branch) in findings.branches.iter().enumerate() {
                    li { span .{ "swatch " (curves::color(index)) } {} (branch.name) }
                }
                li .note { "thin: single students" }
            }
        }
    }
}

fn losses(findings: &Findings) -> Markup {
    let traced = || findings.branches.iter().enumerate().filter(|(_, branch)| !branch.trace.is_empty());
    html! {
        @if traced().next().is_some() {
            section {
                h2 { "Losses of the synthesis" }
                p .note {
                    "Of the augmented images, by iteration of a batch. Thin: single batches."
                    @if traced().any(|(_, branch)| !branch.joins.is_empty()) {
                        " Dotted: new images join here, and the loss rises for a while, since they have had no iteration yet."
                    }
                }
                @for (index, branch) in traced() {
                    @if traced().count() > 1 { h3 { (branch.name) } }
                    (charts(&[0, 1].map(|column| curves::loss(branch, index, column))))
                }
            }
        }
    }
}

fn pictures(findings: &Findings) -> Markup {
    let galleries = findings.branches.iter().filter_map(|branch| Some((branch, branch.gallery.as_ref()?)));
    let mut shown: Vec<_> = galleries.collect();
    // the optimized images are what people come for
    shown.sort_by_key(|(_, gallery)| !gallery.is_optimized);
    html! {
        @if !shown.is_empty() {
            section {
                h2 { "Images" }
                @for (branch, gallery) in shown {
                    details open[gallery.is_optimized] {
                        summary {
                            b { (branch.name) } " "
                            @if gallery.is_optimized { "initial above synthetic, by slot; an image of round 0 has all iterations" }
                            @else { "real images, used as they are" }
                        }
                        (gallery.markup())
                    }
                }
            }
        }
    }
}

fn soft_labels(findings: &Findings) -> Markup {
    let heads = html! {
        th { "branch" } th { "seed" } th { "epochs" } th { "views" } th { "bytes" } th { "bytes per image" }
    };
    let rows = html! {
        @for (branch, labels) in findings.branches.iter().flat_map(|b| b.labels.iter().map(move |l| (b, l))) {
            tr {
                th { (branch.name) }
                td { (labels.seed) }
                td { (labels.epochs) }
                td { (grouped(labels.views)) }
                td { (human_bytes(labels.bytes)) }
                td { (human_bytes(labels.bytes_per_image.round() as u64)) }
            }
        }
    };
    html! {
        @if findings.branches.iter().any(|branch| !branch.labels.is_empty()) {
            section {
                h2 { "Soft labels" }
                p .note { "The stored views and the teacher's logits of them, one set for each student." }
                (table(None, &heads, &rows))
            }
        }
    }
}

/// Charts side by side.
pub(crate) fn charts(charts: &[Chart]) -> Markup {
    html! { div .charts { @for chart in charts { div .chart { (chart.markup()) } } } }
}

/// A table that scrolls sideways where the page is too narrow for it.
pub(crate) fn table(class: Option<&str>, heads: &Markup, rows: &Markup) -> Markup {
    html! {
        p .hint { "The table scrolls sideways." }
        div .scroll role="region" aria-label="table" tabindex="0" {
            table class=[class] {
                thead { tr { (heads) } }
                tbody { (rows) }
            }
        }
    }
}

fn seconds(findings: &Findings) -> Markup {
    let records = || findings.timings.iter().map(|timing| &timing.record);
    let longest = records().fold(f64::MIN_POSITIVE, |most, record| most.max(record.seconds));
    let mut stages: Vec<(&str, f64)> = Vec::new();
    for record in records() {
        match stages.iter_mut().find(|(name, _)| *name == record.stage) {
            Some((_, sum)) => *sum += record.seconds,
            None => stages.push((&record.stage, record.seconds)),
        }
    }
    let total: f64 = stages.iter().map(|(_, seconds)| seconds).sum();
    let heads = html! {
        th { "artifact" } th .text { "stage" } th .text { "device" } th { "peak memory" } th { "time" } th {}
    };
    let rows = html! {
        @for Timing { what, record } in &findings.timings {
            tr {
                th { (what) }
                td .text { (record.stage) }
                td .text { (record.device.as_deref().unwrap_or("–")) }
                td { (record.peak_memory_bytes.map_or_else(|| "–".to_owned(), human_bytes)) }
                td { (short_seconds(record.seconds)) @if record.resumed { " *" } }
                td .bar { span style={ "width:" (format!("{:.1}", 100.0 * record.seconds / longest)) "%" } {} }
            }
        }
    };
    html! {
        @if !findings.timings.is_empty() {
            section {
                h2 { "Time" }
                p .note {
                    (human_seconds(total)) " in all, when the artifacts were made; a run that finds them in the store takes none."
                    @if records().any(|record| record.resumed) {
                        " *: resumed from the checkpoint of a process that was killed; what that one had spent is not counted."
                    }
                }
                dl .facts { @for (stage, seconds) in stages { (fact(stage, short_seconds(seconds))) } }
                (table(Some("times"), &heads, &rows))
            }
        }
    }
}

fn recipes(findings: &Findings) -> Markup {
    let texts: Vec<&str> = findings.branches.iter().map(|branch| branch.recipe.as_str()).collect();
    let compared = recipe::compare(&texts);
    html! {
        section {
            h2 { "Recipe" }
            p .note { "What each artifact of a branch was made with, as its file says; marked lines are not the same in all branches." }
            @for (branch, lines) in findings.branches.iter().zip(&compared) {
                details {
                    summary { b { (branch.name) } }
                    pre { @for line in lines {
                        @if line.is_own { mark { (line.text) } } @else { (line.text) }
                        "\n"
                    } }
                }
            }
        }
    }
}

/// A count with a comma between thousands.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let comma = |index: usize| index > 0 && (digits.len() - index).is_multiple_of(3);
    digits
        .char_indices()
        .flat_map(|(index, digit)| comma(index).then_some(',').into_iter().chain([digit]))
        .collect()
}

/// Seconds with a decimal where they are few.
pub(crate) fn short_seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1} s") } else { human_seconds(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_short_times_read_well() {
        assert_eq!([0, 999, 1257, 1_281_167].map(grouped), ["0", "999", "1,257", "1,281,167"]);
        assert_eq!((short_seconds(0.24), short_seconds(75.0)), ("0.2 s".to_owned(), "1 min 15 s".to_owned()));
    }
}
