//! Who makes an artifact: claim files, numbered, of which the highest number counts.
//!
//! A holder moves a counter in its claim. A waiter who sees the counter stand still for long enough takes over by creating
//! the next number, which only one waiter can. No file is ever replaced, so a waiter with an old view cannot take away a
//! claim that is alive: it creates its number, looks again, and steps back if anything but the stale claim lies below it.
//!
//! A holder who stood still and goes on finds that another claim counts: see [`HeldClaim::successor`]. A number above its
//! own that is gone a moment later was such a step back.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::{ClaimTiming, Result, children};
use crate::canonical::{Digest, canonical_json};

const CLAIM_PREFIX: &str = "claim.";

/// Hex digits of a name made up for this process.
const UNIQUE_DIGITS: usize = 16;

/// Between two looks at a claim above one's own: longer than it takes a waiter to step back.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// Who makes an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The counter, of constant width so that a claim never changes its length.
    beat: String,
    /// The host's name; empty while the claim is being written.
    pub host: String,
    /// Which running system and process namespace `pid` belongs to; empty where that cannot be known.
    machine: String,
    /// The process.
    pub pid: u32,
    /// Of this claim alone.
    token: String,
}

impl Holder {
    pub(super) fn here() -> Self {
        Self {
            beat: beat_text(0),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            machine: this_machine(),
            pid: std::process::id(),
            token: unique(),
        }
    }

    pub(super) fn unknown() -> Self {
        let nothing = String::new;
        Self { beat: nothing(), host: nothing(), machine: nothing(), pid: 0, token: nothing() }
    }

    /// Moves the counter on.
    pub(super) fn beat(&mut self) {
        self.beat = beat_text(self.beat.parse().unwrap_or(0) + 1);
    }

    /// Whether both are one claim, at whatever count.
    pub(super) fn is_same_claim(&self, other: &Self) -> bool {
        self.token == other.token
    }

