//! The program of `make device-bundle`: which of its programs it is, and that `verify-device` accounts for all it did not reach.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use delt_tests::binaries::program;
use serde_json::{Value, json};

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
    assert!(listed.lines().any(|name| name == "delt-store"), "{listed}");
    let (output, about) = run(program("delt-all").arg("--version"));
    assert!(output.status.success() && about.starts_with("delt-all 0."), "{about}");
    let (output, usage) = run(program("delt-all").arg("--help"));
    assert!(output.status.success() && usage.starts_with("Usage: DELT_PROGRAM=NAME delt-all"), "{usage}");
}

/// Lines of a table in the making.
type Lines = std::io::Lines<BufReader<ChildStdout>>;

fn count(values: &Value) -> usize {
    values.as_array().unwrap().len()
}

fn verify(folder: &Path, device: &str) -> Command {
    let mut command = named("verify-device");
    command.args(["--device", device, "--minutes", "0.1", "--python", "no-python", "--output"]);
    command.arg(folder.join("all.json"));
    command
}

fn all(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("all.json")).unwrap()).unwrap()
}

#[test]
fn verify_device_lists_all_that_it_has_no_time_for() {
    let folder = tempfile::tempdir().unwrap();
    let (output, said) = run(&mut verify(folder.path(), "flex"));
    let all = all(folder.path());
    // a slow machine may reach no golden test
    let is_nothing_verified = said.contains("none ran, so nothing is verified");
    assert_eq!(
        (output.status.success(), &all["passed"]),
        (!is_nothing_verified, &json!(!is_nothing_verified)),
        "{said}"
    );
    assert_eq!(all["state"], "finished");
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
    let (output, said) = run(&mut verify(folder.path(), "moon"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("verify-device: device `moon` is not known; this build takes auto | flex"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_verify_device_cannot_do_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    let refused = |arguments: &[&str], expected: &str| {
        let (output, said) = run(named("verify-device").arg("--output").arg(path("b.json")).args(arguments));
        assert!(!output.status.success() && said.contains(expected), "{said}, expected {expected}");
    };
    for minutes in ["0.02", "inf", "nan", "1e30"] {
        refused(&["--minutes", minutes], "expected minutes from 0.1 to 1440");
    }
    refused(&["--device", "flex,flex"], "--device flex,flex: expected one device");
    let output =
        |name: &str| run(named("verify-device").args(["--device", "flex", "--output"]).arg(path(name))).1;
    assert!(output("").contains("cannot be written; expected a file such as all.json"));
    assert!(output("same.log").contains("the log has this name"));
    refused(
        &["--device", "flex", "--untuned", "/no/program"],
        "--untuned /no/program: /no/program does not start",
    );
    refused(&["--device", "flex", "--untuned", "/bin/true"], "does not say how it was built");
    let written: Value = serde_json::from_slice(&std::fs::read(path("b.json")).unwrap()).unwrap();
    assert_eq!(written["state"], "failed");
    assert!(written["why"].as_str().unwrap().contains("--untuned /bin/true"), "{written}");
}

/// The exit status after the first line of the table and what `act` does then.
fn ends_after(folder: &Path, act: impl FnOnce(&Child, Lines)) -> Option<i32> {
    let mut command = verify(folder, "flex");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("device     flex"));
    act(&child, lines);
    child.wait().unwrap().code()
}

#[test]
fn verify_device_leaves_what_it_found_at_an_interrupt_and_at_a_reader_that_has_seen_enough() {
    let folder = tempfile::tempdir().unwrap();
    let interrupted = ends_after(folder.path(), |child, lines| {
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        lines.for_each(drop);
    });
    assert_eq!((interrupted, &all(folder.path())["state"]), (Some(1), &json!("interrupted")));
    assert_eq!(ends_after(folder.path(), |_, lines| drop(lines)), Some(1));
    assert_eq!(all(folder.path())["state"], "interrupted");
}
