//! What the parser and the deserializer of YAML say, in words for people.

use crate::near::near_names;

/// What to say of a key that stands twice in one map. The parser names only where the map begins.
pub(super) fn twice(text: &str, error: &serde_yaml::Error) -> Option<String> {
    let said = error.to_string();
    let key = said.split_once("duplicate entry with key \"")?.1.split('"').next()?;
    let begin = error.location()?;
    let indent = begin.column() - 1;
    let is_key = |line: &str| {
        let rest = line.trim_start_matches(['"', '\'']).strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    };
    let indent_of = |line: &str| line.len() - line.trim_start().len();
    // a map in braces begins behind something, and its keys stand where they like
    let is_block = text.lines().nth(begin.line() - 1)?.chars().take(indent).all(char::is_whitespace);
    let own = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let lines: Vec<String> = (begin.line()..)
        .zip(text.lines().skip(begin.line() - 1))
        .filter(|(_, line)| own(line))
        .take_while(|(_, line)| indent_of(line) >= indent)
        .filter(|(_, line)| indent_of(line) == indent && is_key(line.trim_start()))
        .map(|(number, _)| number.to_string())
        .collect();
    let places = match (is_block, lines.as_slice()) {
        (true, [.., _, _]) => format!("in lines {}", lines.join(" and ")),
        _ => format!("in the section that begins in line {}", begin.line()),
    };
    Some(format!("`{key}` is written twice, {places}; keep one, with the values of both that are meant"))
}

/// What the deserializer says, without the names of Rust's types.
pub(super) fn in_words(problem: &str) -> String {
    let Some((found, expected)) = problem.rsplit_once("expected ") else { return problem.to_owned() };
    if problem.starts_with("unknown ") {
        // what is expected stands in backticks, as what was found
        let (name, known) = (found.split('`').nth(1), expected.split('`').skip(1).step_by(2));
        return match near_names(name.unwrap_or_default(), known).first() {
            Some(near) => format!("{problem}; did you mean `{near}`?"),
            None => problem.to_owned(),
        };
    }
    let expected = match expected {
        "f32" | "f64" => "a number",
        // whether 0 will do, a check of the setting says
        "u8" | "u16" | "u32" | "u64" | "usize" if found.contains("`-") => {
            "a whole number without a minus sign"
        }
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a nonzero u32" => "a whole number above 0",
        "a sequence" => "a list, e.g. [1, 2]",
        "a boolean" => "true or false",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            "a section of `key: value` lines"
        }
        other => other,
    };
    format!("{}expected {expected}", found.replace("unit value", "nothing"))
}

#[cfg(test)]
mod tests {
    use crate::yaml::load;

    #[test]
    fn a_key_that_stands_twice_is_named_with_both_of_its_lines() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("p.yaml");
        let cases = [
            (
                "# one\nseed: 0\nselect: {ipc: 3}\n\nbranches: {}\n'select': {ipc: 4}\n",
                "`select`",
                "in lines 3 and 6",
            ),
            (
                "seed: 0\nselect:\n  ipc: 3\n  # two\n  ipc: 4\nrelabel:\n  ipc: 5\n",
                "`ipc`",
                "in lines 3 and 5",
            ),
            ("seed: 0\nselect: {ipc: 3, ipc: 4}\n", "`ipc`", "in the section that begins in line 2"),
        ];
        for (text, key, lines) in cases {
            std::fs::write(&path, text).expect("write");
            let place = path.display();
            assert_eq!(
                load(&path).expect_err("refused").to_string(),
                format!(
                    "{place}: {key} is written twice, {lines}; keep one, with the values of both that are meant"
                )
            );
        }
    }
}
