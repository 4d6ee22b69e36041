//! The comparison for people: a table as text, and a page with the same table, plots and images side by side.

use delt_harness::table::Score;
use delt_pipeline::amounts::{human_bytes, human_seconds};
use maud::{Markup, html};

use crate::chart::{Chart, Line, Scale};
use crate::compare::method::{Cost, Measures, Method};
use crate::curves::{self, Epochs};
use crate::findings::Findings;
use crate::gallery::{Gallery, picture};
use crate::page::{document, grouped};

/// Classes whose images are shown.
const CLASSES_SHOWN: usize = 4;

/// Heads of the columns.
const COLUMNS: [&str; 16] = [
    "method",
    "ipc",
    "student",
    "n",
    "last",
    "best",
    "hard labels",
    "LRS",
    "ARS",
    "to centroid",
    "pairwise",
    "image-iterations",
    "CPU time",
    "peak memory",
    "image bytes",
    "label bytes",
];

/// Columns of words, at the left.
const WORDS: [usize; 2] = [0, 2];

const NONE: &str = "-";

/// Aligned plain text, one line a method, under the name of its pipeline.
pub fn text(methods: &[Method]) -> String {
    let head = COLUMNS.map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(methods.iter().map(cells)).collect();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let aligned = |line: &[String; COLUMNS.len()]| {
        let cells = line.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match WORDS.contains(&column) {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = aligned(&lines[0]);
    let mut pipeline = "";
    for (method, line) in methods.iter().zip(&lines[1..]) {
        if method.pipeline != pipeline {
            pipeline = &method.pipeline;
            text.push_str(&format!("{pipeline}:\n"));
        }
        text.push_str(&aligned(line));
    }
    text
}

fn cells(method: &Method) -> [String; COLUMNS.len()] {
    let of = |value: &dyn Fn(&Measures) -> Option<String>| {
        method.measures.as_ref().and_then(value).unwrap_or_else(|| NONE.to_owned())
    };
    let score = |value: &dyn Fn(&Measures) -> Option<Score>| of(&|m| value(m).map(|score| score.to_string()));
    let short =
        |value: &dyn Fn(&Measures) -> Option<f64>| of(&|m| value(m).map(|value| format!("{value:.3}")));
    [
        method.name.clone(),
        method.ipc.to_string(),
        method.student.clone(),
        of(&|m| Some(m.last.n.to_string())),
        score(&|m| Some(m.last)),
        score(&|m| Some(m.best)),
        score(&|m| m.hard),
        short(&|m| m.lrs),
        short(&|m| m.ars),
        short(&|m| Some(m.cosine_to_centroid)),
        short(&|m| Some(m.pairwise_cosine)),
        of(&|m| Some(grouped(m.image_iterations))),
        of(&|m| m.cost.as_ref().and_then(cpu_time)),
        of(&|m| m.cost?.peak_memory_bytes.map(human_bytes)),
        of(&|m| Some(human_bytes(m.image_bytes))),
        of(&|m| Some(human_bytes(m.label_bytes))),
    ]
}

fn cpu_time(cost: &Cost) -> Option<String> {
    let seconds = human_seconds(cost.cpu_seconds?);
    Some(if cost.is_lower_bound { format!("> {seconds}") } else { seconds })
}

/// The page.
pub fn render(name: &str, description: &str, methods: &[Method], findings: &[Findings]) -> Markup {
    let lead = html! {
        p .kind { "dataset distillation, methods compared" }
        h1 { (name) }
        p .lead { (description) }
    };
    let sections = html! {
        (table(methods))
        @for findings in findings { (pipeline(findings, methods)) }
    };
    document(name, &lead, &sections)
}

fn table(methods: &[Method]) -> Markup {
    html! {
        section {
            h2 { "Methods" }
            p .note {
                "Top-1 in percent, mean ± sample standard deviation over n students. Last: after the last epoch. Best: the highest of "
                "the tested epochs. Hard labels: students that learn the images' classes. LRS, ARS: DD-Ranking's label- and "
                "augmentation-robust scores. To centroid, pairwise: mean cosine of teacher features within a class, lower is more "
                "diverse. CPU time and peak memory: of selecting and synthesizing the images, all processors together (>: a killed "
                "process is not counted). Label bytes: of one student."
            }
            div .scroll {
                table {
                    thead { tr {
                        th { "pipeline" }
                        @for (column, head) in COLUMNS.iter().enumerate() { th .text[WORDS.contains(&column)] { (head) } }
                    } }
                    tbody {
                        @for method in methods {
                            tr {
                                th { (method.pipeline) }
                                @for (column, cell) in cells(method).iter().enumerate() {
                                    td .text[WORDS.contains(&column)] .score[column == 4] { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pipeline(findings: &Findings, methods: &[Method]) -> Markup {
    let color = |name: &str| {
        let index = findings.branches.iter().position(|branch| branch.name == name);
        curves::color(index.unwrap_or(0))
    };
    let measured: Vec<(&Method, &Measures)> = methods
        .iter()
        .filter(|method| method.pipeline == findings.pipeline)
        .filter_map(|method| Some((method, method.measures.as_ref()?)))
        .collect();
    let line = |method: &Method, class: &str, points: Vec<(f64, f64)>| Line {
        name: method.name.clone(),
        class: format!("{}{class}", color(&method.name)),
        points,
    };
    let work = Chart {
        title: "accuracy against image-iterations".to_owned(),
        x_label: "image-iterations",
        y_label: "top-1 after the last epoch, %",
        scale: Scale::Linear,
        lines: measured
            .iter()
            .map(|(method, m)| line(method, " big", vec![(m.image_iterations as f64, m.last.mean)]))
            .collect(),
    };
    let diversity = Chart {
        title: "diversity by class".to_owned(),
        x_label: "classes, the most diverse first",
        y_label: "cosine to centroid",
        scale: Scale::Linear,
        lines: measured.iter().map(|(method, m)| line(method, "", by_rank(&m.cosine_by_class))).collect(),
    };
    if !findings.is_evaluated() {
        return html! { section { h2 { (findings.pipeline) } p .note { "Nothing of it has been evaluated yet." } } };
    }
    html! {
        section {
            h2 { (findings.pipeline) }
            p .note { (findings.description) }
            div .charts {
                div .chart { (curves::accuracy(findings, Epochs::All).markup()) }
                div .chart { (curves::accuracy(findings, Epochs::SecondHalf).markup()) }
                div .chart { (work.markup()) }
                div .chart { (diversity.markup()) }
            }
            ul .legend {
                @for branch in findings.branches.iter().filter(|branch| !branch.history.is_empty()) {
                    li { span .{ "swatch " (color(&branch.name)) } {} (branch.name) }
                }
                li .note { "thin: single students" }
            }
            (pictures(findings, &measured))
        }
    }
}

/// Values in ascending order by their place.
fn by_rank(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.into_iter().enumerate().map(|(rank, value)| (rank as f64, value)).collect()
}

/// The first classes, each with the images of all methods below one another; methods of the same images are one row.
fn pictures(findings: &Findings, measured: &[(&Method, &Measures)]) -> Markup {
    let mut galleries: Vec<(Vec<&str>, &Gallery)> = Vec::new();
    let shown = findings.branches.iter().filter(|branch| measured.iter().any(|(m, _)| m.name == branch.name));
    for (name, gallery) in shown.filter_map(|branch| Some((branch.name.as_str(), branch.gallery.as_ref()?))) {
        match galleries.iter_mut().find(|(_, other)| *other == gallery) {
            Some((names, _)) => names.push(name),
            None => galleries.push((vec![name], gallery)),
        }
    }
    let classes = galleries.first().map_or(&[][..], |(_, gallery)| &gallery.classes);
    html! {
        @for (index, class) in classes.iter().take(CLASSES_SHOWN).enumerate() {
            h3 { (class.name) }
            div .classes {
                @for (names, gallery) in &galleries {
                    @if let Some(class) = gallery.classes.get(index) {
                        section .class {
                            h4 title=(names.join(", ")) {
                                (names[0]) @if names.len() > 1 { " and " (names.len() - 1) " more of these images" }
                            }
                            div .slots {
                                @for slot in &class.slots {
                                    figure { (picture(&slot.synthetic_png, &format!("{}, {}", names[0], class.name))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(mean: f64) -> Score {
        Score { mean, std: 0.5, n: 3 }
    }

    fn delt() -> Method {
        let measures = Measures {
            last: score(52.75),
            best: score(53.0),
            hard: Some(Score { mean: 20.0, std: 0.0, n: 1 }),
            lrs: Some(0.25),
            ars: None,
            cosine_to_centroid: 0.8,
            pairwise_cosine: 0.6,
            cosine_by_class: vec![0.9, 0.7],
            images: 1000,
            image_iterations: 637_500,
            cost: Some(Cost {
                seconds: 100.0,
                cpu_seconds: Some(75.0),
                is_lower_bound: true,
                peak_memory_bytes: Some(1 << 20),
            }),
            image_bytes: 2048,
            label_bytes: 4096,
        };
        Method {
            pipeline: "p".into(),
            name: "delt".into(),
            ipc: 10,
            teacher: "convnet3-w128".into(),
            student: "convnet3-w128".into(),
            measures: Some(measures),
        }
    }

    #[test]
    fn the_text_has_a_line_for_each_method_and_dashes_for_what_was_not_measured() {
        let later = Method { name: "cda".into(), measures: None, ..delt() };
        let expected = "\
method  ipc  student        n          last          best  hard labels    LRS  ARS  to centroid  pairwise  image-iterations      CPU time  peak memory  image bytes  label bytes
p:
delt     10  convnet3-w128  3  52.75 ± 0.50  53.00 ± 0.50        20.00  0.250    -        0.800     0.600           637,500  > 1 min 15 s      1.0 MiB      2.0 KiB      4.0 KiB
cda      10  convnet3-w128  -             -             -            -      -    -            -         -                 -             -            -            -            -
";
        assert_eq!(text(&[delt(), later]), expected);
    }

    #[test]
    fn classes_are_drawn_from_the_most_diverse() {
        assert_eq!(by_rank(&[0.9, 0.7]), [(0.0, 0.7), (1.0, 0.9)]);
    }
}
