//! Steps of recovery, students and labeling: the batch is the published one where the time allows it, else a smaller one.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType};
use delt_bench::{Case, Job, Work};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::verify::child::{Child, Children, Heard, Way, answer};
use crate::verify::{is_over, number};

/// A network of the benchmarks, the side of its images, the batch and the classes.
const CASES: [Case; 4] = [
    Case { network: "resnet18", size: 32, batch: 100, classes: 100 },
    Case { network: "resnet18", size: 64, batch: 100, classes: 200 },
    Case { network: "resnet18-imagenet", size: 224, batch: 64, classes: 1000 },
    Case { network: "resnet50-imagenet", size: 224, batch: 64, classes: 1000 },
];

const KINDS: [&str; 3] = ["recovery", "student", "labeling"];

/// Share of the throughput of a product that a network is expected to reach before one has been measured.
const EXPECTED: f64 = 0.15;

/// Steps that must fit into the time of a row: two that are not counted, then some.
const STEPS: f64 = 6.0;

/// Counted steps, at most.
const MOST: usize = 20;

/// Images of the smallest batch: batch statistics need two.
const SMALLEST: usize = 2;

/// Which part of the time that is left a row may take at most, where its even share is not more. Where kernels are compiled and
/// tuned, the first row of a network takes many times what those after it do.
const PATIENCE: f64 = 0.5;

/// What is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    /// Name of the work.
    pub(crate) kind: String,
    /// Place in the table of cases.
    case: usize,
    /// Images.
    batch: usize,
    /// `f32` or `bf16`.
    pub(crate) dtype: String,
    /// Seconds that it may take.
    seconds: f64,
}

impl Row {
    fn work(&self) -> Result<Work> {
        let case = Case { batch: self.batch, ..CASES[self.case] };
        let work = Work::of(&self.kind, case).with_context(|| format!("no work is called {}", self.kind))?;
        Ok(if self.dtype == "bf16" { work.in_bf16() } else { work })
    }

    fn name(&self) -> String {
        let Case { network, size, .. } = CASES[self.case];
        let network = network.trim_end_matches("-imagenet");
        format!("{} {network} {size} px {}", self.kind, self.dtype)
    }

    /// What is known before it is measured.
    fn facts(&self) -> Result<Value> {
        let Case { network, size, classes, .. } = CASES[self.case];
        Ok(json!({
            "name": self.name(), "kind": self.kind, "network": network, "size_px": size, "classes": classes,
            "dtype": self.dtype, "batch": self.batch, "multiplications": self.work()?.multiplications()?,
        }))
    }
}

/// All rows at their full batch, in the order in which they are measured.
fn rows() -> VecDeque<Row> {
    let mut rows = VecDeque::new();
    for dtype in ["f32", "bf16"] {
        for (case, Case { batch, .. }) in CASES.iter().enumerate() {
            rows.extend(KINDS.map(|kind| Row {
                kind: kind.to_owned(),
                case,
                batch: *batch,
                dtype: dtype.to_owned(),
                seconds: 0.0,
            }));
        }
    }
    rows
}

/// Measures the rows, and says of each that was not measured why.
///
/// # Errors
/// Where this program does not start.
pub(crate) fn measure(children: &Children, device: &Value, until: Instant) -> Result<Vec<Value>> {
    let mut results = Vec::new();
    // multiplications per second that the last row of a type reached
    let mut pace = ["f32", "bf16"].map(|dtype| EXPECTED * product(device, dtype));
    let is_cpu = device["is_cpu"] == true;
    let mut measurer = Measurer { children, is_cpu, child: None };
    let pace_of = |row: &Row| usize::from(row.dtype == "bf16");
    let mut left = rows();
    let mut shares = left.iter().filter(|row| !pace[pace_of(row)].is_nan()).count() as u32;
    while let Some(mut row) = left.pop_front() {
        let of_type = pace_of(&row);
        if pace[of_type].is_nan() {
            let is_unknown = device.get(format!("product_{}", row.dtype)).is_none();
            let why = if is_unknown {
                "not reached: no product was measured in time"
            } else {
                "not offered by the device"
            };
            results.push(refused(&row, why)?);
            continue;
        }
        let now = Instant::now();
        let rest = until.saturating_duration_since(now);
        let images = pace[of_type] / row.work()?.multiplications()? * row.batch as f64;
        let Some(share) = share(images, rest, shares).filter(|_| !is_over(until)) else {
            results
                .push(refused(&row, "not reached: two steps of two images would take longer than is left")?);
            continue;
        };
        shares -= 1;
        row.batch = row.batch.min(share.batch);
        row.seconds = share.seconds;
        let mut result = measurer.row(&row, now + share.patience)?;
        if let Some(reached) = result["multiplications_per_second"].as_f64() {
            pace[of_type] = reached;
            result["share_of_product"] = json!(reached / product(device, &row.dtype));
        }
        let _ = writeln!(std::io::stderr(), "{}", crate::verify::report::step(&result));
        results.push(result);
    }
    Ok(results)
}

