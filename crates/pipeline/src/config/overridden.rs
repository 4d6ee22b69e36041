//! Overrides of the command line beside branches: what a branch sets itself, a key outside of `branches` does not change.

use serde_yaml::{Mapping, Value};

use super::method::Method;
use super::synthesize::Synthesize;
use super::{Branch, Invalid, Pipeline, changes_of};
use crate::yaml;

/// Where branches stand in a pipeline.
const BRANCHES: &str = "branches";

/// Branches and keys that a message names; the others it counts.
const NAMED: usize = 3;

/// What an override of the command line does in a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    assignment: String,
    /// What the branch sets itself of it.
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
        let (key, _) = assignment.split_once('=')?;
        if within(key, BRANCHES) {
            return None;
        }
        let leaves = leaves(key, at(root, key)?);
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

/// One line for each override that some of the branches set themselves.
///
/// # Errors
/// [`Invalid`], naming the keys that would count, where an override counts in none of the branches since they set it themselves.
pub fn notes(branches: &[Branch]) -> Result<Vec<String>, Invalid> {
    let mut notes = Vec::new();
    for (index, Reach { assignment, .. }) in
        branches.first().map_or(&[][..], |branch| &branch.reach).iter().enumerate()
    {
        let counts = branches.iter().any(|branch| branch.reach.get(index).is_some_and(|reach| reach.counts));
        let mut owners: Vec<(&str, &str)> = Vec::new();
        for branch in branches {
            let reach = branch.reach.get(index).filter(|reach| !(counts && reach.is_idle));
            let own = reach.and_then(|reach| reach.own.as_deref());
            owners.extend(own.map(|own| (branch.group.as_str(), own)));
        }
        owners.dedup();
        let Some((first, own)) = owners.first() else { continue };
        let names: Vec<&str> = owners.iter().map(|(name, _)| *name).collect();
        let names =
            format!("{}, which {} `{own}`", few(&names), if names.len() == 1 { "sets" } else { "set" });
        if counts {
            notes.push(format!(
                "{assignment} does not reach {names} in `{BRANCHES}`; {BRANCHES}.{first}.{assignment} does"
            ));
            continue;
        }
        let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        return Err(elsewhere(
            key,
            value,
            &format!("reaches no branch: not {names} in `{BRANCHES}`"),
            &owners,
        ));
    }
    Ok(notes)
}

/// The override that makes a pipeline unreadable where it stands, and would do in branches, with their keys. `root` has no overrides.
pub(super) fn misplaced(root: &Mapping, overrides: &[String]) -> Option<Invalid> {
    let is_read = |sections: &Mapping| yaml::typed::<Pipeline>(sections, "").is_ok();
    overrides.iter().find_map(|assignment| {
        let mut others = root.clone();
        for other in overrides.iter().filter(|other| *other != assignment) {
            yaml::set(&mut others, other).ok()?;
        }
        let branches = others.get(BRANCHES)?.as_mapping()?.clone();
        let would_do = |(name, change): (&Value, &Value)| {
            let name = name.as_str()?.to_owned();
            let mut sections = others.clone();
            yaml::merge(&mut sections, changes_of(&branches, &name, change, &mut Vec::new()).ok()?);
            yaml::set(&mut sections, assignment).ok()?;
            is_read(&sections).then_some((name, ""))
        };
        let owners: Vec<(String, &str)> =
            if is_read(&others) { branches.iter().filter_map(would_do).collect() } else { Vec::new() };
        let owners: Vec<(&str, &str)> = owners.iter().map(|(name, own)| (name.as_str(), *own)).collect();
        let (key, value) = assignment.split_once('=')?;
        let problem = format!("means nothing outside of `{BRANCHES}`");
        (!owners.is_empty()).then(|| elsewhere(key, value, &problem, &owners))
    })
}

fn elsewhere(key: &str, value: &str, problem: &str, owners: &[(&str, &str)]) -> Invalid {
    let keys: Vec<String> =
        owners.iter().map(|(name, _)| format!("{BRANCHES}.{name}.{key}={value}")).collect();
    Invalid::new(key, format!("found on the command line, but it {problem}; set {}", few(&keys)))
}

/// The first of these, and how many there are beside.
fn few(all: &[impl AsRef<str>]) -> String {
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
mod tests {
    use std::path::Path;

    use super::*;

    /// What is said of overrides of `digits-matching`, on some of its branches.
    fn said(overrides: &[&str], names: &[&str]) -> String {
        said_of("digits-matching", overrides, names)
    }

    fn said_of(pipeline: &str, overrides: &[&str], names: &[&str]) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../pipelines/{pipeline}.yaml"));
        let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
        let loaded = super::super::load(&path, &overrides, None);
        let mut branches = match loaded {
            Ok(branches) => branches,
            Err(error) => return error.to_string().split_once(": at ").expect("a key").1.to_owned(),
        };
        branches.retain(|branch| names.is_empty() || names.contains(&branch.group.as_str()));
        notes(&branches).map_or_else(|invalid| invalid.to_string(), |notes| notes.join("\n"))
    }

    #[test]
    fn an_override_that_some_branches_set_themselves_is_noted_with_the_key_that_counts() {
        let key = "synthesize.matching.image_optimizer.lr=2";
        assert_eq!(
            said(&[key], &["dm", "mtt"]),
            format!(
                "{key} does not reach mtt, which sets `synthesize.matching.image_optimizer.lr` in `branches`; branches.mtt.{key} does"
            )
        );
        assert_eq!(said(&[key], &["dm"]), "");
        assert_eq!(said(&[key, &format!("branches.mtt.{key}")], &["dm", "mtt"]), "", "the key was known");
    }

    #[test]
    fn that_iterations_do_not_reach_a_branch_without_synthesis_is_no_news() {
        let iterations = "synthesize.max_iterations=50";
        assert_eq!(said_of("digits", &[iterations], &["random", "delt"]), "");
        assert!(said_of("digits", &[iterations], &["random"]).contains("reaches no branch"));
    }

    #[test]
    fn an_override_that_reaches_no_branch_is_refused_with_the_keys_that_would() {
        let key = "synthesize.matching.iterations=2";
        assert_eq!(
            said(&[key], &["random-hard", "dm", "mtt"]),
            format!(
                "`synthesize.matching.iterations`: found on the command line, but it reaches no branch: not dm, mtt, which set \
                `synthesize.matching.iterations` in `branches`; set branches.dm.{key}, branches.mtt.{key}"
            )
        );
    }

    #[test]
    fn an_override_of_a_section_that_only_branches_have_names_them() {
        assert_eq!(
            said(&["seed=1", "synthesize.method.pool=2"], &[]),
            "`synthesize.method.pool`: found on the command line, but it means nothing outside of `branches`; set \
             branches.frepo.synthesize.method.pool=2, branches.rcig.synthesize.method.pool=2, \
             branches.frepo-relabel.synthesize.method.pool=2 and 1 more"
        );
        assert!(said(&["synthesize.method.pol=2"], &[]).starts_with("`synthesize.method.kind`: is missing"));
    }
}
