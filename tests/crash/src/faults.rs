//! System calls on the store that fail with EIO, and a clock that jumps, by a library that is loaded before the C library.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::World;
use crate::claims::race;
use crate::draws::Draws;
use crate::stages::{STAGES, finish};
use crate::tally::Tally;

/// How often calls of each stage fail.
const TRIES: u32 = 25;
/// Writers of one key whose clocks jump.
const WRITERS: usize = 4;

/// Compiles `faults.c`; nothing where that cannot be done.
fn library(world: &World) -> Result<Option<PathBuf>> {
    let (source, library) = (world.scratch.join("faults.c"), world.scratch.join("faults.so"));
    fs_err::write(&source, include_str!("faults.c"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    Ok(compiler.status().is_ok_and(|status| status.success()).then_some(library))
}

fn skipped() -> Tally {
    Tally::skipped("there is no C compiler `cc`, or no LD_PRELOAD")
}

/// One call fails, all others go on.
pub(crate) fn one_call(world: &World, draws: &mut Draws) -> Result<Tally> {
    failing_calls(world, draws, false)
}

/// From one call on all fail.
pub(crate) fn all_calls(world: &World, draws: &mut Draws) -> Result<Tally> {
    failing_calls(world, draws, true)
}

fn failing_calls(world: &World, draws: &mut Draws, is_forever: bool) -> Result<Tally> {
    let Some(library) = library(world)? else { return Ok(skipped()) };
    let (store, counted) = (world.scratch.join("failing"), world.scratch.join("count"));
    let mut tally = Tally::default();
    for stage in STAGES {
        let run = |at: u64, is_forever: bool| {
            let mut command = world.stages.command(stage, &store);
            command.env("LD_PRELOAD", &library).env("FAULT_BELOW", &store).env("FAULT_COUNT", &counted);
            command.env("FAULT_AT", at.to_string());
            if is_forever {
                command.env("FAULT_FOREVER", "1");
            }
            finish(command)
        };
        world.expected.store_without(stage, &store)?;
        ensure!(run(0, false)?.is_success, "{stage} fails under faults.c");
        let calls = counts(&counted)?.0;
        if calls == 0 {
            return Ok(skipped());
        }
        fs_err::remove_dir_all(&store)?;
        for _ in 0..TRIES {
            world.expected.store_without(stage, &store)?;
            let at = 1 + draws.below(calls);
            let said = run(at, is_forever)?;
            let ended = match (world.expected.believed_wrongly(&store)?, said.is_success) {
                (Some(problem), _) => Err(problem),
                (None, false) if !said.stderr.contains("Input/output error") => {
                    Err(format!("fails for another reason: {}", said.last_line()))
                }
                (None, is_success) => {
                    let problem = world.expected.is_not_reached_from(stage, &store, &world.stages)?;
                    problem
                        .map_or(Ok(if is_success { "done all the same" } else { "refused" }.to_owned()), Err)
                }
            };
            tally.count(&format!("{stage}, call {at} of {calls}"), ended);
            fs_err::remove_dir_all(&store)?;
        }
    }
    Ok(tally)
}

/// How many calls were counted, and how many looks at the clock.
fn counts(file: &Path) -> Result<(u64, u64)> {
    let text = fs_err::read_to_string(file)?;
    let mut numbers = text.split(' ').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0));
    Ok((next()?, next()?))
}

/// Each stage alone and in a race of several, every process with a clock that jumps by up to a day at each look.
pub(crate) fn clock(world: &World, _: &mut Draws) -> Result<Tally> {
    let Some(library) = library(world)? else { return Ok(skipped()) };
    let counted = world.scratch.join("count");
    let mut tally = Tally::default();
    for stage in STAGES {
        for writers in [1, WRITERS] {
            let ended = race(world, stage, writers, |command| {
                command.env("LD_PRELOAD", &library).env("CLOCK_JUMPS", "1").env("FAULT_COUNT", &counted);
            })?;
            ensure!(
                writers > 1 || counts(&counted)?.1 > 0,
                "{stage} does not look at the clock through faults.c"
            );
            tally.count(&format!("{stage}, {writers} at once"), ended);
        }
    }
    Ok(tally)
}
