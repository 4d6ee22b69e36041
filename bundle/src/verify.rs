//! `verify-device`: what a device computes, and how fast, within so many minutes. Every part has a share of the time and runs in
//! processes of its own, so that one that hangs or dies takes nothing else with it; what was not reached is listed.

mod child;
mod golden;
mod machine;
mod pipeline;
mod report;
mod steps;
mod torch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use delt_harness::interrupt;
use serde_json::Value;

use crate::verify::report::{Found, State};

/// Checks a device against PyTorch's figures and measures it, within so many minutes.
#[derive(Debug, Parser)]
#[command(name = "verify-device", version)]
struct Args {
    /// Where to compute: `auto`, `flex`, `cuda`, `vulkan` or `wgpu`, a GPU with its number as in `cuda:1`.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Minutes after which the table stands, whatever was reached.
    #[arg(long, default_value = "8", value_parser = minutes)]
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
    Build,
    Device,
    Golden,
    Steps,
}

/// Which share of the time has passed when a part must have ended. A part that needs less leaves the rest to those after it.
const DEVICE_ENDS: f64 = 0.25;
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

/// Reads `--minutes`.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.1..=1440.0).contains(minutes));
    minutes.ok_or_else(|| "expected minutes from 0.1 to 1440".to_owned())
}

fn do_part(part: Part, args: &Args) -> Result<()> {
    match part {
        Part::Build => golden::describe_build(&args.device),
        Part::Device => machine::describe(&args.device)?,
        Part::Golden => golden::run(&serde_json::from_str::<Vec<String>>(&args.work)?),
        Part::Steps => steps::run(&args.device)?,
    }
    Ok(())
}

/// Whether some golden tests were reached, and they and every stage that was reached passed.
fn verify(args: &Args) -> Result<bool> {
    delt_device::check(&args.device)?;
    ensure!(!args.device.contains(','), "--device {}: expected one device", args.device);
    let log = log_beside(&args.output)?;
    interrupt::listen();
    let clock = Clock { started: Instant::now(), length: Duration::from_secs_f64(60.0 * args.minutes) };
    let children = child::Children { device: args.device.clone(), log };
    let mut found = Found::new(&args.device);
    let measured = measure(args, &children, clock, &mut found);
    let state = match &measured {
        _ if interrupt::is_requested() => State::Interrupted,
        Err(error) if is_closed_pipe(error) => State::Interrupted,
        Err(error) => State::Failed(format!("{error:#}")),
        Ok(()) => State::Finished,
    };
    let seconds = clock.started.elapsed().as_secs_f64();
    found.save(&args.output, &state, seconds)?;
    match report::print_end(&found, &state, &args.output, seconds) {
        Err(error) if !is_closed_pipe(&error) => Err(error),
        _ => Ok(state == State::Finished && found.passed()),
    }
}

/// At a reader that has seen enough, as in `verify-device | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Makes both files anew, so that one that cannot be written is said before any work.
fn log_beside(output: &Path) -> Result<PathBuf> {
    let log = output.with_extension("log");
    ensure!(
        log != output,
        "--output {}: the log has this name; expected one such as all.json",
        output.display()
    );
    for path in [output, &log] {
        let why =
            || format!("--output: {} cannot be written; expected a file such as all.json", path.display());
        std::fs::write(path, "").with_context(why)?;
    }
    Ok(log)
}

/// Part after part; what is found is written after each, since a machine may go away.
fn measure(args: &Args, children: &child::Children, clock: Clock, found: &mut Found) -> Result<()> {
    let save =
        |found: &Found| found.save(&args.output, &State::Unfinished, clock.started.elapsed().as_secs_f64());
    save(found)?;
    let untuned = untuned(args)?;
    if let Some(program) = &untuned {
        golden::check_untuned(children, program)?;
    }
    machine::ask(children, &mut found.device, clock.at(GOLDEN_ENDS), clock.at(DEVICE_ENDS))?;
    save(found)?;
    report::print_machine(&found.device)?;
    found.golden = golden::measure(children, untuned, clock.at(GOLDEN_ENDS))?;
    save(found)?;
    report::print_golden(&found.golden)?;
    // the steps have PyTorch's time where it is not there
    let spare = if torch::is_there(&args.python) { 0.0 } else { TORCH_ENDS - STAGES_END };
    found.steps = steps::measure(children, &found.device, clock.at(STEPS_END + spare))?;
    save(found)?;
    found.stages = pipeline::run(children, clock.at(STAGES_END + spare))?;
    save(found)?;
    found.peer =
        torch::measure(children, &args.python, &found.device, &mut found.steps, clock.at(TORCH_ENDS))?;
    report::print_steps(&found.steps, &found.peer)?;
    report::print_stages(&found.stages)
}

fn untuned(args: &Args) -> Result<Option<PathBuf>> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("delt-all-untuned"));
    let program = args.untuned.clone().or_else(|| beside().filter(|program| program.exists()));
    // a name without a folder would be looked for in PATH
    Ok(program.map(std::path::absolute).transpose()?)
}

/// Whether a part must end: its time is over, or the user wants to stop.
fn is_over(until: Instant) -> bool {
    Instant::now() >= until || interrupt::is_requested()
}

/// A number of an object, else NaN.
fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or(f64::NAN)
}
