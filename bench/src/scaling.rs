//! How seconds and memory grow with batch, size of image and classes; every point in a process of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use report::chart::{Chart, Line, Scale};

use crate::compute::{Case, Kind, Work};

/// One axis along which something grows.
struct Series {
    /// File name of its charts.
    name: &'static str,
    x_label: &'static str,
    x: fn(&Case) -> f64,
    lines: Vec<(&'static str, Vec<Work>)>,
}

const CONVNET3: Case = Case { network: "convnet3", size: 32, batch: 100, classes: 100 };
const RESNET18: Case = Case { network: "resnet18", size: 32, batch: 50, classes: 100 };
const RESNET18_IMAGENET: Case = Case { network: "resnet18-imagenet", size: 224, batch: 10, classes: 1000 };

fn series() -> Vec<Series> {
    let works =
        |kind, cases: Vec<Case>| cases.into_iter().map(|case| Work::new(kind, case)).collect::<Vec<_>>();
    let batches =
        |case: Case, batches: &[usize]| batches.iter().map(|batch| Case { batch: *batch, ..case }).collect();
    let sizes = |case: Case, sizes: &[u32]| {
        sizes.iter().map(|size| Case { size: *size, batch: 10, ..case }).collect()
    };
    let classes = |case: Case| [10, 100, 1000].map(|classes| Case { classes, batch: 25, ..case }).to_vec();
    let (recovery, student) = (Kind::Recovery, Kind::Student);
    vec![
        Series {
            name: "batch",
            x_label: "images in a batch, 32 px",
            x: |case| case.batch as f64,
            lines: vec![
                ("recovery, ConvNet-3", works(recovery, batches(CONVNET3, &[10, 25, 50, 100, 200]))),
                ("student step, ConvNet-3", works(student, batches(CONVNET3, &[10, 25, 50, 100, 200]))),
                ("recovery, ResNet-18", works(recovery, batches(RESNET18, &[10, 25, 50, 100]))),
                ("student step, ResNet-18", works(student, batches(RESNET18, &[10, 25, 50, 100]))),
            ],
        },
        Series {
            name: "size",
            x_label: "side of the images, px; batch 10",
            x: |case| f64::from(case.size),
            lines: vec![
                ("recovery, ConvNet-3", works(recovery, sizes(CONVNET3, &[32, 64, 128]))),
                ("recovery, ResNet-18, small stem", works(recovery, sizes(RESNET18, &[32, 64, 96]))),
                (
                    "recovery, ResNet-18, standard stem",
                    works(recovery, sizes(RESNET18_IMAGENET, &[64, 128, 224])),
                ),
                (
                    "student step, ResNet-18, standard stem",
                    works(student, sizes(RESNET18_IMAGENET, &[64, 128, 224])),
                ),
            ],
        },
        Series {
            name: "classes",
            x_label: "classes; batch 25, 32 px",
            x: |case| f64::from(case.classes),
            lines: vec![
                ("recovery, ConvNet-3", works(recovery, classes(CONVNET3))),
                ("recovery, ResNet-18", works(recovery, classes(RESNET18))),
            ],
        },
    ]
}

/// Every work that is measured here.
pub(crate) fn all() -> Vec<Work> {
    series().into_iter().flat_map(|series| series.lines).flat_map(|(_, works)| works).collect()
}

/// Writes `scaling.csv` and the charts; series whose name does not contain `only` are left out.
///
/// # Errors
/// Work that fails, or files that cannot be written.
pub(crate) fn measure(folder: &Path, runs: usize, device: &str, only: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut table = String::from("series,work,network,size,batch,classes,seconds,peak_mib\n");
    for series in series().into_iter().filter(|series| series.name.contains(only)) {
        let (mut seconds_lines, mut memory_lines) = (Vec::new(), Vec::new());
        for (index, (name, works)) in series.lines.iter().enumerate() {
            let (mut seconds_points, mut memory_points) = (Vec::new(), Vec::new());
            for work in works {
                let (seconds, mib) = alone(work, runs, device)?;
                let case = work.case;
                let row = format!(
                    "{},{name:?},{},{},{},{},{seconds:.4},{mib:.0}",
                    series.name, case.network, case.size, case.batch, case.classes
                );
                println!("{row}");
                table.push_str(&row);
                table.push('\n');
                seconds_points.push(((series.x)(&case), seconds));
                memory_points.push(((series.x)(&case), mib));
            }
            let line = |points| Line { name: (*name).to_owned(), class: format!("c{index}"), points };
            seconds_lines.push(line(seconds_points));
            memory_lines.push(line(memory_points));
        }
        for (what, y_label, lines) in
            [("seconds", "seconds", seconds_lines), ("memory", "peak memory, MiB", memory_lines)]
        {
            let title = format!("{what} against {}", series.x_label);
            let chart = Chart {
                title,
                x_label: series.x_label,
                y_label,
                scale: Scale::Log,
                lines,
                marks: Vec::new(),
            };
            std::fs::write(folder.join(format!("{}-{what}.svg", series.name)), chart.standalone())?;
        }
    }
    Ok(std::fs::write(folder.join("scaling.csv"), table)?)
}

/// Median seconds and peak memory, MiB, of a process that does nothing else.
fn alone(work: &Work, runs: usize, device: &str) -> Result<(f64, f64)> {
    let (name, runs) = (work.full_name(), runs.to_string());
    let output = Command::new(std::env::current_exe()?)
        .args(["--alone", &name, "--runs", &runs, "--device", device])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{name}: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let (seconds, bytes) = text.trim().split_once('\n').with_context(|| format!("{name}: found `{text}`"))?;
    Ok((seconds.parse()?, bytes.parse::<f64>()? / f64::from(1 << 20)))
}
