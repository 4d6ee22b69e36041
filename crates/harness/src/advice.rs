//! Commands that a message tells the user to run: with the knobs that are in force, so that they work as they stand.

use std::path::PathBuf;

use delt_pipeline::cells::target_of;
use delt_store::Location;

use crate::args::{Args, DEFAULT_STORE};

/// `make TARGET` with the knobs `STORE`, `SET`, `DATA`, `BRANCH`, `SET_PATH`, `TEACHER` and `BIN` where they were given.
pub(crate) fn make_target(target: &str, args: &Args) -> String {
    let shown = |path: Option<&PathBuf>| path.map_or(String::new(), |path| path.display().to_string());
    let is_default = args.store == Location::Folder(DEFAULT_STORE.into());
    let set: Vec<String> = args.set.iter().map(|setting| without_spaces(setting)).collect();
    let knobs = [
        ("STORE", if is_default { String::new() } else { args.store.to_string() }),
        ("SET", set.join(" ")),
        ("DATA", shown(args.data.as_ref())),
        ("BRANCH", args.branches.join(" ")),
        ("SET_PATH", shown(args.set_path.as_ref())),
        ("TEACHER", shown(args.teacher.as_ref())),
        ("BIN", shown(args.bin.as_ref())),
    ];
    let mut command = format!("make {}", target_of(&args.pipeline, target));
    for (name, value) in knobs.iter().filter(|(_, value)| !value.is_empty()) {
        command.push_str(&format!(" {name}={}", quoted(&value.replace('$', "$$"))));
    }
    command
}

/// A `key=value` as make can pass it on: its list `SET` is split at spaces, and each value is put in single quotes. JSON
/// without spaces says the same as the YAML.
fn without_spaces(setting: &str) -> String {
    let json = || {
        let (key, value) = setting.split_once('=')?;
        let value: serde_json::Value = serde_yaml::from_str(value).ok()?;
        Some(format!("{key}={value}"))
    };
    let fits = !setting.contains(|c: char| c.is_whitespace() || c == '\'');
    if fits { setting.to_owned() } else { json().unwrap_or_else(|| setting.to_owned()) }
}

/// One word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn advice(more: &[&str]) -> String {
        let given = ["relabel", "--pipeline", "pipelines/digits.yaml", "--store", DEFAULT_STORE];
        let args = Args::try_parse_from(given.iter().chain(more)).expect("parses");
        make_target("digits/ingest", &args)
    }

    #[test]
    fn only_knobs_that_were_given_are_repeated_and_quoted_where_a_shell_needs_it() {
        assert_eq!(advice(&[]), "make digits/ingest");
        assert_eq!(advice(&["--set", "select.ipc=20"]), "make digits/ingest SET=select.ipc=20");
        assert_eq!(
            advice(&["--data", "my images", "--branch", "delt", "--set", "a.b=1", "--set", "c.d=[2,3]"]),
            "make digits/ingest SET='a.b=1 c.d=[2,3]' DATA='my images' BRANCH=delt"
        );
        assert_eq!(
            advice(&["--set-path", "their set", "--teacher", "demo/delt", "--bin", "/opt/delt"]),
            "make digits/ingest SET_PATH='their set' TEACHER=demo/delt BIN=/opt/delt"
        );
        assert_eq!(advice(&["--data", "it's $HOME"]), r"make digits/ingest DATA='it'\''s $$HOME'");
    }

    #[test]
    fn values_with_spaces_become_json_without() {
        assert_eq!(
            advice(&["--set", "relabel.mix={kind: mixup, alpha: 0.8}"]),
            r#"make digits/ingest SET='relabel.mix={"alpha":0.8,"kind":"mixup"}'"#
        );
        assert_eq!(
            advice(&["--set", "select.scores='a/b.csv'"]),
            r#"make digits/ingest SET='select.scores="a/b.csv"'"#
        );
    }
}
