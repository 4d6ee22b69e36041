//! A disk without space, and a store that may only be read. Both are file systems that the test mounts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::World;
use crate::draws::Draws;
use crate::expected::copy;
use crate::stages::STAGES;
use crate::tally::Tally;

/// Size of the small file system, far above what the stages write.
const DISK_BYTES: u64 = 32 << 20;
/// What is left of it for a stage, at most: more than any of them writes.
const LEFT_BYTES: u64 = 512 << 10;
/// How often each stage meets a full disk.
const TRIES: u32 = 8;

/// A mounted folder; unmounted when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts something on `folder`, which is made; nothing where this user may not.
    fn new(folder: &Path, arguments: &[&str]) -> Result<Option<Self>> {
        fs_err::create_dir_all(folder)?;
        let mut command = Command::new("mount");
        command.args(arguments).arg(folder).stderr(Stdio::null()).stdout(Stdio::null());
        Ok(command.status().is_ok_and(|status| status.success()).then(|| Self(folder.to_owned())))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Stages on a disk with a random rest of space, from none to enough.
pub(crate) fn full(world: &World, draws: &mut Draws) -> Result<Tally> {
    let disk = world.scratch.join("small-disk");
    let size = format!("size={DISK_BYTES}");
    let Some(mounted) = Mounted::new(&disk, &["-t", "tmpfs", "-o", &size, "none"])? else {
        return Ok(Tally::skipped("this user may not mount a tmpfs"));
    };
    let (store, ballast) = (disk.join("store"), disk.join("ballast"));
    let mut tally = Tally::default();
    for stage in STAGES {
        for attempt in 0..TRIES {
            world.expected.store_without(stage, &store)?;
            // mostly little: a stage of this size writes some tens of KiB
            let left = if attempt == 0 { 0 } else { (draws.unit().powi(3) * LEFT_BYTES as f64) as u64 };
            fill(&disk, &ballast, left)?;
            let said = world.stages.run(stage, &store)?;
            let believed = world.expected.believed_wrongly(&store)?;
            fs_err::remove_file(&ballast)?;
            let is_named = said.stderr.contains("No space left on device");
            let ended = match (believed, said.is_success) {
                (Some(problem), _) => Err(problem),
                (None, false) if !is_named => Err(format!("fails for another reason: {}", said.last_line())),
                (None, is_success) => {
                    let problem = world.expected.is_not_reached_from(stage, &store, &world.stages)?;
                    problem
                        .map_or(Ok(if is_success { "had space enough" } else { "refused" }.to_owned()), Err)
                }
            };
            tally.count(&format!("{stage} with {left} bytes left"), ended);
            fs_err::remove_dir_all(&store)?;
        }
    }
    drop(mounted);
    Ok(tally)
}

/// Takes all space of a disk but `left` bytes.
fn fill(disk: &Path, ballast: &Path, left: u64) -> Result<()> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(disk).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let available: u64 = text.lines().last().unwrap_or_default().trim().parse()?;
    let file = fs_err::File::create(ballast)?;
    let zeros = vec![0; 1 << 16];
    let mut rest = available.saturating_sub(left);
    while rest > 0 {
        let part = rest.min(zeros.len() as u64);
        std::io::Write::write_all(&mut &file, &zeros[..part as usize])?;
        rest -= part;
    }
    Ok(())
}

/// Stages over a store that is mounted read-only: whole, and without what the stage makes.
pub(crate) fn read_only(world: &World, _: &mut Draws) -> Result<Tally> {
    let mut tally = Tally::default();
    for stage in STAGES {
        for is_whole in [true, false] {
            let (source, store) = (world.scratch.join("written"), world.scratch.join("read-only"));
            if is_whole {
                copy(&world.expected.store, &source)?;
            } else {
                world.expected.store_without(stage, &source)?;
            }
            let from = source.display().to_string();
            let Some(mounted) = Mounted::new(&store, &["--bind", &from])? else {
                return Ok(Tally::skipped("this user may not mount a folder"));
            };
            let Some(remounted) = Mounted::new(&store, &["-o", "remount,bind,ro"])? else {
                return Ok(Tally::skipped("this user may not mount a folder read-only"));
            };
            std::mem::forget(remounted);
            let said = world.stages.run(stage, &store)?;
            let is_named =
                said.stderr.contains(&format!("store {}: cannot be read or written", store.display()));
            drop(mounted);
            let ended = match (world.expected.believed_wrongly(&source)?, is_whole, said.is_success) {
                (Some(problem), _, _) => Err(problem),
                (None, true, true) if said.stderr.contains("cached: ") => Ok("found".to_owned()),
                (None, false, false) if is_named => {
                    let problem = world.expected.is_not_reached_from(stage, &source, &world.stages)?;
                    problem.map_or(Ok("refused".to_owned()), Err)
                }
                _ => Err(format!("said: {}", said.last_line())),
            };
            tally.count(&format!("{stage}, store {}", if is_whole { "whole" } else { "lacking" }), ended);
            fs_err::remove_dir_all(&source)?;
        }
    }
    Ok(tally)
}
