//! What a branch changes, and its repetitions.

use serde_yaml::{Mapping, Value};

use super::Branch;
use super::overridden::refusals;
use crate::yaml;

/// Key of a branch that changes what another one changes, and more.
pub(super) const LIKE: &str = "like";

/// The branch itself, or one for each of its `draws`.
pub(super) fn repetitions(branch: Branch) -> Vec<Branch> {
    if branch.pipeline.draws.is_empty() {
        return vec![branch];
    }
    let repetition = |(index, draw): (usize, &u64)| {
        let mut own = branch.clone();
        own.pipeline.draw = Some(*draw);
        own.pipeline.relabel.seeds = vec![branch.pipeline.relabel.seeds[index]];
        if index > 0 {
            own.name = format!("{}-{index}", branch.name);
        }
        own
    };
    branch.pipeline.draws.iter().enumerate().map(repetition).collect()
}

/// What a branch changes: the changes of the branch that it is `like`, then its own. `open` are the branches whose changes
/// are being read.
pub(super) fn changes_of(
    branches: &Mapping,
    name: &str,
    change: &Value,
    open: &mut Vec<String>,
) -> Result<Mapping, String> {
    let Value::Mapping(change) = change else {
        return Err(format!(
            "found {}, expected a map of overrides, e.g. `random: {{select: {{strategy: random}}}}`",
            yaml::in_a_word(change)
        ));
    };
    let mut own = change.clone();
    let Some(like) = own.remove(LIKE) else { return Ok(own) };
    open.push(name.to_owned());
    let Some(like) = like.as_str() else {
        return Err(format!("`like` is {}, expected the name of a branch", yaml::in_a_word(&like)));
    };
    let Some(parent) = branches.get(like).filter(|change| !change.is_null()) else {
        let mut others = branches.clone();
        open.iter().for_each(|name| drop(others.remove(name)));
        return Err(format!(
            "`like` is `{like}`, but no branch is called so; {}",
            refusals::there_are(like, &others)
        ));
    };
    if open.iter().any(|name| name == like) {
        return Err(format!("`like` is circular: {} like {like}", open.join(" like ")));
    }
    let mut merged = changes_of(branches, like, parent, open)?;
    yaml::merge(&mut merged, own);
    Ok(merged)
}
