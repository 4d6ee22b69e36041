//! Methods side by side, through the binaries.

use std::collections::BTreeMap;

use delt_tests::binaries::{Run, program};

/// Random and DELT, each also with hard labels and without augmentation, DELT with averaged students, and one method that is
/// not run.
const BRANCHES: &str = "branches={random: {select: {strategy: random}, synthesize: {max_iterations: 0}}, delt: {}, \
    random-hard: {like: random, evaluate: {loss: {kind: hard_label}}}, delt-hard: {evaluate: {loss: {kind: hard_label}}}, \
    random-plain: {like: random, relabel: {randaugment: null, min_crop_scale: 1, flip: false, mix: {kind: none}}}, \
    delt-plain: {relabel: {randaugment: null, min_crop_scale: 1, flip: false, mix: {kind: none}}}, \
    delt-ema: {evaluate: {ema: 0.9}}, later: {synthesize: {early_late: false}}}";

/// The rows of a CSV file by method and column.
fn csv(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let row = |cells: Vec<String>| (cells[1].clone(), head.iter().cloned().zip(cells).collect());
    lines.map(row).collect()
}

#[test]
fn branches_that_measure_the_same_images_in_another_way_are_one_row() {
    let run = Run::new();
    let mut settings = vec!["--set", BRANCHES, "--set", "relabel.seeds=[3407]"];
    for name in ["random", "delt", "random-hard", "delt-hard", "random-plain", "delt-plain", "delt-ema"] {
        settings.extend(["--branch", name]);
    }
    run.up_to("evaluate", &settings);

    let page = run.store().join("page.html");
    let output = program("compare")
        .args(["--sweep", "tests/pipelines/sweeps/tiny.yaml", "--device", "flex", "--set", BRANCHES])
        .args(["--set", "relabel.seeds=[3407]", "--output"])
        .arg(&page)
        .arg("--store")
        .arg(run.store())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    let (table, verdict) = table.split_once("\n\n").unwrap();
    let names: Vec<&str> =
        table.lines().skip(2).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["random", "delt", "delt-ema", "later"], "{table}");
    assert!(verdict.starts_with("tiny:\ndelt against random: "), "{verdict}");

    let rows = csv(&std::fs::read_to_string(page.with_extension("csv")).unwrap());
    let number = |method: &str, column: &str| rows[method][column].parse::<f64>();
    let facts = |branch: &str| {
        let (_, manifest) = run.pointed(&format!("tiny/{branch}/evaluation"), "evaluation");
        move |key: &str| manifest.facts[key].as_f64().unwrap()
    };
    let (random, delt) = (facts("random"), facts("delt"));
    assert_eq!(number("delt", "last_top1"), Ok(delt("last_mean")));
    assert_eq!(number("delt", "hard_label_top1"), Ok(facts("delt-hard")("last_mean")));
    assert_eq!(number("delt", "image_iterations"), Ok(1000.0));
    let e = std::f64::consts::E;
    let scaled = |exponent: f64| (exponent.exp() - 1.0 / e) / (e - 1.0 / e);
    let (_, real) = run.pointed("tiny/delt/full-data", "teacher");
    let lead = (delt("last_mean") - random("last_mean")) / 100.0;
    let hard = (real.facts["test_top1"].as_f64().unwrap() - facts("delt-hard")("last_mean")) / 100.0;
    let lrs = number("delt", "label_robust_score").unwrap();
    assert!((lrs - scaled(0.5 * lead - 0.5 * hard)).abs() < 1e-9, "{lrs}");
    let plain = (facts("delt-plain")("last_mean") - facts("random-plain")("last_mean")) / 100.0;
    let ars = number("delt", "augmentation_robust_score").unwrap();
    assert!((ars - scaled(0.5 * lead + 0.5 * plain)).abs() < 1e-9, "{ars}");
    // averaged students are another recipe than those that the scores compare with
    for score in ["label_robust_score", "augmentation_robust_score"] {
        assert_eq!(rows["delt-ema"][score], "");
    }
    assert!(number("delt", "cpu_seconds").unwrap() >= 0.0 && number("delt", "seconds").unwrap() > 0.0);
    assert_eq!(rows["later"]["last_top1"], "", "nothing is known of what was not run");

    let html = std::fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("<li>delt against random: ")
            && html.contains("diversity by class")
            && html.contains("data:image/png;base64,")
    );
    assert_eq!(html.matches("delt and 1 more of these images").count(), 4, "once for each class shown");
    assert!(page.with_extension("parquet").exists());
}

