//! Several processes that want one artifact, and claims whose holders are gone or stand still.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use delt_store::{Entry, STALE_SECONDS};
use serde_json::json;

use crate::World;
use crate::draws::Draws;
use crate::stages::{STAGES, Said, finish, signal};
use crate::tally::Tally;

/// Races of two, and of eight, for each stage.
const RACES_OF_TWO: u32 = 4;
const RACES_OF_EIGHT: u32 = 2;
/// How often a stage is started until it stands still with a claim.
const STOPS: u32 = 20;

/// Two processes at once.
pub(crate) fn two_writers(world: &World, _: &mut Draws) -> Result<Tally> {
    races(world, 2, RACES_OF_TWO)
}

/// Eight processes at once.
pub(crate) fn eight_writers(world: &World, _: &mut Draws) -> Result<Tally> {
    races(world, 8, RACES_OF_EIGHT)
}

fn races(world: &World, writers: usize, times: u32) -> Result<Tally> {
    let mut tally = Tally::default();
    for stage in STAGES {
        for _ in 0..times {
            tally.count(&format!("{writers} times {stage}"), race(world, stage, writers, |_| {})?);
        }
    }
    Ok(tally)
}

/// Starts a stage several times at once: each must end well, and each artifact be made by one.
pub(crate) fn race(
    world: &World,
    stage: &str,
    writers: usize,
    prepare: impl Fn(&mut Command),
) -> Result<Result<String, String>> {
    let store = world.scratch.join("contested");
    world.expected.store_without(stage, &store)?;
    let start = |_| {
        let mut command = world.stages.command(stage, &store);
        prepare(&mut command);
        Ok(command.spawn()?)
    };
    let children = (0..writers).map(start).collect::<Result<Vec<Child>>>()?;
    let mut said = Vec::new();
    for child in children {
        said.push(Said::from(child.wait_with_output()?));
    }
    let ended = judge(world, stage, &store, &said)?;
    fs_err::remove_dir_all(&store)?;
    Ok(ended)
}

fn judge(world: &World, stage: &str, store: &Path, said: &[Said]) -> Result<Result<String, String>> {
    if let Some(failed) = said.iter().find(|said| !said.is_success) {
        return Ok(Err(format!("one fails: {}", failed.last_line())));
    }
    for Entry { dir, .. } in world.expected.made_by(stage) {
        let line_end = format!("({})", store.join(&dir).display());
        let makers = said.iter().filter(|said| said.stderr.contains(&line_end)).count();
        if makers != 1 {
            return Ok(Err(format!("{makers} made {}", dir.display())));
        }
    }
    let problem = world.expected.is_not_reached_from(stage, store, &world.stages)?;
    Ok(problem.map_or(Ok("made by one".to_owned()), Err))
}

/// A claim left by a dead process of another machine, and one of a process that is stopped and goes on later, for each stage;
/// all at once, since each waits for a minute and a half.
pub(crate) fn stale(world: &World, _: &mut Draws) -> Result<Tally> {
    let mut tally = Tally::default();
    let outcomes = std::thread::scope(|scope| {
        let threads = STAGES.map(|stage| {
            let left = scope.spawn(move || left_claim(world, stage));
            let stopped = scope.spawn(move || stopped_holder(world, stage));
            [(format!("{stage}, left claim"), left), (format!("{stage}, stopped holder"), stopped)]
        });
        threads.into_iter().flatten().map(|(what, thread)| (what, thread.join())).collect::<Vec<_>>()
    });
    for (what, outcome) in outcomes {
        let Ok(ended) = outcome else { anyhow::bail!("{what}: the test itself panicked") };
        tally.count(&what, ended.with_context(|| what.clone())?);
    }
    Ok(tally)
}

/// The claim of a process of which nothing can be known lies there; the stage waits, then makes the artifact.
fn left_claim(world: &World, stage: &str) -> Result<Result<String, String>> {
    let store = world.scratch.join(format!("left-claim-{stage}"));
    world.expected.store_without(stage, &store)?;
    for entry in world.expected.made_by(stage) {
        let name = entry.dir.display().to_string().replace('/', "-");
        let work_dir = store.join("work").join(name);
        let claim = json!({
            "beat": "00000000000000000007", "host": "elsewhere", "machine": "another", "pid": 1, "token": "0123456789abcdef"
        });
        fs_err::create_dir_all(&work_dir)?;
        fs_err::write(work_dir.join("claim.1"), claim.to_string())?;
    }
    let started = Instant::now();
    let said = world.stages.run(stage, &store)?;
    if !said.is_success || !said.stderr.contains("is being made by process 1 on elsewhere; waiting") {
        return Ok(Err(format!("said: {}", said.stderr)));
    }
    if started.elapsed() < Duration::from_secs(STALE_SECONDS) {
        return Ok(Err(format!("took the claim over after {} s", started.elapsed().as_secs())));
    }
    let problem = world.expected.is_not_reached_from(stage, &store, &world.stages)?;
    Ok(problem.map_or(Ok("taken over".to_owned()), Err))
}

/// A process that stands still with its claim: a second one takes over, and the first makes no harm when it goes on.
fn stopped_holder(world: &World, stage: &str) -> Result<Result<String, String>> {
    let store = world.scratch.join(format!("stopped-holder-{stage}"));
    let Some(stopped) = stop_with_claim(world, stage, &store)? else {
        return Ok(Err("never stood still with a claim".to_owned()));
    };
    let second = finish(world.stages.command(stage, &store));
    signal(&stopped, "CONT")?;
    let first = Said::from(stopped.wait_with_output()?);
    let second = second?;
    if !second.is_success || !second.stderr.contains("; waiting") {
        return Ok(Err(format!("the second said: {}", second.stderr)));
    }
    if !first.is_success && !first.stderr.contains("taken over by") {
        return Ok(Err(format!("the first fails for another reason: {}", first.last_line())));
    }
    let problem = world.expected.is_not_reached_from(stage, &store, &world.stages)?;
    let outcome = if first.is_success { "taken over, first ends well" } else { "taken over, first refused" };
    Ok(problem.map_or(Ok(outcome.to_owned()), Err))
}

/// Starts a stage and stops it (SIGSTOP) with a claim, before its artifact is there.
fn stop_with_claim(world: &World, stage: &str, store: &Path) -> Result<Option<Child>> {
    for _ in 0..STOPS {
        if store.exists() {
            fs_err::remove_dir_all(store)?;
        }
        world.expected.store_without(stage, store)?;
        let mut child = world.stages.command(stage, store).spawn()?;
        while child.try_wait()?.is_none() && !has_claim(store) {
            std::thread::sleep(Duration::from_micros(200));
        }
        signal(&child, "STOP")?;
        std::thread::sleep(Duration::from_millis(100));
        if child.try_wait()?.is_none() && has_claim(store) {
            return Ok(Some(child));
        }
        child.kill()?;
        child.wait()?;
    }
    Ok(None)
}

fn has_claim(store: &Path) -> bool {
    let folders = std::fs::read_dir(store.join("work")).into_iter().flatten().flatten();
    let mut files =
        folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.any(|file| file.file_name().to_string_lossy().starts_with("claim."))
}
