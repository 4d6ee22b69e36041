//! Output that ends early, as behind `| head` or on a full disk, ends nothing but the output; branches that cannot work end a run
//! before any branch works.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::process::Stdio;

use delt_tests::binaries::{Run, STAGES, program};

const DELT: [&str; 2] = ["--branch", "delt"];

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn a_stderr_that_is_closed_or_full_loses_what_is_told_and_no_work() {
    for stderr in [closed, full] {
        let run = Run::new();
        for stage in ["ingest", "teacher-train"] {
            let status = run.command(stage, &DELT).stderr(stderr()).stdout(Stdio::null()).status().unwrap();
            assert_eq!(status.code(), Some(0), "{stage}");
        }
        run.cached("teacher-train", &DELT);
        let store = run.store();
        let status =
            program("delt-store").arg("--store").arg(&store).arg("gc").stderr(stderr()).status().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn a_reader_of_stdout_that_has_seen_enough_is_a_quiet_end_and_a_full_disk_is_said() {
    let run = Run::new();
    run.up_to("ingest", &DELT);
    let dry_run = [&DELT[..], &["--dry-run"]].concat();
    let output = run.command("ingest", &dry_run).stdout(closed()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    let output = run.command("ingest", &dry_run).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "ingest: stdout cannot be written: No space left on device (os error 28); what was made is in the store: make room and run \
         the same again, or send the output elsewhere\n"
    );
    let store = run.store();
    let output = program("delt-store").arg("--store").arg(&store).arg("ls").stdout(full()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "delt-store: stdout cannot be written: No space left on device (os error 28)\n"
    );
}

#[test]
fn a_stage_tells_what_it_made_in_one_line_beside_its_notes_and_the_rest_on_request() {
    let run = Run::new();
    for stage in STAGES {
        let said = run.stage(stage, &[]);
        let lines = said.lines().filter(|line| !line.contains(": note: "));
        let [line] = lines.collect::<Vec<_>>().try_into().expect("one line");
        assert!(line.starts_with(&format!("{stage}: tiny/")) && line.len() < 400, "{line}");
        let store = run.store();
        assert!(line.contains(&format!(" ({}/", store.display())), "where it lies: {line}");
        let labels = "; and 2 more, ";
        assert_eq!(line.contains(labels), stage == "relabel", "two branches, two students: {line}");
        run.cached(stage, &[]);
    }
    let said = run.stage("evaluate", &["--force", "-v"]);
    for expected in [
        "evaluate: configuration {",
        "evaluate: device flex (CPU)\n",
        " images to do\n",
        "evaluate: tiny/random/",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let all = run.stage("relabel", &["--verbose"]);
    assert_eq!(all.matches("/labels-").count(), 4, "{all}");
}

#[test]
fn a_second_branch_that_cannot_work_is_refused_before_the_first_trains() {
    let run = Run::new();
    run.stage("ingest", &[]);
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::write(place("names.txt"), "one\ntwo\n").unwrap();
    std::fs::write(place("scores.csv"), "image_id,rank\n0,0\n").unwrap();
    std::fs::write(place("w.pth"), "no weights").unwrap();
    let import = |file: &str, classes: &str| {
        format!("teacher: {{import: {{path: '{}', classes: {classes}}}}}", place(file).display())
    };
    let scores = format!("select: {{scores: '{}'}}", place("scores.csv").display());
    let cases = [
        ("select: {ipc: 5000}".to_owned(), "lower select.ipc"),
        (import("w.pth", "dataset"), "w.pth: not readable as a PyTorch checkpoint"),
        (
            import("w.pth", &format!("'{}'", place("names.txt").display())),
            "names.txt: 2 class names do not fit",
        ),
        (scores, "scores.csv: 1 scores, expected "),
        ("relabel: {labels: {keep: {top_k: 5000}}}".to_owned(), "which is all of them; use keep: full"),
    ];
    for (change, expected) in cases {
        let branches = format!("branches={{late: {{{change}}}}}");
        let output = run.output("teacher-train", &["--set", &branches]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("tiny/late: ") && said.contains(expected),
            "{change}: {said}"
        );
        assert!(!run.store().join("teacher").exists(), "{change}: a teacher was trained");
    }
}