/// What a row may have.
#[derive(Debug, PartialEq)]
struct Share {
    batch: usize,
    seconds: f64,
    patience: Duration,
}

/// The share of a row of those that are left, by the images per second that it is expected to do. Where its even share is too short for
/// the smallest batch it may take all that is left; `None` where that is too short too.
fn share(images: f64, rest: Duration, rows: u32) -> Option<Share> {
    let even = rest / rows.max(1);
    let batch = (images * even.as_secs_f64() / STEPS) as usize;
    let seconds = even.as_secs_f64();
    if batch >= SMALLEST {
        return Some(Share { batch, seconds, patience: even.max(rest.mul_f64(PATIENCE)) });
    }
    let fits = images * rest.as_secs_f64() >= 2.0 * SMALLEST as f64;
    fits.then_some(Share { batch: SMALLEST, seconds, patience: rest })
}

/// Multiplications per second of the device's product, NaN where the type is not offered.
pub(crate) fn product(device: &Value, dtype: &str) -> f64 {
    number(&device[format!("product_{dtype}")], "multiplications_per_second")
}

fn refused(row: &Row, why: &str) -> Result<Value> {
    let mut facts = row.facts()?;
    facts["why"] = json!(why);
    Ok(facts)
}

/// A child that measures rows. Kernels stay compiled in it, so it is kept where there are any; memory of the CPU is that of its process.
struct Measurer<'a> {
    children: &'a Children,
    is_cpu: bool,
    child: Option<Child>,
}

impl Measurer<'_> {
    fn row(&mut self, row: &Row, until: Instant) -> Result<Value> {
        let mut child = match self.child.take() {
            Some(child) => child,
            None => self.children.start(&Way::default(), "steps", &())?,
        };
        child.tell(&serde_json::to_value(row)?)?;
        let result = match child.hear(until) {
            Heard::Line(result) => result,
            Heard::Ended(status) => return refused(row, &format!("failed: {status}; the log says more")),
            Heard::Late => return refused(row, "not reached: killed when its time was over"),
        };
        self.child = Some(child).filter(|_| !self.is_cpu);
        let mut facts = row.facts()?;
        if let (Some(facts), Some(result)) = (facts.as_object_mut(), result.as_object()) {
            facts.extend(result.clone());
        }
        if let Some(seconds) = facts["seconds"].as_f64() {
            facts["images_per_second"] = json!(row.batch as f64 / seconds);
            facts["multiplications_per_second"] = json!(number(&facts, "multiplications") / seconds);
        }
        Ok(facts)
    }
}

/// In the child: measures the rows that come in, a line of each.
///
/// # Errors
/// Where the device does not open.
pub(crate) fn run(choice: &str) -> Result<()> {
    let opened = delt_device::open(choice)?;
    for line in std::io::stdin().lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let result = timed(&row, &opened.device, opened.is_cpu());
        answer(&result.unwrap_or_else(|error| json!({"why": format!("failed: {error:#}")})));
    }
    Ok(())
}

fn timed(row: &Row, device: &Device, is_cpu: bool) -> Result<Value> {
    let offers = row.dtype == "f32" || device.supports_dtype(FloatDType::BF16);
    ensure!(offers, "the device does not offer {}", row.dtype);
    device.memory_cleanup();
    let started = Instant::now();
    let mut job = row.work()?.start(device)?;
    let mut run = |times: usize| steps(&mut job, device, times);
    let first = run(1)?;
    let left = || row.seconds - started.elapsed().as_secs_f64();
    // on the CPU nothing is compiled: a step that took its time is all there is, elsewhere it says nothing
    let (seconds, runs) = if is_cpu && 2.0 * first > left() {
        (first, 0)
    } else {
        let second = run(1)?;
        let runs = ((left().max(2.0) / 2.0 / second) as usize).clamp(1, MOST);
        (run(runs)? / runs as f64, runs)
    };
    let of_device = device.memory_pool_usage().map(|usage| usage.bytes_reserved);
    let memory = of_device.or_else(|| delt_bench::peak_bytes_of_process().ok());
    Ok(json!({
        "seconds": seconds, "runs": runs, "first_seconds": first, "peak_bytes": memory,
        "peak_of": if of_device.is_some() { "device" } else { "process" },
    }))
}

/// Seconds of so many steps, to the end of the last.
fn steps(job: &mut Job, device: &Device, times: usize) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..times {
        job()?;
    }
    device.sync()?;
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_even_share_is_too_short_for_two_images_may_take_all_that_is_left() {
        let minute = Duration::from_secs(60);
        let (half, tenth) = (minute / 2, Duration::from_secs(6));
        assert_eq!(share(100.0, minute, 10), Some(Share { batch: 100, seconds: 6.0, patience: half }));
        assert_eq!(share(100.0, minute, 1), Some(Share { batch: 1000, seconds: 60.0, patience: minute }));
        assert_eq!(share(1.0, minute, 10), Some(Share { batch: 2, seconds: 6.0, patience: minute }));
        assert_eq!(share(0.5, tenth, 10), None);
    }
}
