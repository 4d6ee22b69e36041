//! The page: sections in the order in which a reader asks, everything inlined, no script.

use delt_harness::table::Row;
use delt_pipeline::amounts::{human_bytes, human_seconds};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::curves::{self, Epochs};
use crate::findings::{BranchFindings, Findings};
use crate::recipe;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn render(findings: &Findings) -> Markup {
    let lead = html! {
        p .kind { "dataset distillation, DELT" }
        h1 { (findings.pipeline) }
        p .lead { (findings.description) }
        (facts(findings))
    };
    let sections = html! {
        (results(findings))
        (losses(findings))
        (pictures(findings))
        (soft_labels(findings))
        (seconds(findings))
        (recipes(findings))
    };
    document(&findings.pipeline, &lead, &sections)
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

fn facts(findings: &Findings) -> Markup {
    let fact = |name: &str, value: String| html! { div { dt { (name) } dd { (value) } } };
    html! {
        dl .facts {
            @if let Some(dataset) = &findings.dataset {
                (fact("classes", findings.classes.len().to_string()))
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
    let cell = |text: Option<String>| html! { td { (text.unwrap_or_else(|| "–".to_owned())) } };
    let color = |row: &Row| match findings.branches.iter().position(|branch| branch.name == row.name) {
        Some(index) if !row.is_full_data() => curves::color(index),
        _ => "full".to_owned(),
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
            div .scroll {
                table {
                    thead { tr {
                        th { "trained on" } th .text { "student" } th { "last" } th { "best" } th { "n" } th { "images" }
                        th { "image-iterations" } th { "image bytes" } th { "label bytes" } th { "cosine" }
                    } }
                    tbody {
                        @for row in &findings.table.rows {
                            tr {
                                th { span .{ "swatch " (color(row)) } {} (row.name) }
                                td .text { (row.student) }
                                td .score { (row.last.map_or_else(|| "–".to_owned(), |score| score.to_string())) }
                                (cell(row.best.map(|score| score.to_string())))
                                (cell(row.n().map(|n| n.to_string())))
                                (cell(row.images.map(grouped)))
                                (cell(row.image_iterations.map(grouped)))
                                (cell(row.image_bytes.map(human_bytes)))
                                (cell(row.label_bytes.map(human_bytes)))
                                (cell(row.cosine_to_centroid.map(|cosine| format!("{cosine:.3}"))))
                            }
                        }
                    }
                }
            }
            div .charts {
                div .chart { (curves::accuracy(findings, Epochs::All).markup()) }
                @if findings.branches.iter().any(|branch| !branch.history.is_empty()) {
                    div .chart { (curves::accuracy(findings, Epochs::SecondHalf).markup()) }
                }
            }
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
                p .note { "Of the augmented images, by iteration of a batch; new images join with each round. Thin: single batches." }
                @for (index, branch) in traced() {
                    @if traced().count() > 1 { h3 { (branch.name) } }
                    div .charts {
                        div .chart { (curves::loss(branch, index, 0).markup()) }
                        div .chart { (curves::loss(branch, index, 1).markup()) }
                    }
                }
            }
        }
    }
}

fn pictures(findings: &Findings) -> Markup {
    // the optimized images are what people come for
    let mut shown: Vec<&BranchFindings> =
        findings.branches.iter().filter(|branch| branch.gallery.is_some()).collect();
    shown.sort_by_key(|branch| branch.gallery.as_ref().is_none_or(|gallery| !gallery.is_optimized));
    html! {
        @if !shown.is_empty() {
            section {
                h2 { "Images" }
                @for branch in shown {
                    @if let Some(gallery) = &branch.gallery {
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
}

fn soft_labels(findings: &Findings) -> Markup {
    html! {
        @if findings.branches.iter().any(|branch| !branch.labels.is_empty()) {
            section {
                h2 { "Soft labels" }
                p .note { "The stored views and the teacher's logits of them, one set for each student." }
                div .scroll {
                    table {
                        thead { tr {
                            th { "branch" } th { "seed" } th { "epochs" } th { "views" } th { "bytes" } th { "bytes per image" }
                        } }
                        tbody {
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
                        }
                    }
                }
            }
        }
    }
}

fn seconds(findings: &Findings) -> Markup {
    let longest = findings.timings.iter().fold(f64::MIN_POSITIVE, |most, timing| most.max(timing.seconds));
    let mut stages: Vec<(&str, f64)> = Vec::new();
    for timing in &findings.timings {
        match stages.iter_mut().find(|(name, _)| *name == timing.stage) {
            Some((_, sum)) => *sum += timing.seconds,
            None => stages.push((&timing.stage, timing.seconds)),
        }
    }
    let total: f64 = stages.iter().map(|(_, seconds)| seconds).sum();
    html! {
        @if !findings.timings.is_empty() {
            section {
                h2 { "Time" }
                p .note {
                    (human_seconds(total)) " in all, when the artifacts were made; a run that finds them in the store takes none."
                    @if findings.timings.iter().any(|timing| timing.resumed) {
                        " *: resumed from the checkpoint of a process that was killed; what that one had spent is not counted."
                    }
                }
                dl .facts { @for (stage, seconds) in stages { div { dt { (stage) } dd { (short_seconds(seconds)) } } } }
                div .scroll {
                    table .times {
                        thead { tr {
                            th { "artifact" } th .text { "stage" } th .text { "device" } th { "peak memory" } th { "time" } th {}
                        } }
                        tbody {
                            @for timing in &findings.timings {
                                tr {
                                    th { (timing.what) }
                                    td .text { (timing.stage) }
                                    td .text { (timing.device.as_deref().unwrap_or("–")) }
                                    td { (timing.peak_memory_bytes.map_or_else(|| "–".to_owned(), human_bytes)) }
                                    td { (short_seconds(timing.seconds)) @if timing.resumed { " *" } }
                                    td .bar { span style={ "width:" (format!("{:.1}", 100.0 * timing.seconds / longest)) "%" } {} }
                                }
                            }
                        }
                    }
                }
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
fn short_seconds(seconds: f64) -> String {
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
