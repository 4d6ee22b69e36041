//! The comparison for people: a table as text, and a page with the same table, plots and images side by side.

use delt_harness::table::aligned;
use delt_pipeline::amounts::{human_bytes, human_seconds};
use maud::{Markup, html};

use crate::answers;
use crate::chart::{Chart, Line, Scale};
use crate::compare::method::{Cost, Method};
use crate::curves;
use crate::findings::Findings;
use crate::gallery::{Gallery, picture};
use crate::notes;
use crate::page::{charts, document, grouped, table};

/// Classes whose images are shown.
const CLASSES_SHOWN: usize = 4;

type Cell = fn(&Method) -> Option<String>;

/// Head and cell of each column; a cell is none where nothing was measured.
const COLUMNS: [(&str, Cell); 16] = [
    ("method", |m| Some(m.row.name.clone())),
    ("ipc", |m| Some(m.ipc.to_string())),
    ("student", |m| Some(m.row.student.clone())),
    ("n", |m| Some(m.row.n()?.to_string())),
    ("last", |m| Some(m.row.last?.to_string())),
    ("best", |m| Some(m.row.best?.to_string())),
    ("hard labels", |m| Some(m.hard?.to_string())),
    ("LRS", |m| m.lrs.map(three_decimals)),
    ("ARS", |m| m.ars.map(three_decimals)),
    ("to centroid", |m| m.row.cosine_to_centroid.map(three_decimals)),
    ("pairwise", |m| m.row.pairwise_cosine.map(three_decimals)),
    ("image-iterations", |m| m.row.image_iterations.map(grouped)),
    ("CPU time", |m| cpu_time(m.cost?)),
    ("peak memory", |m| m.cost?.peak_memory_bytes.map(human_bytes)),
    ("image bytes", |m| m.row.image_bytes.map(human_bytes)),
    ("label bytes", |m| m.row.label_bytes.map(human_bytes)),
];

fn three_decimals(value: f64) -> String {
    format!("{value:.3}")
}

fn cpu_time(cost: Cost) -> Option<String> {
    let seconds = human_seconds(cost.cpu_seconds?);
    Some(if cost.is_lower_bound { format!("> {seconds}") } else { seconds })
}

/// Columns of words, at the left.
const WORDS: [usize; 2] = [0, 2];

const NONE: &str = "-";

/// What the pipelines came to, in sentences.
pub fn verdict(findings: &[Findings]) -> String {
    let evaluated = findings.iter().filter(|findings| !findings.verdict.is_empty());
    let text =
        |findings: &Findings| format!("\n{}:\n{}\n", findings.table.pipeline, findings.verdict.join("\n"));
    evaluated.map(text).collect()
}

/// Aligned plain text, one line a method, under the name of its pipeline.
pub fn text(methods: &[Method]) -> String {
    let head = COLUMNS.map(|(head, _)| head.to_owned());
    let lines: Vec<_> = std::iter::once(head).chain(methods.iter().map(cells)).collect();
    let mut lines = aligned(&lines, &WORDS).into_iter();
    let mut text: String = lines.by_ref().take(1).collect();
    for group in methods.chunk_by(|a, b| a.pipeline == b.pipeline) {
        text.push_str(&format!("{}:\n", group[0].pipeline));
        text.extend(lines.by_ref().take(group.len()));
    }
    text
}

fn cells(method: &Method) -> [String; COLUMNS.len()] {
    COLUMNS.map(|(_, cell)| cell(method).unwrap_or_else(|| NONE.to_owned()))
}

/// The page.
pub fn render(name: &str, description: &str, methods: &[Method], findings: &[Findings]) -> Markup {
    let lead = html! {
        p .kind { "dataset distillation, methods compared" }
        h1 { (name) }
        p .lead { (description) }
    };
    let sections = html! {
        (comparison(methods))
        @for findings in findings { (pipeline(findings, methods)) }
    };
    document(name, &lead, &sections)
}

