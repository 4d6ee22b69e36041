//! `delt-bench`: seconds of the work that a run consists of, alone or in alternation with the same work in PyTorch
//! (`make bench`, `make bench-torch`). Results go to stdout, one line each; `BENCHMARKS.md` keeps them.

#![expect(clippy::print_stdout, reason = "results go to stdout")]

mod compute;
mod matching;
mod memory;
mod scaling;
mod storage;
mod torch;
mod views;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;

pub use crate::compute::{Case, Job, Work};
pub use crate::memory::peak_bytes as peak_bytes_of_process;
use crate::torch::Peer;
pub use crate::torch::script;

/// Runs that are not counted, before the others.
const WARM_UP: usize = 2;

/// Measures the work that a run consists of.
#[derive(Debug, Parser)]
#[command(name = "delt-bench", version)]
struct Args {
    /// Where to compute: `auto`, `flex`, `cuda`, `vulkan` or `wgpu`, a GPU with its number as in `cuda:1`.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Counted runs of each work.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Only work whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// A Python with PyTorch: compare with bench/torch_peer.py, run by run in alternation.
    #[arg(long)]
    torch: Option<PathBuf>,
    /// Measure how seconds and memory grow with batch, size of image and classes: a table and charts in this folder.
    #[arg(long)]
    scaling: Option<PathBuf>,
    /// Run one work in this process, print its median seconds and peak memory and stop.
    #[arg(long, hide = true)]
    alone: Option<String>,
}

/// Measures what the arguments of this process name.
///
/// # Errors
/// Where the device, a file or PyTorch fails.
pub fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.runs > 0, "--runs 0, expected at least 1");
    let opened = delt_device::open(&args.device)?;
    if let Some(name) = &args.alone {
        let mut job = compute::find(name)?.start(&opened.device)?;
        for _ in 0..WARM_UP {
            job()?;
        }
        let mut seconds = (0..args.runs).map(|_| seconds_of(&mut job)).collect::<Result<Vec<_>>>()?;
        println!("{:.6}\n{}", spread(&mut seconds).1, memory::peak_bytes()?);
        return Ok(());
    }
    println!("device {}, {} threads", opened.name, rayon::current_num_threads());
    if let Some(folder) = &args.scaling {
        return scaling::measure(folder, args.runs, &args.device, &args.only);
    }
    let works: Vec<Work> =
        compute::all().into_iter().filter(|work| work.name().contains(&args.only)).collect();
    match &args.torch {
        Some(python) => compare(&args, &works, &opened.device, python),
        None => measure(&args, &works, &opened.device),
    }
}

/// Seconds and peak memory of every work, views per second, and MB/s of files.
fn measure(args: &Args, works: &[Work], device: &burn::tensor::Device) -> Result<()> {
    for work in works {
        let mut job = work.start(device)?;
        let mut seconds = timed(&mut job, args.runs)?;
        let (low, median, high) = spread(&mut seconds);
        let per_second = work.images() as f64 / median;
        let peak = peak_bytes(args, &work.name(), 1)? >> 20;
        println!(
            "{} {median:.4} s ({low:.4} to {high:.4}), {per_second:.0} images/s, peak memory {peak} MiB",
            work.name()
        );
    }
    views::measure(args.runs, &args.only)?;
    storage::measure(args.runs, &args.only)
}

/// Peak memory of a process that does nothing but this work, so many times after the runs that are not counted.
fn peak_bytes(args: &Args, name: &str, runs: usize) -> Result<u64> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--alone", name, "--runs", &runs.to_string(), "--device", &args.device]);
    memory::of_command(&mut command)
}

fn timed(job: &mut dyn FnMut() -> Result<()>, runs: usize) -> Result<Vec<f64>> {
    for _ in 0..WARM_UP {
        job()?;
    }
    (0..runs).map(|_| seconds_of(job)).collect()
}

fn seconds_of(job: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    job()?;
    Ok(started.elapsed().as_secs_f64())
}

/// One line per work, `ratio NAME MEDIAN MIN MAX`, of ours/PyTorch; the two take turns. A turn begins with a run that is not counted:
/// it has to win back the caches, while the threads of the other still wait for work without sleeping.
fn compare(
    args: &Args,
    works: &[Work],
    device: &burn::tensor::Device,
    python: &std::path::Path,
) -> Result<()> {
    let mut lines = Vec::new();
    for work in works {
        let name = work.name();
        let mut job = work.start(device)?;
        let mut peer = Peer::start(python, &name)?;
        for _ in 0..WARM_UP {
            job()?;
            peer.run()?;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..args.runs {
            job()?;
            ours.push(seconds_of(&mut job)?);
            peer.run()?;
            theirs.push(peer.run()?);
        }
        let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let (_, own, _) = spread(&mut ours);
        let (_, other, _) = spread(&mut theirs);
        let (low, median, high) = spread(&mut ratios);
        println!("{name}: {own:.4} s, PyTorch ({}) {other:.4} s", peer.layout());
        lines.push(format!("ratio {name} {median:.3} {low:.3} {high:.3}"));
    }
    for work in works.iter().filter(|work| work.compares_memory()) {
        let name = work.name();
        let ours = peak_bytes(args, &name, args.runs)?;
        let theirs = torch::peak_bytes(python, &name, WARM_UP + args.runs)?;
        let mib = |bytes: u64| bytes >> 20;
        println!("peak memory of {name}: {} MiB, PyTorch {} MiB", mib(ours), mib(theirs));
        let ratio = ours as f64 / theirs as f64;
        lines.push(format!("ratio memory-{name} {ratio:.3} {ratio:.3} {ratio:.3}"));
    }
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// Smallest, median and largest.
fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    };
    (values[0], median, values[values.len() - 1])
}
