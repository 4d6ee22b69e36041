//! What must not change by accident, pinned in `tests/pins.txt`: the key of every artifact of every pipeline, and the bytes of
//! everything that toy runs make.
//!
//! A line that differs means that caches of users no longer hold, or that the same settings give other images. Where that is
//! meant, `algorithm_version` of the stage is raised and its lines are new ones. `make pins` adds lines for what is new and
//! changes none.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod bytes;
mod keys;
mod stubs;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use delt_tests::workspace;

/// Set: lines that are not pinned yet are added to the file.
const ADD: &str = "DELT_PINS_ADD";

/// Fails unless every line that begins with one of the `heads` is both pinned and found. All that differs is shown.
fn assert_pinned(heads: &[&str], found: &BTreeSet<String>) {
    let path = workspace().join("tests/pins.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let is_own = |line: &&str| heads.iter().any(|head| line.starts_with(head));
    let pinned: BTreeSet<String> = text.lines().filter(is_own).map(str::to_owned).collect();
    let new: Vec<&String> = found.difference(&pinned).collect();
    if std::env::var_os(ADD).is_some() && !new.is_empty() {
        let more = new.iter().fold(text, |mut text, line| {
            writeln!(text, "{line}").unwrap();
            text
        });
        std::fs::write(&path, more).unwrap();
    }
    let gone: Vec<&String> = pinned.difference(found).collect();
    assert!(
        gone.is_empty() && (new.is_empty() || std::env::var_os(ADD).is_some()),
        "pinned and not found:\n  {gone:#?}\nfound and not pinned:\n  {new:#?}\nkeys or bytes have changed, or (where nothing pinned is \
         missing) something is new and `make pins` adds it"
    );
}
