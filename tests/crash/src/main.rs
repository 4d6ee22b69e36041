//! Kills the stages, takes their disk away, lies to them about time and changes their files, and counts what comes out
//! wrong. `make test-crash COUNT=200 SEED=1`; what was found stands in `docs/reliability.md`.
//!
//! | module | what happens to a stage |
//! |---|---|
//! | [`kills`] | SIGKILL at a random moment |
//! | [`disk`] | a full disk, a read-only store |
//! | [`faults`] | system calls that fail, a clock that jumps (`faults.c`, loaded before the C library) |
//! | [`claims`] | several writers of one key, claims that nobody moves |
//! | [`damage`] | changed and shortened files of artifacts, checkpoints and unfinished publications |
//!
//! [`stages`] runs them; [`expected`] holds what an undisturbed run made and finds every difference from it.

#![cfg(unix)]

mod claims;
mod damage;
mod disk;
mod draws;
mod expected;
mod faults;
mod kills;
mod stages;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::draws::Draws;
use crate::expected::Expected;
use crate::stages::Stages;
use crate::tally::Tally;

/// Disturbs the stages in every way that a machine may, and counts what comes out wrong.
#[derive(Parser)]
struct Args {
    /// Folder of the stage binaries.
    #[arg(long)]
    bin: PathBuf,
    /// How often a stage is killed.
    #[arg(long, default_value_t = 200)]
    count: u32,
    /// Of the random moments and places; by the clock if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only the scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Everything a scenario needs.
struct World {
    stages: Stages,
    expected: Expected,
    /// Stores are made and removed here.
    scratch: PathBuf,
    kills: u32,
}

type Scenario = fn(&World, &mut Draws) -> Result<Tally>;

const KILLS: &str = "kills";
const SCENARIOS: [(&str, Scenario); 12] = [
    ("full disk", disk::full),
    ("read-only store", disk::read_only),
    ("one failed call", faults::one_call),
    ("a disk that dies", faults::all_calls),
    ("clock that jumps", faults::clock),
    ("two writers", claims::two_writers),
    ("eight writers", claims::eight_writers),
    ("stale claims", claims::stale),
    ("damaged artifacts", damage::artifacts),
    ("damaged pointers", damage::pointers),
    ("damaged checkpoints", damage::checkpoints),
    (KILLS, kills::kills),
];

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("test-crash: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many disturbances had a wrong outcome.
#[expect(clippy::print_stdout, reason = "the counts are the result")]
fn run(args: &Args) -> Result<usize> {
    let by_clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let seed = args.seed.unwrap_or_else(by_clock);
    println!("seed {seed}");
    let scratch = tempfile::Builder::new().prefix("delt-crash-").tempdir()?;
    let folder = fs_err::canonicalize(scratch.path())?;
    let stages = Stages::new(&args.bin)?;
    let expected = Expected::make(&stages, &folder).context("an undisturbed run")?;
    println!("undisturbed: {expected}");
    let world = World { stages, expected, scratch: folder, kills: args.count };
    let mut wrong = 0;
    let mut last = None;
    for (number, (name, scenario)) in (0..).zip(SCENARIOS) {
        if !name.contains(&args.only) {
            continue;
        }
        let started = Instant::now();
        let tally = scenario(&world, &mut Draws::new(seed, number)).context(name)?;
        println!("{name}: {tally}, {} s", started.elapsed().as_secs());
        wrong += tally.wrong.len();
        if name == KILLS {
            last = Some(format!("kills {}, wrong {}", tally.tried, tally.wrong.len()));
        }
    }
    println!("{}", last.unwrap_or_else(|| format!("wrong {wrong}")));
    Ok(wrong)
}
