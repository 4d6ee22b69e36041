//! SIGKILL at random moments: over the whole time of a stage, and where its artifact becomes visible.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::World;
use crate::draws::Draws;
use crate::stages::STAGES;
use crate::tally::Tally;

/// Share of the kills that wait for the artifact's files to be written first.
const WHILE_PUBLISHING: f64 = 0.4;
/// Longest time between that and the kill.
const PUBLISHING_SECONDS: f64 = 0.03;
/// Share of the kills of a stage that replaces an artifact which is there.
const WHILE_REPLACING: f64 = 0.2;
/// How often the rerun is killed too.
const AGAIN: f64 = 0.3;
/// A killed stage that writes nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// When a stage is killed.
enum Moment {
    After(Duration),
    /// After the first file is in a folder to publish, or the manifest stands beside it.
    Publishing {
        is_manifest_there: bool,
        delay: Duration,
    },
}

/// Kills stages, checks what a reader would believe then, and lets them run to their end.
pub(crate) fn kills(world: &World, draws: &mut Draws) -> Result<Tally> {
    let mut tally = Tally::default();
    let store = world.scratch.join("killed");
    let mut turn = 0;
    while tally.tried < world.kills {
        let stage = STAGES[turn % STAGES.len()];
        turn += 1;
        let is_forced = draws.happens(WHILE_REPLACING);
        if is_forced {
            crate::expected::copy(&world.expected.store, &store)?;
        } else {
            world.expected.store_without(stage, &store)?;
        }
        loop {
            let what =
                format!("{stage}, kill {}{}", tally.tried + 1, if is_forced { " of --force" } else { "" });
            let Some(phase) = kill(world, stage, is_forced, &store, draws)? else { break };
            if let Some(problem) = world.expected.believed_wrongly(&store)? {
                tally.count(&what, Err(format!("{phase}: {problem}")));
                break;
            }
            if draws.happens(AGAIN) && tally.tried + 1 < world.kills {
                tally.count(&what, Ok(phase));
                continue;
            }
            let problem = world.expected.is_not_reached_from(stage, &store, &world.stages)?;
            tally.count(
                &what,
                problem.map_or(Ok(phase.clone()), |problem| Err(format!("{phase}: {problem}"))),
            );
            break;
        }
        fs_err::remove_dir_all(&store)?;
    }
    Ok(tally)
}

/// Starts a stage and kills it; in which phase that was, or nothing if it had ended before.
fn kill(
    world: &World,
    stage: &str,
    is_forced: bool,
    store: &Path,
    draws: &mut Draws,
) -> Result<Option<String>> {
    let moment = if draws.happens(WHILE_PUBLISHING) {
        // most of them soon: the renames take less than a millisecond each
        let delay = Duration::from_secs_f64(draws.unit().powi(4) * PUBLISHING_SECONDS);
        Moment::Publishing { is_manifest_there: draws.happens(0.5), delay }
    } else {
        Moment::After(Duration::from_secs_f64(draws.unit() * world.expected.seconds(stage)))
    };
    let mut command = world.stages.command(stage, store);
    command.args(is_forced.then_some("--force"));
    let mut child = command.spawn().context(stage.to_owned())?;
    match moment {
        Moment::After(time) => std::thread::sleep(time),
        Moment::Publishing { is_manifest_there, delay } => {
            let started = Instant::now();
            while started.elapsed() < PATIENCE
                && child.try_wait()?.is_none()
                && !is_publishing(store, is_manifest_there)
            {
                std::thread::sleep(Duration::from_micros(50));
            }
            std::thread::sleep(delay);
        }
    }
    child.kill()?;
    let status = child.wait_with_output()?.status;
    Ok(status.signal().map(|_| phase(store)))
}

/// What lies in the folders of artifacts in the making.
fn work_files(store: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let work = store.join("work");
    for artifact in names(&work) {
        for folder in names(&work.join(&artifact)) {
            let path = work.join(&artifact).join(&folder);
            found.push((folder.clone(), String::new()));
            found.extend(names(&path).into_iter().map(|file| (folder.clone(), file)));
        }
    }
    found
}

fn is_publishing(store: &Path, is_manifest_there: bool) -> bool {
    work_files(store).iter().any(|(folder, file)| {
        folder.starts_with("out-")
            && if is_manifest_there { file == "manifest.pending.json" } else { !file.is_empty() }
    })
}

/// How far the killed process had come.
fn phase(store: &Path) -> String {
    let files = work_files(store);
    let has = |is: &dyn Fn(&str, &str) -> bool| files.iter().any(|(folder, file)| is(folder, file));
    let is_unnamed = || {
        let kinds = delt_formats::ArtifactKind::ALL.into_iter();
        kinds
            .flat_map(|kind| std::fs::read_dir(store.join(kind.dir())).into_iter().flatten().flatten())
            .any(|artifact| artifact.path().join("manifest.pending.json").exists())
    };
    if is_unnamed() {
        "between the last two renames"
    } else if is_publishing(store, true) {
        "with a manifest not yet in place"
    } else if is_publishing(store, false) {
        "while files were written"
    } else if has(&|folder, file| {
        folder.starts_with("checkpoint-") && !file.is_empty() && file != "spent.json"
    }) {
        "at work, with a checkpoint"
    } else if has(&|folder, _| folder.starts_with("out-")) {
        "at work, without a checkpoint"
    } else if has(&|folder, _| folder.starts_with("claim.")) {
        "with a claim only"
    } else {
        "with nothing at work"
    }
    .to_owned()
}
