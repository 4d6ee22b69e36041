//! The commands that the Makefile runs, as `make -n` prints them. Without GNU make the tests say so and are skipped.

use std::io::Write as _;
use std::process::Command;

use delt_tests::binaries::STAGES;
use delt_tests::workspace;

/// The stage commands of a call, one a line with single spaces; `None`, with the reason printed, without GNU make.
fn commands(arguments: &[&str]) -> Option<Vec<String>> {
    let version = Command::new("make").arg("--version").output();
    let is_gnu = |text: &[u8]| String::from_utf8_lossy(text).starts_with("GNU Make");
    if !version.as_ref().is_ok_and(|output| is_gnu(&output.stdout)) {
        let _ = writeln!(std::io::stderr(), "skipped: `make --version` is not GNU Make: {version:?}");
        return None;
    }
    let mut make = Command::new("make");
    make.current_dir(workspace()).args(["-n", "BACKEND="]).args(arguments).env("CARGO_TARGET_DIR", "target");
    // what a calling make and the user's shell say must not reach this one
    let knobs =
        ["STORE", "DELT_STORE", "DEVICE", "SET", "DATA", "BRANCH", "FORCE", "DRY_RUN", "LAUNCH", "OUTPUT"];
    for name in knobs.into_iter().chain(["MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"]) {
        make.env_remove(name);
    }
    let output = make.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(lines.next().unwrap(), "cargo build --workspace --bins");
    Some(lines.collect())
}

/// The command of a stage of the demo with the knobs at their defaults, and these arguments after them.
fn command(stage: &str, more: &str) -> String {
    let plain =
        format!("target/debug/{stage} --pipeline pipelines/demo.yaml --store 'data/store' --device 'auto'");
    if more.is_empty() { plain } else { format!("{plain} {more}") }
}

#[test]
fn a_pipeline_runs_its_stages_in_order_and_a_stage_those_before_it() {
    let Some(all) = commands(&["demo"]) else { return };
    assert_eq!(all, STAGES.map(|stage| command(stage, "")));
    assert_eq!(
        commands(&["demo/init-select"]).unwrap(),
        STAGES[..3].iter().map(|s| command(s, "")).collect::<Vec<_>>()
    );
    assert_eq!(commands(&["-j4", "demo"]).unwrap(), all);
    let report = commands(&["demo/report", "OUTPUT=a page.html"]).unwrap();
    assert_eq!(report[..6], all);
    assert_eq!(report[6..], [command("report", "--output 'a page.html'")]);
}

#[test]
fn force_reaches_the_stage_that_was_named_or_all_of_a_pipeline() {
    let Some(all) = commands(&["demo", "FORCE=1"]) else { return };
    assert_eq!(all, STAGES.map(|stage| command(stage, "--force")));
    let one = commands(&["demo/relabel", "FORCE=1"]).unwrap();
    let force = |stage: &&str| if *stage == "relabel" { "--force" } else { "" };
    assert_eq!(one, STAGES[..5].iter().map(|stage| command(stage, force(stage))).collect::<Vec<_>>());
    assert_eq!(commands(&["demo", "FORCE=0"]).unwrap(), STAGES.map(|stage| command(stage, "")));
}

#[test]
fn every_knob_becomes_an_argument_of_each_stage() {
    let knobs = [
        ("SET=a.b=1 c.d=[2,3]", "--set 'a.b=1' --set 'c.d=[2,3]'"),
        ("DATA=my pictures", "--data 'my pictures'"),
        ("BRANCH=delt random", "--branch delt --branch random"),
        ("DRY_RUN=1", "--dry-run"),
        ("DRY_RUN=0", ""),
    ];
    for (knob, argument) in knobs {
        let Some(found) = commands(&["demo", knob]) else { return };
        assert_eq!(found, STAGES.map(|stage| command(stage, argument)), "{knob}");
    }
    let store = commands(&["demo/ingest", "STORE=/shared/a store"]).unwrap();
    assert_eq!(store, [command("ingest", "").replace("data/store", "/shared/a store")]);
    let device = commands(&["demo/ingest", "DEVICE=cuda:1"]).unwrap();
    assert_eq!(device, [command("ingest", "").replace("auto", "cuda:1")]);
    let launch = commands(&["demo/ingest", "LAUNCH=srun -n1"]).unwrap();
    assert_eq!(launch, [format!("srun -n1 {}", command("ingest", ""))]);
}
