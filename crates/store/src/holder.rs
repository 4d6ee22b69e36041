//! Who holds a claim, and names that nobody else makes up.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use delt_formats::canonical::{Digest, canonical_json};
use serde::{Deserialize, Serialize};

/// Hex digits of a name made up for this process.
const UNIQUE_DIGITS: usize = 16;

/// Who makes an artifact; the default is somebody of whom nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// This process, with a claim of its own.
    pub(crate) fn here() -> Self {
        Self {
            beat: beat_text(0),
            host: host(),
            machine: this_machine(),
            pid: std::process::id(),
            token: unique(),
        }
    }

    /// The holder that a claim names; none where it is half written, or given back.
    pub(crate) fn parse(claim: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Option<Self>>(claim).ok().flatten()
    }

    /// The text of its claim.
    pub(crate) fn to_json(&self) -> String {
        canonical_json(self)
    }

    /// Moves the counter on.
    pub(crate) fn beat(&mut self) {
        self.beat = beat_text(self.beat.parse().unwrap_or(0) + 1);
    }

    /// Whether both are one claim, at whatever count.
    pub(crate) fn is_same_claim(&self, other: &Self) -> bool {
        self.token == other.token
    }

    /// Whether the holder is known to be dead, without waiting: its process ran on this very system and is no more.
    pub(crate) fn is_gone(&self) -> bool {
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

fn host() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
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
pub(crate) fn unique() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = since.map_or(0, |since| since.as_nanos()).to_string();
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let parts = (host(), std::process::id(), nanoseconds, call, this_machine());
    Digest::of_json(&parts).prefix(UNIQUE_DIGITS).to_owned()
}
