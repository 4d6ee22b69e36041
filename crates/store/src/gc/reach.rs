//! What runs lead to.

use std::collections::BTreeSet;

use delt_formats::canonical::Digest;
use delt_formats::manifest::Manifest;
use delt_formats::provenance::ArtifactKind;

use super::Scope;
use crate::pointer::is_below;
use crate::{KEY_DIGITS, Pointer, Result, Store, StoreError};

/// The runs of a store, as a scope sees them.
pub(super) struct Runs {
    counting: Vec<Pointer>,
    leaving: Vec<Pointer>,
    /// The names of those that are forgotten.
    pub(super) forgotten: Vec<String>,
    /// Whether only what the forgotten ones led to may go.
    pub(super) is_clean: bool,
}

impl Runs {
    pub(super) fn of(store: &Store, scope: &Scope) -> Result<Self> {
        let runs = store.pointers()?.into_iter().filter(|pointer| !pointer.is_source());
        let (leaving, counting): (Vec<_>, Vec<_>) = runs.partition(|pointer| forgets(scope, &pointer.run));
        for name in names(scope) {
            if !leaving.iter().chain(&counting).any(|pointer| is_below(&pointer.run, name)) {
                return Err(StoreError::NoRun { run: name.clone() });
            }
        }
        let forgotten = leaving.iter().map(|pointer| pointer.run.clone()).collect();
        Ok(Self { counting, leaving, forgotten, is_clean: matches!(scope, Scope::Clean(_)) })
    }

    /// Removes the pointers of those that are forgotten.
    pub(super) fn forget(&self, store: &Store) -> Result<()> {
        self.forgotten.iter().try_for_each(|run| store.forget(run).map(drop))
    }

    /// Which of all artifacts stay.
    pub(super) fn lead_to(&self, all: &[&Manifest]) -> Vec<bool> {
        let stays = reached(all, &self.counting);
        if !self.is_clean {
            return stays;
        }
        let goes = reached(all, &self.leaving);
        stays.into_iter().zip(goes).map(|(stays, goes)| stays || !goes).collect()
    }
}

/// Whether a run is to be forgotten.
fn forgets(scope: &Scope, run: &str) -> bool {
    let is_named = names(scope).iter().any(|name| is_below(run, name));
    match scope {
        Scope::All => false,
        Scope::Keep(_) => !is_named,
        Scope::Clean(_) => is_named,
    }
}

fn names(scope: &Scope) -> &[String] {
    match scope {
        Scope::All => &[],
        Scope::Keep(names) | Scope::Clean(names) => names,
    }
}

/// Which artifacts pointers lead to, directly or through inputs. An input names its artifact by content: every artifact of
/// that content is an input.
fn reached(all: &[&Manifest], pointers: &[Pointer]) -> Vec<bool> {
    let pointed: BTreeSet<(ArtifactKind, &str)> =
        pointers.iter().map(|pointer| (pointer.kind, pointer.key.prefix(KEY_DIGITS))).collect();
    let is_pointed = |one: &&Manifest| pointed.contains(&(one.artifact, one.key.prefix(KEY_DIGITS)));
    let mut is_reached: Vec<bool> = all.iter().map(is_pointed).collect();
    loop {
        let found = all.iter().zip(&is_reached).filter(|(_, is_reached)| **is_reached);
        let inputs: BTreeSet<&Digest> = found.flat_map(|(one, _)| one.provenance.inputs.values()).collect();
        let next: Vec<bool> =
            is_reached.iter().zip(all).map(|(is, one)| *is || inputs.contains(&one.digest)).collect();
        if next == is_reached {
            return next;
        }
        is_reached = next;
    }
}
