//! Where in a file of others the tensors of a network are: what stands before their names, and whose names they have.
//!
//! Training scripts put weights under keys (`state_dict`, `model`), wrappers before every name (`module.`, `_orig_mod.`, the
//! attribute of a Lightning module), and some keep several copies. No list of those is needed: a copy of the network is wherever
//! all its names stand behind the same beginning.

mod in_order;

use std::collections::{BTreeMap, BTreeSet};

use delt_architectures::Layout;
use delt_formats::{Architecture, NamedTensor};

pub use in_order::find_in_order;

use crate::error::NetworkError;
use crate::named::first_of;

/// Words of the keys of weights that were averaged over training: the better ones.
const AVERAGES: [&str; 6] = ["ema", "average", "averaged", "avg", "swa", "shadow"];

/// The setting that names a copy.
const KEY: &str = "import.top_level_key";

/// The tensors of a file that are a network.
#[derive(Debug)]
pub struct Found {
    /// Under our names, sorted by them.
    pub tensors: Vec<NamedTensor>,
    /// What stands before the names of the copy, where it was preferred to another one.
    pub preferred: Option<String>,
    /// What was taken, renamed and left out, where anything was.
    pub said: Option<String>,
}

/// Names of the network behind one beginning.
struct Copy {
    prefix: String,
    layout: Layout,
    /// How many there are.
    names: usize,
}

impl Copy {
    /// What stands before the names, without the dot.
    fn key(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    fn is_average(&self) -> bool {
        self.prefix.to_lowercase().split(['.', '_', '-']).any(|word| AVERAGES.contains(&word))
    }
}

/// All tensors of a file.
type ByName<'a> = BTreeMap<&'a str, &'a NamedTensor>;

/// Finds the network among all tensors of a file. Of several copies `key` names one by what stands before its names; without
/// it an average over training is preferred to the last weights. Where there is no whole copy, the most complete one is given.
///
/// # Errors
/// No tensors at the key; several copies of which none is the average.
pub fn find(
    architecture: &Architecture,
    tensors: &[NamedTensor],
    key: Option<&str>,
) -> Result<Found, NetworkError> {
    let described = architecture.description(architecture.least_size(), 1);
    let names: Vec<String> = described.tensors().map(|tensor| tensor.name.clone()).collect();
    let by_name: ByName<'_> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let copies = within(copies(architecture, &names, &by_name), key, &by_name)?;
    let whole = distinct(copies.iter().filter(|copy| copy.names == names.len()), &names, &by_name);
    let averages: Vec<&Copy> = whole.iter().copied().filter(|copy| copy.is_average()).collect();
    let prefix = key.map_or(String::new(), |key| format!("{key}."));
    let nothing = Copy { prefix, layout: Layout::OWN, names: 0 };
    let chosen = match (whole.as_slice(), averages.as_slice()) {
        ([], _) => copies.first().unwrap_or(&nothing),
        ([one], _) | (_, [one]) => one,
        (several, _) => return Err(NetworkError::SeveralCopies { keys: keys_of(several) }),
    };
    let others: Vec<&Copy> = whole.into_iter().filter(|copy| copy.prefix != chosen.prefix).collect();
    let is_other =
        |name: &str| others.iter().any(|copy| !copy.prefix.is_empty() && name.starts_with(&copy.prefix));
    let is_own =
        |name: &str| name.starts_with(&chosen.prefix) && (!chosen.prefix.is_empty() || !is_other(name));
    let left_out: Vec<&str> =
        by_name.keys().copied().filter(|name| !is_own(name) && !is_other(name)).collect();
    let ours: BTreeMap<String, &String> =
        names.iter().map(|name| ((chosen.layout.name)(name), name)).collect();
    let renamed = |tensor: &NamedTensor| {
        let theirs = &tensor.name[chosen.prefix.len()..];
        let name = ours.get(theirs).map_or(theirs, |name| name.as_str()).to_owned();
        NamedTensor { name, ..tensor.clone() }
    };
    let mut own: Vec<NamedTensor> =
        tensors.iter().filter(|tensor| is_own(&tensor.name)).map(renamed).collect();
    own.sort_by(|a, b| a.name.cmp(&b.name));
    let preferred = (key.is_none() && !others.is_empty()).then(|| chosen.prefix.clone());
    Ok(Found { tensors: own, preferred, said: said(chosen, &others, &left_out) })
}

/// Those copies that the key names: the ones that begin with it, or else have it among the parts before their names.
fn within(mut copies: Vec<Copy>, key: Option<&str>, tensors: &ByName<'_>) -> Result<Vec<Copy>, NetworkError> {
    let Some(key) = key else { return Ok(copies) };
    if !tensors.keys().any(|name| is_within(name, key)) {
        let keys: BTreeSet<String> = tensors.keys().map(|name| group(name, "")).collect();
        let keys = first_of(&keys.into_iter().collect::<Vec<_>>());
        return Err(NetworkError::NoTensors { key: key.to_owned(), keys });
    }
    let begins = |copy: &Copy| copy.prefix.starts_with(&format!("{key}."));
    let is_first = copies.iter().any(begins);
    copies.retain(|copy| if is_first { begins(copy) } else { is_within(&copy.prefix, key) });
    Ok(copies)
}

/// Of copies with the same values the first.
fn distinct<'a>(
    whole: impl Iterator<Item = &'a Copy>,
    names: &[String],
    tensors: &ByName<'_>,
) -> Vec<&'a Copy> {
    let (mut distinct, mut seen) = (Vec::new(), Vec::new());
    for copy in whole {
        let theirs = names.iter().map(|ours| format!("{}{}", copy.prefix, (copy.layout.name)(ours)));
        let values: Vec<_> = theirs.filter_map(|name| Some(&tensors.get(name.as_str())?.values)).collect();
        if !seen.contains(&values) {
            seen.push(values);
            distinct.push(copy);
        }
    }
    distinct
}

