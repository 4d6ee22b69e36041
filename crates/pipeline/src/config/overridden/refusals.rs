//! What of the command line is refused or asked about before branches are made: keys with two values, branches that are none, keys
//! that mean something in branches only.

use serde_yaml::{Mapping, Value};

use super::{BRANCHES, at, elsewhere, few};
use crate::config::{Invalid, LIKE, Pipeline, changes_of};
use crate::near::near_names;
use crate::yaml;

/// Refuses a key that is given two values: the last would win in silence.
pub(in crate::config) fn refuse_repeated(overrides: &[String]) -> Result<(), Invalid> {
    let assigned: Vec<_> = overrides.iter().filter_map(|assignment| assignment.split_once('=')).collect();
    let meant = |value: &str| serde_yaml::from_str::<Value>(value).ok();
    for (index, (key, value)) in assigned.iter().enumerate() {
        let mut before = assigned[..index].iter().filter(|(other, _)| other == key);
        if let Some((_, other)) = before.find(|(_, other)| meant(other) != meant(value)) {
            let problem = format!(
                "found twice on the command line, as {other} and as {value}; keep the one that is meant"
            );
            return Err(Invalid::new(*key, problem));
        }
    }
    Ok(())
}

/// The branch that a new one may be meant as, if it is written as a whole on the command line and does not say what it is `like`.
pub(in crate::config) fn meant_as(written: &Mapping, name: &str, change: &Value) -> Option<String> {
    let known = written.get(BRANCHES)?.as_mapping()?;
    if known.contains_key(name) || change.get(LIKE).is_some() {
        return None;
    }
    near_names(name, known.keys().filter_map(Value::as_str)).first().map(|near| (*near).to_owned())
}

/// Refuses an override inside of a branch that the pipeline does not have: by a misspelled name it would make one. What is written as
/// a whole, or says which branch it is `like`, is meant.
pub(in crate::config) fn refuse_strangers(
    written: &Mapping,
    root: &Mapping,
    overrides: &[String],
) -> Result<(), Invalid> {
    for assignment in overrides {
        let key = assignment.split_once('=').map_or("", |(key, _)| key);
        let inner = key.strip_prefix(BRANCHES).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
        let Some((name, _)) = inner else { continue };
        let place = format!("{BRANCHES}.{name}");
        let is_whole = |other: &String| other.split_once('=').is_some_and(|(key, _)| key == place);
        let is_meant = at(root, &format!("{place}.{LIKE}")).is_some() || overrides.iter().any(is_whole);
        let Some(known) = written.get(BRANCHES).and_then(Value::as_mapping) else { continue };
        if is_meant || known.contains_key(name) {
            continue;
        }
        let known: Vec<&str> = known.keys().filter_map(Value::as_str).collect();
        let near = near_names(name, known.iter().copied());
        let near = near.first().map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let (known, like) = (known.join(", "), known.first().copied().unwrap_or_default());
        let problem = format!(
            "found on the command line, but no branch is called so; {near}there are: {known}; a new one says which of them it is like: \
             {place}.{LIKE}={like}"
        );
        return Err(Invalid::new(key, problem));
    }
    Ok(())
}

/// The override that makes a pipeline unreadable where it stands, and would do in branches, with the keys of those that are chosen.
/// `root` has no overrides.
pub(in crate::config) fn misplaced(
    root: &Mapping,
    overrides: &[String],
    chosen: &[String],
) -> Option<Invalid> {
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
            let before = sections.clone();
            yaml::set(&mut sections, assignment).ok()?;
            is_read(&sections).then(|| (name, sections == before))
        };
        let owners: Vec<(String, bool)> =
            if is_read(&others) { branches.iter().filter_map(would_do).collect() } else { Vec::new() };
        let is_chosen = |name: &String| chosen.is_empty() || chosen.contains(name);
        let of = |is_so: bool| {
            let of_these = owners.iter().filter(move |(name, has)| is_chosen(name) && *has == is_so);
            of_these.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        let (key, value) = assignment.split_once('=')?;
        let problem = format!("means nothing outside of `{BRANCHES}`");
        match (of(false), of(true)) {
            _ if owners.is_empty() => None,
            (lacking, _) if !lacking.is_empty() => Some(elsewhere(key, value, &problem, lacking.into_iter())),
            (_, those) => {
                let why = match few(&those) {
                    none if none.is_empty() => "nor in those that BRANCH (--branch) names".to_owned(),
                    names => format!("where it holds already for {names}"),
                };
                Some(Invalid::new(
                    key,
                    format!("found on the command line, but it {problem}, {why}; leave it out"),
                ))
            }
        }
    })
}
