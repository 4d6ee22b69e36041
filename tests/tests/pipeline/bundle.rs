//! The program of `make device-bundle`: which of its programs it is, and that `verify-device` accounts for all it did not reach.

use std::path::Path;
use std::process::{Command, Output};

use delt_tests::binaries::program;
use serde_json::Value;

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, said)
}

fn named(name: &str) -> Command {
    let mut command = program("delt-all");
    command.env("DELT_PROGRAM", name);
    command
}

#[test]
fn a_link_or_the_environment_says_which_program_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("relabel");
    std::os::unix::fs::symlink(program("delt-all").get_program(), &link).unwrap();
    let (_, of_link) = run(Command::new(link).env("DELT_PROGRAM", "ingest").arg("--help"));
    assert!(of_link.contains("Usage: relabel "), "{of_link}");
    let (_, told) = run(named("ingest").arg("--help"));
    assert!(told.contains("Usage: ingest "), "{told}");
    let (output, refused) = run(&mut named("relable"));
    assert!(refused.contains("DELT_PROGRAM is `relable`, expected one of compare, "), "{refused}");
    assert_eq!(output.status.code(), Some(2));
    let (_, listed) = run(program("delt-all").arg("--list"));
    assert!(listed.lines().any(|name| name == "golden") && listed.contains("verify-device"), "{listed}");
}

fn count(values: &Value) -> usize {
    values.as_array().unwrap().len()
}

fn verify(folder: &Path, device: &str) -> (Output, String) {
    let mut command = named("verify-device");
    command.args(["--device", device, "--minutes", "0.1", "--python", "no-python", "--output"]);
    run(command.arg(folder.join("all.json")))
}

#[test]
fn verify_device_lists_all_that_it_has_no_time_for() {
    let folder = tempfile::tempdir().unwrap();
    let (output, said) = verify(folder.path(), "flex");
    assert!(output.status.success(), "{said}");
    let all: Value = serde_json::from_slice(&std::fs::read(folder.path().join("all.json")).unwrap()).unwrap();
    let (_, listed) = run(named("golden").arg("--list"));
    let slow = 5;
    let tests = listed.lines().filter(|line| line.ends_with(": test")).count() - slow;
    assert_eq!(count(&all["golden"][0]["tests"]), tests);
    assert_eq!((count(&all["steps"]), count(&all["digits"])), (24, 6));
    let reached = |list: &Value, key: &str| {
        list.as_array()
            .unwrap()
            .iter()
            .filter(|of| of["outcome"] != "not reached" && !of[key].is_null())
            .count()
    };
    let done = reached(&all["golden"][0]["tests"], "outcome") + reached(&all["steps"], "seconds");
    let done = done + reached(&all["digits"], "outcome");
    assert_eq!(count(&all["not_reached"]), tests + 24 + 6 - done, "{said}");
    assert!(said.contains("not measured: no-python does not start"), "{said}");
}

#[test]
fn verify_device_says_in_one_line_that_a_device_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (output, said) = verify(folder.path(), "moon");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("verify-device: device `moon` is not known; this build takes auto | flex"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}