    /// Whether the holder is known to be dead, without waiting: its process ran on this very system and is no more.
    pub(super) fn is_gone(&self) -> bool {
        !self.machine.is_empty()
            && self.machine == this_machine()
            && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_empty() {
            return write!(f, "an unknown process");
        }
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

fn beat_text(beat: u64) -> String {
    format!("{beat:020}")
}

/// The boot, the process namespace and the user, within which a process number means something and can be looked up (a
/// system may hide the processes of other users). Linux only; elsewhere only the counter tells whether a holder lives.
#[cfg(target_os = "linux")]
fn this_machine() -> String {
    use std::os::unix::fs::MetadataExt;
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = fs_err::read_link("/proc/self/ns/pid");
    match (boot, namespace, fs_err::metadata("/proc/self")) {
        (Ok(boot), Ok(namespace), Ok(this)) => {
            format!("{} {} {}", boot.trim(), namespace.display(), this.uid())
        }
        _ => String::new(),
    }
}

#[cfg(not(target_os = "linux"))]
fn this_machine() -> String {
    String::new()
}

/// A name that no other process and no other call has made up.
pub(super) fn unique() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let nanoseconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let parts = (
        host,
        std::process::id(),
        nanoseconds.to_string(),
        CALLS.fetch_add(1, Ordering::Relaxed),
        this_machine(),
    );
    Digest::of_json(&parts).prefix(UNIQUE_DIGITS).to_owned()
}

/// What an attempt to claim comes to.
pub(super) enum Attempt {
    /// The claim is ours.
    Taken(HeldClaim),
    /// Somebody is at work.
    Held(Holder),
    /// Something moved meanwhile; look again.
    Retry,
}

/// What a waiter last saw, and since when by its own clock.
#[derive(Default)]
pub(super) struct Watch {
    seen: Option<(u64, Vec<u8>)>,
    since: Option<Instant>,
}

impl Watch {
    /// For how long exactly this has been seen.
    pub(super) fn unchanged_for(&mut self, number: u64, content: &[u8]) -> Duration {
        let is_same = self.seen.as_ref().is_some_and(|(n, bytes)| *n == number && bytes == content);
        if !is_same {
            self.seen = Some((number, content.to_vec()));
            self.since = None;
        }
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// Claims the artifact made in `work_dir`, unless a claim that is alive is there.
pub(super) fn attempt(work_dir: &Path, timing: ClaimTiming, watch: &mut Watch) -> Result<Attempt> {
    fs_err::create_dir_all(work_dir)?;
    let before = claims(work_dir)?;
    let mut number = 1;
    if let Some((highest, path)) = before.last() {
        let Some(content) = read_if_there(path)? else { return Ok(Attempt::Retry) };
        let holder = holder_of(&content);
        let silent = watch.unchanged_for(*highest, &content);
        if silent < timing.stale && !holder.is_gone() {
            return Ok(Attempt::Held(holder));
        }
        number = highest + 1;
    }
    let path = work_dir.join(format!("{CLAIM_PREFIX}{number}"));
    let holder = Holder::here();
    match create_new(&path, &holder) {
        Ok(()) => {}
        // Another waiter was faster, or the last holder just cleared the folder.
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            return Ok(Attempt::Retry);
        }
        Err(error) => return Err(error.into()),
    }
    // Ours only if nothing is above it, and nothing below it but what was judged stale.
    let after = claims(work_dir)?;
    let is_highest = after.last().is_some_and(|(highest, _)| *highest == number);
    let mut below = after.iter().filter(|(n, _)| *n < number);
    let is_known =
        below.all(|(n, path)| before.iter().any(|(old, _)| old == n) && watch.still_shows(*n, path));
    if is_highest && is_known {
        return Ok(Attempt::Taken(HeldClaim::start(path, holder, timing.heartbeat)));
    }
    remove_own(&path, &holder.token);
    Ok(Attempt::Retry)
}

impl Watch {
    /// Whether a claim judged stale is still that claim; lower ones were judged when it was made.
    fn still_shows(&self, number: u64, path: &Path) -> bool {
        match &self.seen {
            Some((seen, content)) if *seen == number => {
                read_if_there(path).is_ok_and(|now| now.is_none_or(|now| now == *content))
            }
            _ => true,
        }
    }
}

/// Who holds the claim that counts in `work_dir`, unless known to be dead, and for how long it has stood still.
pub(super) fn look(work_dir: &Path, watch: &mut Watch) -> Result<Option<(Holder, Duration)>> {
    let Some((number, path)) = claims(work_dir)?.pop() else { return Ok(None) };
    let Some(content) = read_if_there(&path)? else { return Ok(None) };
    let holder = holder_of(&content);
    let silent = watch.unchanged_for(number, &content);
    Ok((!holder.is_gone()).then_some((holder, silent)))
}

/// The claim files of a folder, by ascending number.
fn claims(work_dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(CLAIM_PREFIX)?.parse().ok();
    let mut claims: Vec<(u64, PathBuf)> =
        children(work_dir)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    claims.sort();
    Ok(claims)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs_err::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The holder; an unknown one where the claim is half written.
fn holder_of(content: &[u8]) -> Holder {
    serde_json::from_slice(content).unwrap_or_else(|_| Holder::unknown())
}

/// Who holds the claim that counts, where that is not the one of `token` at `path`: somebody unknown, if there is none.
fn successor(path: &Path, token: &str) -> Result<Option<Holder>> {
    let work_dir = path.parent().unwrap_or(Path::new("."));
    let highest = claims(work_dir)?.pop();
    let content = highest.map(|(_, path)| read_if_there(&path)).transpose()?.flatten();
    let holder = content.map_or_else(Holder::unknown, |content| holder_of(&content));
    Ok((holder.token != token).then_some(holder))
}

fn is_own(path: &Path, token: &str) -> bool {
    read_if_there(path).is_ok_and(|content| content.is_some_and(|it| holder_of(&it).token == token))
}

fn create_new(path: &Path, holder: &Holder) -> std::io::Result<()> {
    let file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
    write_or_remove(file, path, canonical_json(holder).as_bytes())
}

/// Writes a claim that was just created. One that does not fit on the disk goes again: nobody could tell whose it is, and
/// the next run would wait until it is stale.
fn write_or_remove(mut file: fs_err::File, path: &Path, text: &[u8]) -> std::io::Result<()> {
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs_err::remove_file(path);
    }
    written
}

/// Removes a claim, but never one that somebody else created under the same number meanwhile.
fn remove_own(path: &Path, token: &str) {
    if is_own(path, token) {
        let _ = fs_err::remove_file(path);
    }
}

/// A claim of this process; its counter moves until it is dropped.
#[derive(Debug)]
pub(super) struct HeldClaim {
    path: PathBuf,
    token: String,
    /// Who took it over, once that is known.
    lost: Arc<OnceLock<Holder>>,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

impl HeldClaim {
    fn start(path: PathBuf, mut holder: Holder, heartbeat: Duration) -> Self {
        let (stop, stopped) = channel();
        let (beating, token) = (path.clone(), holder.token.clone());
        let lost = Arc::new(OnceLock::new());
        let found_lost = lost.clone();
        let beats = move || {
            let mut seen: Option<Holder> = None;
            while stopped.recv_timeout(heartbeat) == Err(RecvTimeoutError::Timeout) {
                match (successor(&beating, &holder.token), &seen) {
                    (Ok(Some(now)), Some(before)) if now.token == before.token => {
                        let _ = found_lost.set(now);
                        return;
                    }
                    (Ok(now), _) => seen = now,
                    (Err(_), _) => {}
                }
                if is_own(&beating, &holder.token) {
                    holder.beat();
                    // A write that fails is seen by waiters as a counter that stands still, which is all it means.
                    let _ = overwrite(&beating, &holder);
                }
            }
        };
        let thread = std::thread::Builder::new().name("claim heartbeat".to_owned()).spawn(beats);
        Self { path, token, lost, heart: thread.ok().map(|thread| (stop, thread)) }
    }