/// What stands before the names of copies, the first of them.
fn keys_of(copies: &[&Copy]) -> String {
    first_of(&copies.iter().map(|copy| format!("`{}`", copy.key())).collect::<Vec<_>>())
}

/// The beginnings behind which names of the network stand, those with most of them first, then those of our own layout.
fn copies(architecture: &Architecture, names: &[String], tensors: &ByName<'_>) -> Vec<Copy> {
    let mut copies = Vec::new();
    for layout in architecture.layouts() {
        let theirs: BTreeSet<String> = names.iter().map(|name| (layout.name)(name)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in tensors.keys() {
            let begins = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
            for at in begins.filter(|at| theirs.contains(&name[*at..])) {
                *counts.entry(&name[..at]).or_default() += 1;
            }
        }
        let copy = |(prefix, names): (&str, usize)| Copy { prefix: prefix.to_owned(), layout, names };
        copies.extend(counts.into_iter().map(copy));
    }
    copies.sort_by_key(|copy| std::cmp::Reverse(copy.names));
    copies
}

/// Whether a key is among the parts before a name.
fn is_within(name: &str, key: &str) -> bool {
    format!(".{name}").contains(&format!(".{key}."))
}

/// The parts of a name up to the first that is not that of the prefix.
fn group(name: &str, prefix: &str) -> String {
    let common = name.split('.').zip(prefix.split('.')).take_while(|(a, b)| a == b).count();
    name.split('.').take(common + 1).collect::<Vec<_>>().join(".")
}

/// What was taken, renamed and left out, where anything was.
fn said(chosen: &Copy, others: &[&Copy], left_out: &[&str]) -> Option<String> {
    let mut parts = Vec::new();
    if !chosen.prefix.is_empty() {
        parts.push(format!("reads the tensors under `{}`", chosen.key()));
    }
    if let [other, ..] = others {
        let (keys, other) = (keys_of(others), other.key());
        parts
            .push(format!("the average over training (`{KEY}: {other}` reads the other copy, under {keys})"));
    }
    if chosen.layout.origin != Layout::OWN.origin {
        parts.push(format!("whose names are {}", chosen.layout.origin));
    }
    parts.extend(self::left_out(left_out, &chosen.prefix));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What is not the network's, if there is anything.
fn left_out(names: &[&str], prefix: &str) -> Option<String> {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    names.iter().for_each(|name| *groups.entry(group(name, prefix)).or_default() += 1);
    let groups: Vec<String> = groups
        .into_iter()
        .map(|(group, count)| format!("`{group}` ({count} tensor{})", if count == 1 { "" } else { "s" }))
        .collect();
    (!groups.is_empty()).then(|| format!("leaves out {}", first_of(&groups)))
}

#[cfg(test)]
mod tests {
    use delt_architectures::{Conv1Start, Stem};
    use delt_formats::TensorValues;

    use super::*;

    const CONVNET: Architecture = Architecture::convnet(2, 4);

    /// A network whose values are all this one, under these names behind a prefix.
    fn network(architecture: &Architecture, prefix: &str, layout: Layout, value: f32) -> Vec<NamedTensor> {
        let tensor = |name: &str, shape: &[usize]| NamedTensor {
            name: format!("{prefix}{}", (layout.name)(name)),
            shape: shape.to_vec(),
            values: TensorValues::F32(vec![value; shape.iter().product()]),
        };
        let description = architecture.description(32, 3);
        description.tensors().map(|described| tensor(&described.name, &described.shape)).collect()
    }

    fn other(name: &str) -> NamedTensor {
        NamedTensor { name: name.to_owned(), shape: vec![1], values: TensorValues::F32(vec![9.0]) }
    }

    /// What is found, which fits, as the value that all tensors have, and what is said of it.
    fn found(tensors: &[NamedTensor], key: Option<&str>) -> (f32, Option<String>) {
        let Found { tensors, said, .. } = find(&CONVNET, tensors, key).expect("found");
        crate::Network::check_named(&CONVNET, 3, 32, &tensors).expect("they fit");
        let TensorValues::F32(values) = &tensors[0].values else { panic!("floats") };
        (values[0], said)
    }

    #[test]
    fn a_network_is_found_behind_any_prefix_and_what_is_left_out_is_said() {
        assert_eq!(found(&network(&CONVNET, "", Layout::OWN, 1.0), None), (1.0, None));
        for prefix in
            ["module.", "_orig_mod.module.", "model.module._orig_mod.", "state_dict.net.", "backbone."]
        {
            let mut tensors = network(&CONVNET, prefix, Layout::OWN, 1.0);
            let under = format!("reads the tensors under `{}`", prefix.trim_end_matches('.'));
            assert_eq!(found(&tensors, None), (1.0, Some(under.clone())));
            tensors.push(other("n_averaged"));
            tensors.extend([other("optimizer.state.0.momentum"), other("optimizer.state.1.momentum")]);
            let left_out = "leaves out `n_averaged` (1 tensor), `optimizer` (2 tensors)";
            assert_eq!(found(&tensors, None), (1.0, Some(format!("{under}, {left_out}"))));
        }
    }

    #[test]
    fn of_a_plain_and_an_averaged_copy_the_average_is_read_and_the_other_offered() {
        for (plain, average) in
            [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("net.module", "ema.module")]
        {
            let copy = |key: &str, value| network(&CONVNET, &format!("{key}."), Layout::OWN, value);
            let tensors = [copy(plain, 1.0), copy(average, 2.0)].concat();
            let said = format!(
                "reads the tensors under `{average}`, the average over training (`import.top_level_key: {plain}` reads the \
                 other copy, under `{plain}`)"
            );
            assert_eq!(found(&tensors, None), (2.0, Some(said)));
            assert_eq!(found(&tensors, Some(plain)).0, 1.0);
            assert_eq!(find(&CONVNET, &tensors, None).expect("found").preferred, Some(format!("{average}.")));
            let same = [copy(plain, 1.0), copy(average, 1.0)].concat();
            assert_eq!(find(&CONVNET, &same, None).expect("found").preferred, None);
        }
    }

    #[test]
    fn of_several_copies_none_is_taken_in_silence() {
        let copy = |key: &str, value| network(&CONVNET, &format!("state_dict.{key}."), Layout::OWN, value);
        let tensors = [copy("student", 1.0), copy("teacher", 2.0)].concat();
        assert_eq!(
            find(&CONVNET, &tensors, None).expect_err("refused").to_string(),
            "holds several copies of the network with other values, under `state_dict.student`, `state_dict.teacher`; name one \
             by import.top_level_key"
        );
        assert_eq!(found(&tensors, Some("teacher")).0, 2.0);
        assert_eq!(found(&tensors, Some("state_dict.student")).0, 1.0);
        assert_eq!(
            find(&CONVNET, &tensors, Some("ema")).expect_err("refused").to_string(),
            "no tensors under `ema`; its top-level keys are state_dict: name the one that holds the weights"
        );
    }

    #[test]
    fn names_of_other_published_code_are_read_as_ours() {
        let resnet = Architecture::resnet18(Stem::Small);
        let bottlenecks = Architecture::Resnet50 { stem: Stem::Small, conv1_start: Conv1Start::Kaiming };
        for architecture in [CONVNET, resnet, bottlenecks, Architecture::Densenet121 {}] {
            for layout in architecture.layouts() {
                let theirs = network(&architecture, "model.", layout, 1.0);
                let Found { tensors, said, .. } = find(&architecture, &theirs, None).expect("found");
                crate::Network::check_named(&architecture, 3, 32, &tensors).expect("they fit");
                let is_said = said.expect("said").contains(layout.origin);
                assert_eq!(is_said, layout.origin != Layout::OWN.origin, "{}", layout.origin);
            }
        }
    }

    #[test]
    fn what_belongs_to_no_copy_is_refused_and_at_most_five_names_are_listed() {
        let mut more = network(&CONVNET, "", Layout::OWN, 1.0);
        more.push(other("head.weight"));
        let refused = |tensors: &[NamedTensor]| {
            let found = find(&CONVNET, tensors, None).expect("found");
            crate::Network::check_named(&CONVNET, 3, 32, &found.tensors).expect_err("refused").to_string()
        };
        assert!(refused(&more).contains("convnet2-w4: unused head.weight; check"));
        let instance: Vec<NamedTensor> = network(&CONVNET, "", CONVNET.layouts()[1], 1.0);
        let instance: Vec<NamedTensor> =
            instance.into_iter().filter(|tensor| !tensor.name.contains("running")).collect();
        assert!(
            refused(&instance)
                .contains("missing layers.norm.0.running_mean, layers.norm.0.running_var, layers.norm.1")
        );
        let nothing: Vec<NamedTensor> =
            (0..9).map(|number| other(&format!("blocks.{number}.weight"))).collect();
        let said = refused(&nothing);
        assert!(said.contains("layers.norm.0.weight and 9 more; unused blocks.0.weight, "), "{said}");
        assert!(said.contains("blocks.4.weight and 4 more; check"), "{said}");
    }
}
