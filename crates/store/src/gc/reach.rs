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
    /// Those that are forgotten.
    pub(super) leaving: Vec<Pointer>,
    /// Whether only what the forgotten ones led to may go.
    pub(super) is_clean: bool,
}

impl Runs {
    pub(super) fn of(store: &Store, scope: &Scope) -> Result<Self> {
        let runs: Vec<Pointer> = store.pointers()?.into_iter().filter(|run| !run.is_source()).collect();
        let names: &[String] = match scope {
            Scope::All => &[],
            Scope::Keep(names) | Scope::Clean(names) => names,
        };
        if let Some(name) = names.iter().find(|name| !runs.iter().any(|run| is_below(&run.run, name))) {
            return Err(StoreError::NoRun { run: name.clone() });
        }
        let is_named = |run: &Pointer| names.iter().any(|name| is_below(&run.run, name));
        let (leaving, counting) = runs.into_iter().partition(|run| match scope {
            Scope::All => false,
            Scope::Keep(_) => !is_named(run),
            Scope::Clean(_) => is_named(run),
        });
        Ok(Self { counting, leaving, is_clean: matches!(scope, Scope::Clean(_)) })
    }

    /// Removes the pointers of those that are forgotten.
    pub(super) fn forget(&self, store: &Store) -> Result<()> {
        self.leaving.iter().try_for_each(|pointer| store.forget(&pointer.run).map(drop))
    }

    /// Which of all artifacts stay.
    pub(super) fn lead_to(&self, all: &[&Manifest]) -> Vec<bool> {
        let stays = reached(all, &self.counting);
        if !self.is_clean {
            return stays;
        }
        let goes: Vec<bool> =
            reached(all, &self.leaving).into_iter().zip(&stays).map(|(goes, stays)| goes && !stays).collect();
        let gone: Vec<&&Manifest> =
            all.iter().zip(&goes).filter(|(_, goes)| **goes).map(|(it, _)| it).collect();
        // pointers to the parts of what shards made went when it was whole
        let is_left_over = |part: &Manifest| gone.iter().any(|whole| is_part_of(part, whole));
        let goes = all.iter().zip(goes).map(|(it, goes)| goes || is_left_over(it));
        stays.into_iter().zip(goes).map(|(stays, goes)| stays || !goes).collect()
    }
}

/// Whether an artifact is a part that shards made of a whole one.
fn is_part_of(part: &Manifest, whole: &Manifest) -> bool {
    let (part, whole) = (&part.provenance, &whole.provenance);
    part.artifact == whole.artifact.part()
        && part.artifact != whole.artifact
        && part.config.get("of") == Some(&whole.config)
        && (part.seed, &part.inputs) == (whole.seed, &whole.inputs)
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
