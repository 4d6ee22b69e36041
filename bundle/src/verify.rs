//! `verify-device`: what a device computes, and how fast, within so many minutes. Every part has a share of the time and runs in
//! processes of its own, so that one that hangs or dies takes nothing else with it; what was not reached is listed.

mod child;
mod golden;
mod machine;
mod pipeline;
mod report;
mod steps;
mod torch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use serde_json::Value;

/// Checks a device against PyTorch's figures and measures it, within so many minutes.
#[derive(Debug, Parser)]
#[command(name = "verify-device", version)]
struct Args {
    /// Where to compute: `auto`, `flex`, `cuda`, `vulkan` or `wgpu`, a GPU with its number as in `cuda:1`.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Minutes after which the table stands, whatever was reached.
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// Where all figures are written; what the parts say goes to a file of this name with `.log`.
    #[arg(long, default_value = "verify-device.json")]
    output: PathBuf,
    /// The same program built with TUNE=0, whose golden tests run first; else `delt-all-untuned` beside this one, where it is.
    #[arg(long)]
    untuned: Option<PathBuf>,
    /// The Python that is asked for PyTorch.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Do one part in this process, for the one that measures.
    #[arg(long, hide = true)]
    part: Option<Part>,
    /// What the part is to do, as JSON.
    #[arg(long, hide = true, default_value = "null")]
    work: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    Device,
    Golden,
    Steps,
}

/// Which share of the time has passed when a part must have ended. A part that needs less leaves the rest to those after it.
const GOLDEN_ENDS: f64 = 0.4;
const STEPS_END: f64 = 0.7;
const STAGES_END: f64 = 0.82;
const TORCH_ENDS: f64 = 0.98;

/// When parts must end.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    length: Duration,
}

impl Clock {
    fn at(self, share: f64) -> Instant {
        self.started + self.length.mul_f64(share)
    }
}

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.part {
        Some(part) => do_part(part, &args).map(|()| true),
        None => verify(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => crate::told("verify-device", Err(error)),
    }
}

fn do_part(part: Part, args: &Args) -> Result<()> {
    match part {
        Part::Device => machine::describe(&args.device),
        Part::Golden => golden::run(&serde_json::from_str::<Vec<String>>(&args.work)?),
        Part::Steps => steps::run(&args.device),
    }
}

/// Whether every golden test and stage that was reached passed.
fn verify(args: &Args) -> Result<bool> {
    ensure!(args.minutes > 0.0, "--minutes {}, expected more than 0", args.minutes);
    let clock = Clock { started: Instant::now(), length: Duration::from_secs_f64(60.0 * args.minutes) };
    let log = args.output.with_extension("log");
    std::fs::write(&log, "").with_context(|| format!("{} cannot be written", log.display()))?;
    let children = child::Children { device: args.device.clone(), log };

    let device = machine::ask(&children, clock.at(GOLDEN_ENDS))?;
    report::print_machine(&device);
    let golden = golden::measure(&children, untuned(args), clock.at(GOLDEN_ENDS))?;
    report::print_golden(&golden);
    let mut steps = steps::measure(&children, &device, clock.at(STEPS_END))?;
    let stages = pipeline::run(&children, clock.at(STAGES_END))?;
    let peer = torch::measure(&children, &args.python, &device, &mut steps, clock.at(TORCH_ENDS))?;
    report::print_steps(&steps, &peer);
    report::print_stages(&stages);

    let seconds = clock.started.elapsed().as_secs_f64();
    let failed = stages.iter().any(|stage| stage["outcome"] == "failed");
    let passed = !failed && golden.iter().all(golden::Suite::passed);
    let all = report::all(&device, &golden, &steps, &stages, &peer, seconds);
    let text = serde_json::to_string_pretty(&all)?;
    std::fs::write(&args.output, text + "\n")
        .with_context(|| format!("{} cannot be written", args.output.display()))?;
    report::print_end(&all, &args.output, seconds);
    Ok(passed)
}

fn untuned(args: &Args) -> Option<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("delt-all-untuned"));
    args.untuned.clone().or_else(|| beside().filter(|program| program.exists()))
}

/// A number of an object, else NaN.
fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or(f64::NAN)
}