fn comparison(methods: &[Method]) -> Markup {
    let heads = html! {
        th { "pipeline" }
        @for (column, (head, _)) in COLUMNS.iter().enumerate() { th .text[WORDS.contains(&column)] { (head) } }
    };
    let rows = html! {
        @for method in methods {
            tr {
                th { (method.pipeline) }
                @for (column, cell) in cells(method).iter().enumerate() {
                    td .text[WORDS.contains(&column)] .score[column == 4] { (cell) }
                }
            }
        }
    };
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
            (table(None, &heads, &rows))
        }
    }
}

fn pipeline(findings: &Findings, methods: &[Method]) -> Markup {
    let color = |name: &str| {
        let index = findings.branches.iter().position(|branch| branch.name == name);
        curves::color(index.unwrap_or(0))
    };
    let measured: Vec<&Method> = methods
        .iter()
        .filter(|method| method.pipeline == findings.table.pipeline && method.row.last.is_some())
        .collect();
    let lines = |class: &str, points: fn(&Method) -> Vec<(f64, f64)>| -> Vec<Line> {
        let line = |method: &&Method| Line {
            name: method.row.name.clone(),
            class: format!("{}{class}", color(&method.row.name)),
            points: points(method),
        };
        measured.iter().map(line).collect()
    };
    let work = Chart {
        title: "accuracy against image-iterations".to_owned(),
        x_label: "image-iterations",
        y_label: "top-1 after the last epoch, %",
        scale: Scale::Linear,
        lines: lines(" big", |m| {
            let work = m.row.image_iterations.zip(m.row.last);
            work.map(|(iterations, last)| (iterations as f64, last.mean)).into_iter().collect()
        }),
        marks: Vec::new(),
    };
    let diversity = Chart {
        title: "diversity by class".to_owned(),
        x_label: "classes, the most diverse first",
        y_label: "cosine to centroid",
        scale: Scale::Linear,
        lines: lines("", |m| by_rank(&m.cosine_by_class)),
        marks: Vec::new(),
    };
    if !findings.is_evaluated() {
        return html! { section { h2 { (findings.table.pipeline) } p .note { "Nothing of it has been evaluated yet." } } };
    }
    let mut shown = curves::accuracy(findings);
    shown.extend([work, diversity]);
    html! {
        section {
            h2 { (findings.table.pipeline) }
            p .note { (findings.description) }
            (answers::verdict(findings))
            (notes::list(&findings.notes))
            (charts(&shown))
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
fn pictures(findings: &Findings, measured: &[&Method]) -> Markup {
    let mut galleries: Vec<(Vec<&str>, &Gallery)> = Vec::new();
    let shown = findings.branches.iter().filter(|branch| measured.iter().any(|m| m.row.name == branch.name));
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
                @for (names, class) in galleries.iter().filter_map(|(names, all)| Some((names, all.classes.get(index)?))) {
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

#[cfg(test)]
mod tests {
    use delt_harness::table::{Row, Score};

    use super::*;

    fn score(mean: f64) -> Option<Score> {
        Some(Score { mean, std: 0.5, n: 3 })
    }

    fn delt() -> Method {
        let row = Row {
            name: "delt".into(),
            student: "convnet3-w128".into(),
            last: score(52.75),
            best: score(53.0),
            images: Some(1000),
            image_iterations: Some(637_500),
            image_bytes: Some(2048),
            label_bytes: Some(4096),
            cosine_to_centroid: Some(0.8),
            pairwise_cosine: Some(0.6),
        };
        Method {
            pipeline: "p".into(),
            ipc: 10,
            teacher: "convnet3-w128".into(),
            row,
            hard: Some(Score { mean: 20.0, std: 0.0, n: 1 }),
            lrs: Some(0.25),
            ars: None,
            cosine_by_class: vec![0.9, 0.7],
            cost: Some(Cost {
                seconds: 100.0,
                cpu_seconds: Some(75.0),
                is_lower_bound: true,
                peak_memory_bytes: Some(1 << 20),
            }),
        }
    }

    #[test]
    fn the_text_has_a_line_for_each_method_and_dashes_for_what_was_not_measured() {
        let row = Row { name: "cda".into(), student: "convnet3-w128".into(), ..Row::default() };
        let later = Method { pipeline: "p".into(), ipc: 10, row, ..Method::default() };
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
