//! The settings of the branches side by side: which lines of their YAML differ.

use std::collections::BTreeSet;

/// One line of YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The text, with its indentation.
    pub text: String,
    /// Whether another branch has something else here.
    pub is_own: bool,
}

/// The lines of each recipe; a line that not all of them have under the same keys is the branch's own.
pub fn compare(recipes: &[&str]) -> Vec<Vec<Line>> {
    let placed: Vec<Vec<String>> = recipes.iter().map(|recipe| places(recipe)).collect();
    let sets: Vec<BTreeSet<&String>> = placed.iter().map(|places| places.iter().collect()).collect();
    let is_own = |place: &String| sets.iter().any(|set| !set.contains(place));
    let lines = |(recipe, places): (&&str, &Vec<String>)| {
        let lines = recipe.lines().zip(places);
        lines.map(|(text, place)| Line { text: text.to_owned(), is_own: is_own(place) }).collect()
    };
    recipes.iter().zip(&placed).map(lines).collect()
}

/// Each line with the keys above it, e.g. `select:/strategy: medium`.
fn places(recipe: &str) -> Vec<String> {
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut places = Vec::new();
    for line in recipe.lines() {
        let depth = line.len() - line.trim_start().len();
        above.retain(|(outer, _)| *outer < depth);
        above.push((depth, line.trim()));
        places.push(above.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("/"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_marked() {
        let random = "seed: 0\nselect:\n  ipc: 10\n  strategy: random\nsynthesize:\n  lr: 0.1\n";
        let delt = "seed: 0\nselect:\n  ipc: 10\n  strategy: medium\nsynthesize:\n  lr: 0.1\n";
        let own: Vec<String> = compare(&[random, delt])
            .into_iter()
            .flatten()
            .filter(|line| line.is_own)
            .map(|line| line.text)
            .collect();
        assert_eq!(own, ["  strategy: random", "  strategy: medium"]);
    }

    #[test]
    fn equal_lines_under_different_keys_differ() {
        let lines = compare(&["teacher:\n  lr: 1\n", "evaluate:\n  lr: 1\n"]);
        assert!(lines.iter().flatten().all(|line| line.is_own));
    }
}
