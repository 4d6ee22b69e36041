//! Overrides of the command line beside branches: what a branch sets itself, a key outside of `branches` does not change.

pub(super) mod refusals;

use serde_yaml::{Mapping, Value};

use super::method::Method;
use super::synthesize::Synthesize;
use super::{Branch, Invalid, Pipeline};

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

/// One line for each new branch whose name is near to another's, and for each override that some of the chosen branches do not have;
/// `all` are those of the pipeline.
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
        for (branch, reach) in chosen.iter().filter_map(|branch| Some((branch, of(branch)?))) {
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
            notes.push(format!(
                "{assignment} does not reach {names} in `{BRANCHES}`; {BRANCHES}.{first}.{assignment} does"
            ));
            continue;
        }
        let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        let problem = format!("reaches no branch: not {names} in `{BRANCHES}`");
        let names = owners.iter().map(|(name, _)| *name);
        return Err(elsewhere(key, value, &problem, names));
    }
    Ok(notes)
}

fn elsewhere<'a>(key: &str, value: &str, problem: &str, owners: impl Iterator<Item = &'a str>) -> Invalid {
    let keys: Vec<String> = owners.map(|name| format!("{BRANCHES}.{name}.{key}={value}")).collect();
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
    use std::path::{Path, PathBuf};

    use super::*;

    /// What is said of overrides of `digits-matching`, on some of its branches.
    fn said(overrides: &[&str], names: &[&str]) -> String {
        said_of("digits-matching", overrides, names)
    }

    fn said_of(pipeline: &str, overrides: &[&str], names: &[&str]) -> String {
        said_of_file(&repository_file(pipeline), overrides, names)
    }

    fn repository_file(pipeline: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../pipelines/{pipeline}.yaml"))
    }

    fn said_of_file(path: &Path, overrides: &[&str], names: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|given| (*given).to_owned()).collect();
        let chosen: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let all = match super::super::load_with(path, &overrides, None, None, &chosen) {
            Ok(branches) => branches,
            Err(error) => return error.to_string().split_once(": at ").expect("a key").1.to_owned(),
        };
        let mut branches = all.clone();
        branches.retain(|branch| names.is_empty() || chosen.contains(&branch.group));
        notes(&all, &branches).map_or_else(|invalid| invalid.to_string(), |notes| notes.join("\n"))
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
        assert_eq!(
            said_of("digits", &[iterations], &["random"]),
            format!("{iterations} changes nothing: no image is synthesized in random")
        );
    }

    #[test]
    fn an_override_that_reaches_a_branch_that_is_left_out_is_noted() {
        let strategy = "select.strategy=top";
        assert_eq!(
            said_of("digits", &[strategy], &["random"]),
            format!(
                "{strategy} does not reach random, which sets `select.strategy` in `branches`; branches.random.{strategy} does"
            )
        );
    }

    #[test]
    fn an_override_inside_of_a_branch_that_is_none_is_refused() {
        assert_eq!(
            said_of("digits", &["branches.dlet.synthesize.lr=0.3"], &[]),
            "`branches.dlet.synthesize.lr`: found on the command line, but no branch is called so; did you mean `delt`? there are: \
             random, delt; a new one says which of them it is like: branches.dlet.like=random"
        );
        let frepo = said(&["branches.frpo.synthesize.method.pool=2"], &[]);
        assert!(frepo.contains("did you mean `frepo`?"), "{frepo}");
        let new = ["branches.dlet.like=delt", "branches.dlet.synthesize.lr=0.3"];
        assert_eq!(said_of("digits", &new, &[]), "");
    }

    #[test]
    fn a_new_branch_that_may_be_a_misspelled_one_is_said_whichever_are_chosen() {
        let new = ["branches.delta={synthesize: {lr: 0.3}}", "draws=[1,2,3]"];
        for chosen in [&[][..], &["delt"]] {
            assert_eq!(said_of("digits", &new, chosen), "a new branch `delta`; did you mean `delt`?");
        }
        assert_eq!(said_of("digits", &["branches.delta={like: delt, seed: 1}"], &[]), "");
        assert_eq!(said_of("digits", &["branches.mine={synthesize: {lr: 0.3}}"], &[]), "");
        assert_eq!(said_of("digits", &["branches.delt={synthesize: {lr: 0.3}}"], &[]), "");
    }

    #[test]
    fn a_key_with_two_values_is_refused_and_one_that_is_said_twice_is_not() {
        assert_eq!(
            said_of("digits", &["select.ipc=5", "seed=1", "select.ipc=10"], &[]),
            "`select.ipc`: found twice on the command line, as 5 and as 10; keep the one that is meant"
        );
        assert_eq!(said_of("digits", &["relabel.seeds=[1, 2]", "relabel.seeds=[1,2]"], &[]), "");
    }

    #[test]
    fn an_override_that_reaches_no_branch_is_refused_with_the_keys_that_would() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("both.yaml");
        let digits = repository_file("digits").display().to_string();
        let text = format!("extends: {digits}\nbranches: {{delt: {{select: {{strategy: min}}}}}}");
        std::fs::write(&path, text).expect("written");
        let key = "select.strategy=top";
        let expected = |names: &str, keys: &str| {
            format!(
                "`select.strategy`: found on the command line, but it reaches no branch: not {names} `select.strategy` in `branches`; \
                set {keys}"
            )
        };
        let [random, delt] = ["random", "delt"].map(|name| format!("branches.{name}.{key}"));
        assert_eq!(
            said_of_file(&path, &[key], &[]),
            expected("random, delt, which set", &format!("{random}, {delt}"))
        );
        assert_eq!(said_of_file(&path, &[key], &["delt"]), expected("delt, which sets", &delt));
    }

    #[test]
    fn an_override_of_a_section_that_only_branches_have_names_them() {
        assert_eq!(
            said(&["seed=1", "synthesize.method.pool=2"], &[]),
            "`synthesize.method.pool`: found on the command line, but it means nothing outside of `branches`; set \
             branches.frepo.synthesize.method.pool=2, branches.rcig.synthesize.method.pool=2, \
             branches.frepo-relabel.synthesize.method.pool=2 and 1 more"
        );
        let pool = "synthesize.method.pool=2";
        assert!(said(&[pool], &["dm", "rcig"]).ends_with(&format!("; set branches.rcig.{pool}")));
        assert!(said(&[pool], &["dm"]).ends_with("nor in those that BRANCH (--branch) names; leave it out"));
        let kind = said(&["synthesize.method.kind=frepo"], &["frepo"]);
        assert!(kind.ends_with("where it holds already for frepo; leave it out"), "{kind}");
        assert!(said(&["synthesize.method.pol=2"], &[]).starts_with("`synthesize.method.kind`: is missing"));
    }
}
