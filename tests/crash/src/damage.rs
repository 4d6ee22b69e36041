//! One changed byte, or an end cut off, in any file of a store: it is made again, or refused by name, or nobody reads it and
//! `delt-store verify` names it. Never is it believed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use delt_formats::Manifest;
use delt_formats::manifest::MANIFEST_FILE;
use delt_store::{Entry, RUN_RECORD, Store};

use crate::World;
use crate::draws::Draws;
use crate::expected::copy;
use crate::stages::{STAGES, Said, from, signal};
use crate::tally::Tally;

/// How often each file is changed, and how often cut.
const FLIPS: u32 = 3;
const CUTS: u32 = 2;
/// How often each checkpoint is changed, and how often cut.
const CHECKPOINT_FLIPS: u32 = 6;
/// At most so many of the files that an interrupted stage leaves.
const CHECKPOINT_FILES: usize = 6;
/// How often a stage is interrupted until it leaves a checkpoint.
const INTERRUPTS: u32 = 20;

/// What is done to a file.
#[derive(Clone, Copy)]
enum Harm {
    Flip,
    Cut,
}

fn harms(flips: u32, cuts: u32) -> impl Iterator<Item = Harm> {
    (0..flips).map(|_| Harm::Flip).chain((0..cuts).map(|_| Harm::Cut))
}

