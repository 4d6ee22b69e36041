//! What of the command line is refused or asked about before branches are made: keys with two values, branches that are none, keys
//! that mean something in branches only.

use serde_yaml::{Mapping, Value};

use super::{BRANCHES, at, elsewhere, few};
use crate::config::branches::{LIKE, changes_of};
use crate::config::{Invalid, Pipeline};
use crate::near::{is_slip, near_names};
use crate::yaml;

/// Refuses a key that is given two values, by itself or in a section: the last would win in silence.
pub(in crate::config) fn refuse_repeated(overrides: &[String]) -> Result<(), Invalid> {
    let mut before: Vec<(&str, &str, Mapping)> = Vec::new();
    for assignment in overrides {
        // what assigns nothing is refused where it is applied
        let (Some((key, value)), Ok(said)) = (assignment.split_once('='), yaml::parsed(assignment)) else {
            continue;
        };
        for (other_key, other, said_before) in &before {
            let as_a_whole = (key == *other_key && said != *said_before)
                .then(|| (key.to_owned(), [other, value].map(str::to_owned)));
            if let Some((key, [first, second])) = contradiction(said_before, &said).or(as_a_whole) {
                let problem = format!(
                    "found twice on the command line, as {first} and as {second}; keep the one that is meant"
                );
                return Err(Invalid::new(key, problem));
            }
        }
        before.push((key, value, said));
    }
    Ok(())
}

/// The first key to which two maps give values of which the later alone would count, and both values.
fn contradiction(before: &Mapping, after: &Mapping) -> Option<(String, [String; 2])> {
    let written = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => serde_json::to_string(value).unwrap_or_default(),
    };
    before.iter().find_map(|(key, first)| {
        let (second, name) = (after.get(key)?, key.as_str()?);
        let here = || Some((name.to_owned(), [first, second].map(written)));
        match (first, second) {
            (Value::Mapping(one), Value::Mapping(other)) => match contradiction(one, other) {
                Some((inner, values)) => Some((format!("{name}.{inner}"), values)),
                None if yaml::is_either(one, other) => here(),
                None => None,
            },
            _ if first == second => None,
            _ => here(),
        }
    })
}

/// The branch that a new one may be meant as. One that says what it is `like` is asked about where a slip of a letter or of a
/// capital is all that tells the two apart: its name may extend that of another, or end otherwise.
pub(in crate::config) fn meant_as(written: &Mapping, name: &str, change: &Value) -> Option<String> {
    let known = written.get(BRANCHES)?.as_mapping()?;
    if known.contains_key(name) {
        return None;
    }
    let says_like = change.get(LIKE).is_some();
    let may_be = |other: &&str| !says_like || is_slip(name, other);
    near_names(name, known.keys().filter_map(Value::as_str).filter(may_be))
        .first()
        .map(|near| (*near).to_owned())
}

/// Refuses to leave out a branch that there is not, by its misspelled name: `after` is what becomes of `before`. Where no branch was
/// before, nothing can be misspelled.
pub(crate) fn refuse_vain_null(before: &Mapping, after: &Mapping) -> Result<(), Invalid> {
    let branches =
        |of: &'_ Mapping| of.get(BRANCHES).and_then(Value::as_mapping).cloned().unwrap_or_default();
    let (known, branches) = (branches(before), branches(after));
    let vain = branches
        .iter()
        .filter(|(name, change)| change.is_null() && !known.is_empty() && !known.contains_key(*name));
    let Some(name) = vain.filter_map(|(name, _)| name.as_str()).next() else { return Ok(()) };
    let problem =
        format!("found null, which leaves out a branch, but none is called so; {}", there_are(name, &known));
    Err(Invalid::new(format!("{BRANCHES}.{name}"), problem))
}

/// Whether a name is misspelled, and the names that there are.
pub(in crate::config) fn there_are(name: &str, known: &Mapping) -> String {
    let known: Vec<&str> =
        known.iter().filter(|(_, change)| !change.is_null()).filter_map(|(name, _)| name.as_str()).collect();
    let near = near_names(name, known.iter().copied());
    let near = near.first().map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    format!("{near}there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
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
        let like = known.iter().find(|(_, change)| !change.is_null());
        let like = like.and_then(|(name, _)| name.as_str()).unwrap_or_default();
        let problem = format!(
            "found on the command line, but no branch is called so; {}; a new one says which of them it is like: {place}.{LIKE}={like}",
            there_are(name, known)
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
