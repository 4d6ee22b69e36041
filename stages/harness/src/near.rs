//! Names that a misspelt one may be meant as.

/// Names that are offered, at most.
const NAMES_SHOWN: usize = 3;

/// The names that are a few letters away, or hold or are part of the wanted one; nearest first.
pub fn near_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let limit = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = Vec::new();
    for candidate in known {
        let lower = candidate.to_lowercase();
        let distance = edit_distance(&wanted, &lower);
        let is_part = !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower));
        if distance <= limit || is_part {
            near.push((distance, candidate));
        }
    }
    near.sort_unstable();
    near.into_iter().take(NAMES_SHOWN).map(|(_, candidate)| candidate).collect()
}

/// Letters to insert, remove or replace (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first() {
        assert_eq!(near_names("tre", ["train", "pine_tree", "tree"]), ["tree", "pine_tree"]);
        assert_eq!(near_names("zebra", ["train", "tree"]), [""; 0]);
    }

    #[test]
    fn edit_distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "ab"), 2);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
