//! Names that a misspelled one may be meant as.

use strsim::osa_distance;

/// Names that are offered, at most.
const NAMES_SHOWN: usize = 3;

/// The names that are a few letters away (two swapped ones count once), or hold or are part of the wanted one; nearest first.
pub fn near_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let limit = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = Vec::new();
    for candidate in known {
        let lower = candidate.to_lowercase();
        let distance = osa_distance(&wanted, &lower);
        let is_part = !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower));
        if distance <= limit || is_part {
            near.push((distance, candidate));
        }
    }
    near.sort_unstable();
    near.into_iter().take(NAMES_SHOWN).map(|(_, candidate)| candidate).collect()
}

/// What is said of a name that is none of these branches.
pub fn no_branch(name: &str, known: &[&str]) -> String {
    let near = near_names(name, known.iter().copied());
    let hint = match name.split_once(',') {
        Some(_) => {
            let names: Vec<&str> = name.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            format!("; write names with spaces between, BRANCH='{}' (--branch for each)", names.join(" "))
        }
        None => near.first().map_or_else(String::new, |near| format!("; did you mean `{near}`?")),
    };
    format!("no branch `{name}`{hint}; there are: {}", known.join(", "))
}

/// Whether two names differ by capitals alone, or by a letter that is missing, too many, another or swapped with the next. One that
/// extends the other or has another last letter (`delt-2`, `random-dm`) is a variant of it and no slip.
pub(crate) fn is_slip(name: &str, known: &str) -> bool {
    let (name, known) = (name.to_lowercase(), known.to_lowercase());
    let stem = |of: &str| of.char_indices().next_back().map(|(last, _)| of[..last].to_owned());
    let is_variant = name.contains(&known) || stem(&name) == stem(&known);
    name == known || (osa_distance(&name, &known) == 1 && !is_variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_of_a_name_is_no_slip_of_it() {
        for slip in ["detl", "Delt", "DELT", "det", "deelt", "dalt"] {
            assert!(is_slip(slip, "delt"), "{slip}");
        }
        for variant in ["delt-2", "delta", "my-delt", "dels", "mine"] {
            assert!(!is_slip(variant, "delt"), "{variant}");
        }
    }

    #[test]
    fn the_nearest_name_comes_first() {
        assert_eq!(near_names("tre", ["train", "pine_tree", "tree"]), ["tree", "pine_tree"]);
        assert_eq!(near_names("icp", ["ipc", "top"]), ["ipc"], "swapped letters are one mistake");
        assert_eq!(near_names("zebra", ["train", "tree"]), [""; 0]);
    }

    #[test]
    fn a_branch_that_is_none_is_answered_with_the_nearest_and_all() {
        let said = |name: &str| no_branch(name, &["random", "g-vbsm"]);
        assert_eq!(said("gvbsm"), "no branch `gvbsm`; did you mean `g-vbsm`?; there are: random, g-vbsm");
        assert_eq!(said("zebra"), "no branch `zebra`; there are: random, g-vbsm");
        assert_eq!(
            said("random,g-vbsm"),
            "no branch `random,g-vbsm`; write names with spaces between, BRANCH='random g-vbsm' (--branch for each); there are: random, \
             g-vbsm"
        );
    }
}
