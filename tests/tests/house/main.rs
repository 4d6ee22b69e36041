//! The house stays as CONTRIBUTING draws it: which crate may depend on which, and how many lines each has.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use delt_tests::workspace;
use serde_json::Value;

/// The layers from the ground up: a crate depends on crates of lower layers only, and stages never on each other.
const LAYERS: [&[&str]; 11] = [
    &["delt-architectures", "delt-conv-norm", "delt-device", "delt-interchange", "delt-ridge"],
    &["delt-formats"],
    &["delt-augment", "delt-guard", "delt-store"],
    &["delt-images", "delt-networks", "delt-pipeline", "delt-tangent"],
    &["delt-harness", "delt-training"],
    &["delt-matching"],
    &["ingest", "teacher-train", "init-select", "delt-synthesize", "relabel", "evaluate", "report", "export"],
    &["delt-formula"],
    &["delt-bench", "delt-crash", "delt-programs", "delt-tests"],
    &["delt-golden"],
    &["delt-bundle"],
];

/// What a crate must not have among its dependencies, direct or not.
const NEVER: [(&str, &[&str]); 5] = [
    ("delt-formats", &["burn", "clap", "object_store", "tokio", "reqwest"]),
    ("delt-pipeline", &["burn", "clap", "indicatif", "object_store", "tokio"]),
    ("delt-training", &["clap", "indicatif", "delt-harness"]),
    ("delt-harness", &["burn"]),
    ("delt-ridge", &["burn", "clap"]),
];

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn crates_depend_on_lower_layers_only_and_stages_never_on_each_other() {
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(own) = layer(name) else {
            wrong.push(format!("{name} is in no layer"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let is_for_tests = dependency["kind"] == "dev";
            if let Some(below) = layer(on).filter(|below| *below >= own && !is_for_tests) {
                wrong.push(format!("{name} (layer {own}) depends on {on} (layer {below})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_crate_brings_what_its_room_does_not_hold() {
    for (name, forbidden) in NEVER {
        let tree = cargo(&[
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            name,
        ]);
        let tree = String::from_utf8(tree).unwrap();
        let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let brought: Vec<_> = forbidden.iter().filter(|crate_| found.contains(**crate_)).collect();
        assert!(brought.is_empty(), "{name} brings {brought:?}");
    }
}

#[test]
fn every_crate_keeps_its_budget_of_lines() {
    let output = Command::new("make").arg("lines").current_dir(workspace()).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}raise a budget in budgets.txt only with a reason in the commit");
    let budgets = std::fs::read_to_string(workspace().join("budgets.txt")).unwrap();
    let budgets: BTreeMap<&str, &str> = budgets
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect();
    for line in table.lines().filter(|line| line.starts_with("crates/") || line.starts_with("stages/")) {
        let name = line.split(' ').next().unwrap();
        assert!(budgets.contains_key(name), "{name} has no budget in budgets.txt");
    }
}