/// Changes a file in place; says what was done.
fn harm(path: &Path, harm: Harm, draws: &mut Draws) -> Result<String> {
    let mut bytes = fs_err::read(path)?;
    let at = draws.below(bytes.len() as u64) as usize;
    let done = match harm {
        Harm::Flip => {
            let bit = draws.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        Harm::Cut => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
    };
    fs_err::write(path, bytes)?;
    Ok(format!("{}, {done}", path.display()))
}

/// Every file of every artifact, where it is published and where its publication was cut off.
pub(crate) fn artifacts(world: &World, draws: &mut Draws) -> Result<Tally> {
    let mut tally = Tally::default();
    let store = world.scratch.join("damaged");
    for stage in STAGES {
        for entry in world.expected.made_by(stage) {
            let mut names: Vec<&str> = entry.manifest.files.keys().map(String::as_str).collect();
            names.extend([MANIFEST_FILE, RUN_RECORD]);
            for name in names {
                for kind in harms(FLIPS, CUTS) {
                    let following = from(stage).nth(1);
                    match following {
                        Some(next) => world.expected.store_before(next, &store)?,
                        None => copy(&world.expected.store, &store)?,
                    }
                    let file = store.join(&entry.dir).join(name);
                    let what = harm(&file, kind, draws)?;
                    let ended = use_damaged(world, stage, &store, &entry, &file)?;
                    tally.count(&what, ended);
                    fs_err::remove_dir_all(&store)?;
                }
            }
            for place in [Cut::BeforeTheRename, Cut::BeforeTheName] {
                let ended = unfinished(world, stage, &store, &entry, place, draws)?;
                tally.count(&format!("{stage}, unfinished publication"), ended);
                fs_err::remove_dir_all(&store)?;
            }
        }
    }
    Ok(tally)
}

/// Runs the stage that made the damaged artifact (a hit, as far as it knows), all that read it, and the report.
fn use_damaged(
    world: &World,
    stage: &str,
    store: &Path,
    entry: &Entry,
    file: &Path,
) -> Result<Result<String, String>> {
    let name = file.file_name().context("a file")?.to_string_lossy().into_owned();
    let mut said = String::new();
    let mut table = String::new();
    let mut is_refused = false;
    for stage in from(stage) {
        let Said { is_success, stdout, stderr } = world.stages.run(stage, store)?;
        said.push_str(&stderr);
        table = stdout;
        if !is_success {
            is_refused = true;
            break;
        }
    }
    if name != RUN_RECORD {
        world.expected.copy_run_records(store)?;
    }
    let (reported, page) = world.stages.report(store, &world.scratch.join("damaged.html"))?;
    let is_named = said.contains(&*file.to_string_lossy());
    if is_refused {
        if !is_named {
            return Ok(Err(format!("fails without its name: {}", said.lines().last().unwrap_or_default())));
        }
        let again = make_again(world, stage, store)?;
        return Ok(again.map_or(Ok("refused by name, then recomputed by --force".to_owned()), Err));
    }
    if table != world.expected.table {
        return Ok(Err("evaluate prints another table".to_owned()));
    }
    if name == RUN_RECORD {
        let is_same = page.as_deref() == Some(&*world.expected.page);
        return Ok(Ok(
            if is_same { "run.json: changes nothing" } else { "run.json: only the page differs" }.to_owned()
        ));
    }
    if said.contains("was damaged") && is_named {
        let problem = world.expected.is_not_reached(store)?;
        return Ok(problem.map_or(Ok("named and made again".to_owned()), Err));
    }
    // nobody has complained: then nobody may have believed it either
    let is_equal =
        name == MANIFEST_FILE && Manifest::read(file).is_ok_and(|manifest| manifest == entry.manifest);
    if is_equal {
        return Ok(Ok("a manifest that says the same".to_owned()));
    }
    let verified = Store::open(store)?.verify("")?;
    let is_found = verified
        .iter()
        .any(|it| it.result.as_ref().is_err_and(|e| e.to_string().contains(&*file.to_string_lossy())));
    if !is_found {
        return Ok(Err("is believed".to_owned()));
    }
    if !reported.is_success {
        let is_named = reported.stderr.contains(&*file.to_string_lossy());
        return Ok(if is_named { Ok("refused by name by report".to_owned()) } else { Err(reported.stderr) });
    }
    if page.as_deref() != Some(&*world.expected.page) {
        return Ok(Err("report believes it".to_owned()));
    }
    Ok(Ok("read by no stage, named by delt-store verify".to_owned()))
}

/// What the refusals ask for.
fn make_again(world: &World, stage: &str, store: &Path) -> Result<Option<String>> {
    let mut command = world.stages.command(stage, store);
    command.arg("--force");
    let said = crate::stages::finish(command)?;
    if !said.is_success {
        return Ok(Some(format!("--force fails: {}", said.last_line())));
    }
    world.expected.is_not_reached_from(stage, store, &world.stages)
}

/// Where a publication was cut off.
#[derive(Clone, Copy)]
enum Cut {
    BeforeTheRename,
    BeforeTheName,
}

/// A publication that was cut off, one of whose files then changed: the artifact is recomputed.
fn unfinished(
    world: &World,
    stage: &str,
    store: &Path,
    entry: &Entry,
    cut: Cut,
    draws: &mut Draws,
) -> Result<Result<String, String>> {
    copy(&world.expected.store, store)?;
    let place = store.join(&entry.dir);
    fs_err::rename(place.join(MANIFEST_FILE), place.join("manifest.pending.json"))?;
    let mut folder = place.clone();
    if matches!(cut, Cut::BeforeTheRename) {
        let work = store.join("work").join(entry.dir.display().to_string().replace('/', "-"));
        fs_err::create_dir_all(&work)?;
        folder = work.join("out-0123456789abcdef");
        fs_err::rename(&place, &folder)?;
    }
    let files: Vec<&String> = entry.manifest.files.keys().collect();
    let file = folder.join(files[draws.below(files.len() as u64) as usize]);
    harm(&file, Harm::Flip, draws)?;
    let problem = world.expected.is_not_reached_from(stage, store, &world.stages)?;
    Ok(problem.map_or(Ok("unfinished publication, made again".to_owned()), Err))
}

/// Every pointer: a stage writes it anew or names it.
pub(crate) fn pointers(world: &World, draws: &mut Draws) -> Result<Tally> {
    let mut tally = Tally::default();
    let store = world.scratch.join("damaged");
    for pointer in Store::open(&world.expected.store)?.pointers()? {
        for kind in harms(FLIPS, CUTS) {
            copy(&world.expected.store, &store)?;
            let file = store.join("runs").join(format!("{}.json", pointer.run));
            let what = harm(&file, kind, draws)?;
            let ended = match world.stages.run_from("ingest", &store)? {
                Err((_, said)) if said.stderr.contains(&*file.to_string_lossy()) => {
                    fs_err::remove_file(&file)?;
                    let problem = world.expected.is_not_reached_from("ingest", &store, &world.stages)?;
                    problem.map_or(Ok("refused by name, written again once deleted".to_owned()), Err)
                }
                Err((stage, said)) => Err(format!("{stage} fails without its name: {}", said.last_line())),
                Ok(_) => {
                    let problem = world.expected.is_not_reached(&store)?;
                    problem.map_or(Ok("written again".to_owned()), Err)
                }
            };
            tally.count(&what, ended);
            fs_err::remove_dir_all(&store)?;
        }
    }
    Ok(tally)
}

/// Every file that an interrupted stage goes on from.
pub(crate) fn checkpoints(world: &World, draws: &mut Draws) -> Result<Tally> {
    let mut tally = Tally::default();
    let (left, store) = (world.scratch.join("interrupted"), world.scratch.join("damaged"));
    for stage in STAGES {
        let Some(files) = interrupt(world, stage, &left, draws)? else { continue };
        for file in files {
            for kind in harms(CHECKPOINT_FLIPS, CUTS) {
                copy(&left, &store)?;
                let what = harm(&store.join(&file), kind, draws)?;
                let name = file.file_name().context("a file")?.to_string_lossy().into_owned();
                let said = world.stages.run(stage, &store)?;
                // Checkpoints are found under a new name of their folder. A digest that was changed speaks against its file,
                // the digests of a folder against that.
                let name = if name == "digests.json" { "training" } else { name.trim_end_matches(".blake3") };
                let is_named = said.stderr.contains(&format!("/{name}: "));
                let ended = match (said.is_success, is_named) {
                    (true, is_named) => {
                        let problem = world.expected.is_not_reached_from(stage, &store, &world.stages)?;
                        let outcome = if is_named { "named and made again" } else { "without effect" };
                        problem.map_or(Ok(format!("{stage}: {outcome}")), Err)
                    }
                    (false, true) => Ok(format!("{stage}: refused by name")),
                    (false, false) => Err(format!("fails without its name: {}", said.last_line())),
                };
                tally.count(&format!("{stage}, {what}"), ended);
                fs_err::remove_dir_all(&store)?;
            }
        }
        fs_err::remove_dir_all(&left)?;
    }
    Ok(tally)
}

/// Interrupts a stage (SIGINT) until it leaves checkpoints; one of each kind of file, seen from the store. Nothing for a stage
/// that keeps none.
fn interrupt(world: &World, stage: &str, store: &Path, draws: &mut Draws) -> Result<Option<Vec<PathBuf>>> {
    for _ in 0..INTERRUPTS {
        if store.exists() {
            fs_err::remove_dir_all(store)?;
        }
        world.expected.store_without(stage, store)?;
        let child = world.stages.command(stage, store).spawn()?;
        let share = 0.4 + 0.6 * draws.unit();
        std::thread::sleep(Duration::from_secs_f64(world.expected.seconds(stage) * share));
        signal(&child, "INT")?;
        let said = Said::from(child.wait_with_output()?);
        let mut files = Vec::new();
        checkpoint_files(&store.join("work"), false, &mut files)?;
        if !said.is_success && !files.is_empty() {
            files.sort();
            files.truncate(CHECKPOINT_FILES);
            let files = files.into_iter().map(|file| Ok(file.strip_prefix(store)?.to_owned()));
            return files.collect::<Result<Vec<_>>>().map(Some);
        }
    }
    if store.exists() {
        fs_err::remove_dir_all(store)?;
    }
    Ok(None)
}

fn checkpoint_files(folder: &Path, is_checkpoint: bool, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            checkpoint_files(&entry.path(), is_checkpoint || name.starts_with("checkpoint-"), files)?;
        } else if is_checkpoint && name != "spent.json" {
            files.push(entry.path());
        }
    }
    Ok(())
}
