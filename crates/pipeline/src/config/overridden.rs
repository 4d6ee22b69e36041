//! Overrides of the command line beside branches: what a branch sets itself, a key outside of `branches` does not change.

pub(super) mod refusals;

use serde_yaml::{Mapping, Value};

use super::method::Method;
use super::synthesize::Synthesize;
use super::{Branch, Invalid, Pipeline, in_vain};

/// Where branches stand in a pipeline.
const BRANCHES: &str = "branches";

/// Branches and keys that a message names; the others it counts.
const NAMED: usize = 3;

/// What an override of the command line does in a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    assignment: String,
    /// A key that the branch sets itself of those that it names.
    own: Option<String>,
    /// Whether any of it counts in the branch.
    counts: bool,
    /// Whether it is of synthesis, which the branch has none of (`random`): that it does not reach such a branch is no news.
    is_idle: bool,
}

/// What each override does in a branch: `root` has them, `sections` are what the branch makes of it.
pub(super) fn reach(
    overrides: &[String],
    root: &Mapping,
    sections: &Mapping,
    name: &str,
    branch: &Pipeline,
) -> Vec<Reach> {
    let read = serde_yaml::to_value(branch).unwrap_or_default();
    let keys = || overrides.iter().filter_map(|assignment| assignment.split_once('=')).map(|(key, _)| key);
    let is_set = |key: &str| {
        let own = |other: &str| {
            let other = other.strip_prefix(BRANCHES)?.strip_prefix('.')?.strip_prefix(name)?;
            (other.is_empty() || other.starts_with('.')).then(|| within(key, other.trim_start_matches('.')))
        };
        keys().filter_map(own).any(|is_of_it| is_of_it)
    };
    let of_key = |assignment: &String| {
        let (key, value) = assignment.split_once('=')?;
        if within(key, BRANCHES) {
            return None;
        }
        // of a section, the keys that it names; where a later override has another variant, they are gone
        let mut leaves = leaves(key, &serde_yaml::from_str(value).ok()?);
        leaves.retain(|leaf| at(root, leaf).is_some());
        let own = leaves.iter().find(|leaf| at(sections, leaf) != at(root, leaf) && !is_set(leaf));
        let counts = leaves
            .iter()
            .any(|leaf| is_set(leaf) || (at(sections, leaf) == at(root, leaf) && is_read(&read, leaf)));
        let own = own.map(|leaf| present(sections, leaf).to_owned());
        let Synthesize { method, max_iterations, .. } = &branch.synthesize;
        let recovers = !matches!(method, Method::EarlyLate {}) || *max_iterations > 0;
        let is_idle = !recovers && within(key, "synthesize");
        Some(Reach { assignment: assignment.clone(), own, counts, is_idle })
    };
    overrides.iter().filter_map(of_key).collect()
}

/// One line for each new branch whose name is near to another's, for each override that some of the chosen branches do not have, and
/// for each setting that changes nothing in them; `all` are those of the pipeline.
///
/// # Errors
/// [`Invalid`], naming the keys that would count, where an override counts in no branch of all, since those chosen set it themselves.
pub fn notes(all: &[Branch], chosen: &[Branch]) -> Result<Vec<String>, Invalid> {
    let said = |new: &Branch| {
        Some(format!("a new branch `{}`; did you mean `{}`?", new.group, new.meant_as.as_ref()?))
    };
    let mut notes: Vec<String> = all.iter().filter_map(said).collect();
    notes.dedup();
    for (index, Reach { assignment, .. }) in
        chosen.first().map_or(&[][..], |branch| &branch.reach).iter().enumerate()
    {
        let of = |branch: &'_ Branch| branch.reach.get(index).cloned();
        let counts_in = |branches: &[Branch]| branches.iter().filter_map(of).any(|reach| reach.counts);
        let (mut owners, mut idle): (Vec<(&str, String)>, Vec<&str>) = (Vec::new(), Vec::new());
        let mut in_part = false;
        for (branch, reach) in chosen.iter().filter_map(|branch| Some((branch, of(branch)?))) {
            in_part |= reach.own.is_some() && reach.counts;
            match reach.own {
                Some(_) if reach.is_idle => idle.push(&branch.group),
                own => owners.extend(own.map(|own| (branch.group.as_str(), own))),
            }
        }
        owners.dedup();
        idle.dedup();
        let counts = counts_in(chosen);
        let Some((first, own)) = owners.first() else {
            if !counts && !idle.is_empty() {
                let names = few(&idle);
                notes.push(format!("{assignment} changes nothing: no image is synthesized in {names}"));
            }
            continue;
        };
        let names: Vec<&str> = owners.iter().map(|(name, _)| *name).collect();
        let names =
            format!("{}, which {} `{own}`", few(&names), if names.len() == 1 { "sets" } else { "set" });
        if counts || counts_in(all) {
            let reaches = if in_part { "does not wholly reach" } else { "does not reach" };
            notes.push(format!(
                "{assignment} {reaches} {names} in `{BRANCHES}`; {BRANCHES}.{first}.{assignment} does"
            ));
            continue;
        }
        let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        let problem = format!("reaches no branch: not {names} in `{BRANCHES}`");
        let names = owners.iter().map(|(name, _)| *name);
        return Err(elsewhere(key, value, &problem, names));
    }
    notes.extend(in_vain::notes(chosen));
    Ok(notes)
}

impl Branch {
    /// The overrides of the command line outside of `branches`.
    pub(super) fn overrides(&self) -> impl Iterator<Item = &str> {
        self.reach.iter().map(|reach| reach.assignment.as_str())
    }
}

fn elsewhere<'a>(key: &str, value: &str, problem: &str, owners: impl Iterator<Item = &'a str>) -> Invalid {
    let keys: Vec<String> = owners.map(|name| format!("{BRANCHES}.{name}.{key}={value}")).collect();
    Invalid::new(key, format!("found on the command line, but it {problem}; set {}", few(&keys)))
}

/// The first of these, and how many there are beside.
pub(super) fn few(all: &[impl AsRef<str>]) -> String {
    let named = all.iter().take(NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED { format!("{named} and {} more", all.len() - NAMED) } else { named }
}

/// Whether one of two keys lies in the other.
fn within(one: &str, other: &str) -> bool {
    one.split('.').zip(other.split('.').filter(|part| !part.is_empty())).all(|(one, other)| one == other)
}

/// The keys of all that a value says.
fn leaves(key: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            let inner = map
                .iter()
                .filter_map(|(name, value)| Some(leaves(&format!("{key}.{}", name.as_str()?), value)));
            inner.flatten().collect()
        }
        _ => vec![key.to_owned()],
    }
}

/// The value of a dotted key.
fn at<'a>(root: &'a Mapping, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let value = root.get(first)?;
    if rest.is_empty() { Some(value) } else { at(value.as_mapping()?, rest) }
}

/// The part of a dotted key that there is.
fn present<'a>(root: &Mapping, key: &'a str) -> &'a str {
    let mut part = key;
    while at(root, part).is_none()
        && let Some((section, _)) = part.rsplit_once('.')
    {
        part = section;
    }
    part
}

/// Whether a branch reads the section that a key lies in, or the key where it lies in none.
fn is_read(branch: &Value, key: &str) -> bool {
    let Some((section, _)) = key.rsplit_once('.') else { return true };
    branch.as_mapping().and_then(|root| at(root, section)).is_some_and(|section| !section.is_null())
}

#[cfg(test)]
mod tests;