    /// Who took the claim over, if anybody did.
    pub(super) fn successor(&self) -> Result<Option<Holder>> {
        let mut seen: Option<Holder> = None;
        loop {
            if let Some(holder) = self.lost.get() {
                return Ok(Some(holder.clone()));
            }
            let Some(now) = successor(&self.path, &self.token)? else { return Ok(None) };
            if seen.as_ref().is_some_and(|before| before.token == now.token) {
                let _ = self.lost.set(now);
                continue;
            }
            seen = Some(now);
            std::thread::sleep(SECOND_LOOK);
        }
    }
}

/// Writes over a claim of the same length, without creating one that was removed.
fn overwrite(path: &Path, holder: &Holder) -> std::io::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
    file.write_all(canonical_json(holder).as_bytes())?;
    file.sync_data()
}

impl Drop for HeldClaim {
    /// Stops the counter and removes the claim, after those below it, which were stale. Where another claim counts by now,
    /// nothing but the own one goes.
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.heart.take() {
            drop(stop);
            let _ = thread.join();
        }
        let Some(work_dir) = self.path.parent() else { return };
        if !is_own(&self.path, &self.token) || self.lost.get().is_some() {
            remove_own(&self.path, &self.token);
            return;
        }
        for (_, path) in claims(work_dir).unwrap_or_default() {
            if path == self.path {
                break;
            }
            let _ = fs_err::remove_file(path);
        }
        remove_own(&self.path, &self.token);
        // Only goes if nothing else is left in it.
        let _ = fs_err::remove_dir(work_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_cannot_be_written_is_not_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim.1");
        fs_err::write(&path, "").unwrap();
        // opened for reading, so that writing fails as on a full disk
        let file = fs_err::File::open(&path).unwrap();
        write_or_remove(file, &path, b"{}").unwrap_err();
        assert!(!path.exists());
    }
}
