//! What a run tells of its artifacts: one line for all that it made, one for all that it found. The rest is told with `--verbose`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use delt_pipeline::amounts::human_seconds;

use super::Session;

/// Artifacts that one line names; the others it counts.
const NAMED: usize = 2;

/// What took longer is told at once: whoever follows hours of work sees what is done.
const TOLD_AT_ONCE_SECONDS: f64 = 60.0;

/// Whether all is told. Progress, which knows no session, asks too.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Sets whether all is told.
pub(super) fn ask(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Whether all is told.
pub(crate) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// What is told later, and what was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What was made and not told yet.
    made: RefCell<Vec<Artifact>>,
    /// What was found in the store.
    cached: RefCell<Vec<String>>,
    /// What has been said and is not said again.
    said: RefCell<BTreeSet<String>>,
}

/// What was made.
#[derive(Debug)]
struct Artifact {
    /// Its run and what it came to.
    summary: String,
    seconds: f64,
    dir: PathBuf,
}

impl Told {
    /// Remembers what was found in the store.
    pub(crate) fn cached(&self, run: &str) {
        self.cached.borrow_mut().push(run.to_owned());
    }

    /// Whether this was not said before; from now on it was.
    pub(super) fn is_new(&self, what: &str) -> bool {
        self.said.borrow_mut().insert(what.to_owned())
    }
}

impl Session {
    /// A line on stderr, unless it was said before.
    pub fn say_once(&self, line: String) {
        if self.told.is_new(&line) {
            eprintln!("{line}");
        }
    }

    /// A line after the stage's name for those who asked for all, unless it was said before.
    pub fn detail(&self, line: String) {
        if is_verbose() {
            self.say_once(format!("{}: {line}", self.stage.name));
        }
    }

    /// Says what was made, at once or with all else that this run makes.
    pub(super) fn say_made(&self, summary: String, seconds: f64, dir: &Path) {
        self.told.made.borrow_mut().push(Artifact { summary, seconds, dir: dir.to_owned() });
        if is_verbose() || seconds > TOLD_AT_ONCE_SECONDS {
            self.say_all_made();
        }
    }

    /// What was made, how long that took, on what and where it lies.
    fn say_all_made(&self) {
        let made = self.told.made.take();
        let seconds = made.iter().map(|artifact| artifact.seconds).sum();
        let device = self.device.borrow().as_ref().map_or(String::new(), |device| format!(" on {device}"));
        let place = match made.as_slice() {
            [] => return,
            [one] => one.dir.display(),
            [first, ..] => first.dir.parent().unwrap_or(&first.dir).display(),
        };
        let summaries: Vec<&str> = made.iter().map(|artifact| artifact.summary.as_str()).collect();
        let (name, what, took) = (self.stage.name, few(&summaries, "; "), human_seconds(seconds));
        eprintln!("{name}: {what}, {took}{device} ({place})");
    }

    /// One line for all that was made and is not told yet, one for all that was in the store: before the result, so that
    /// nothing stands below it.
    pub fn say_artifacts(&self) {
        self.say_all_made();
        let cached = self.told.cached.take();
        if !cached.is_empty() {
            eprintln!("{}: cached: {}", self.stage.name, few(&cached, ", "));
        }
    }
}

/// The first of these, and how many there are beside; all where all is told.
pub fn few(all: &[impl AsRef<str>], between: &str) -> String {
    let named = if is_verbose() { all.len() } else { NAMED };
    let mut text = all.iter().take(named).map(AsRef::as_ref).collect::<Vec<_>>().join(between);
    if all.len() > named {
        text.push_str(&format!("{between}and {} more", all.len() - named));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_artifacts_are_counted_where_few_are_named() {
        assert_eq!(few(&["a", "b"], "; "), "a; b");
        assert_eq!(few(&["a", "b", "c", "d", "e"], ", "), "a, b, and 3 more");
    }
}