#[test]
fn cells_of_a_table_that_were_not_run_are_missing_beside_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut compare = program("compare");
    compare.arg("--sweep").arg(delt_tests::workspace().join("pipelines/tables/table2.yaml"));
    let output = compare.arg("--store").arg(folder.path()).env("DEVICE", "flex").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let cell = said.lines().find(|line| line.starts_with("tiny-ipc10-conv4")).unwrap();
    let cell: Vec<&str> = cell.split_whitespace().collect();
    assert_eq!(cell, ["tiny-ipc10-conv4", "delt", "40.0", "±", "0.4", "missing", "-", "-", "-", "-"]);
    assert!(said.ends_with("\n0 of 12 cells have a result\n"), "{said}");
}

#[test]
fn a_dry_run_of_a_table_is_a_line_for_each_cell_and_misses_what_the_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let look = |more: &[&str]| {
        let mut compare = program("compare");
        compare.arg("--sweep").arg(delt_tests::workspace().join("pipelines/tables/table2.yaml"));
        compare.arg("--dry-run").args(more).arg("--store").arg(folder.path()).env("DEVICE", "flex");
        let output = compare.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let there = format!("ingest.source.path={}", folder.path().display());
    let (code, said) = look(&["--set", &there]);
    assert_eq!((code, said.lines().count()), (Some(0), 16), "{said}");
    let cell: Vec<&str> = said.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(cell, ["tiny-ipc1-conv4", "-", "all", "stages"]);
    assert!(said.contains("\n12 of 12 cells have something to run, 0 are in the store; how long "), "{said}");
    let (code, said) = look(&["--branch", "delt", "--set", &there, "--set", "select.scores=gone.csv"]);
    assert_eq!(code, Some(1));
    assert_eq!(said.matches("cannot run: `select.scores`: gone.csv: no such file").count(), 1, "{said}");
    let (code, said) = look(&["--set", "ingest.source.path=/gone/tiny"]);
    let cell = said.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((code, said.lines().count()), (Some(1), 5), "{said}");
    assert!(
        cell.starts_with(
            "tiny-ipc1-conv4 and 11 more - cannot run: `ingest.source.path`: /gone/tiny: not found; "
        ),
        "{said}"
    );
    let (code, said) = look(&["--set", "synthesize.lr=0.1", "--set", "synthesize.lr=0.2"]);
    assert_eq!((code, said.matches("found twice on the command line").count()), (Some(1), 1), "{said}");
}

#[test]
fn of_branches_that_are_named_for_a_table_each_cell_takes_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let cell = "pipelines/tables/neighbors/tiny-ipc10-resnet18-wmdd.yaml";
    let look = |branches: &[&str]| {
        let mut ingest = program("ingest");
        ingest.args(["--dry-run", "--assume-files", "--pipeline", cell, "--store"]).arg(folder.path());
        let output = ingest.args(branches.iter().flat_map(|name| ["--branch", name])).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = look(&["wmdd", "g-vbsm"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: this cell has no branch g-vbsm, as others of its table have"), "{said}");
    for (branches, unknown) in [(&["g-vbsm"][..], "g-vbsm"), (&["wmdd", "gvbsm"], "gvbsm")] {
        let (code, said) = look(branches);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("no branch `{unknown}`")), "{said}");
    }
}

#[test]
fn the_pipelines_of_a_sweep_can_be_listed() {
    let output =
        program("compare").args(["--list", "--sweep", "tests/pipelines/sweeps/tiny.yaml"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "tiny\n");
}
