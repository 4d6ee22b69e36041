//! What the reader of a result must know stands where the result stands, and runs that cannot mean anything say so.

use delt_tests::binaries::{Run, program};

/// A teacher that learns nothing, and enough test images to see it.
const IDLE: [&str; 6] = [
    "--branch",
    "delt",
    "--set",
    "teacher.train.optimizer.lr=1.0e-9",
    "--set",
    "ingest.max_test_per_class=null",
];

const USED: &str = "dataset: 400 of 1258 training and 100 of 539 test images are used (ingest.max_train_per_class 40, \
    ingest.max_test_per_class 10)";

#[test]
fn notes_of_all_stages_stand_in_the_table_and_on_both_pages_once() {
    let run = Run::new();
    run.up_to("relabel", &[]);
    let table = || {
        let output = run.output("evaluate", &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !told.contains("no better than guessing"), "{told}");
        String::from_utf8(output.stdout).unwrap()
    };
    let found = table();
    assert!(
        found.contains("note: evaluation (delt): 2 of 2 students are no better than guessing"),
        "{found}"
    );
    assert_eq!(found.matches(&format!("note: {USED}\n")).count(), 1, "{found}");
    run.stage("report", &[]);
    let page = || std::fs::read_to_string(run.store().join("reports/tiny.html")).unwrap();
    assert_eq!(page().matches(USED).count(), 1);
    let compared = run.store().join("compared.html");
    let mut compare = program("compare");
    compare.args(["--sweep", "tests/pipelines/sweeps/tiny.yaml", "--device", "flex", "--output"]);
    let output = compare.arg(&compared).arg("--store").arg(run.store()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&format!("note: tiny: {USED}\n")), "{said}");
    assert!(std::fs::read_to_string(compared).unwrap().contains(USED));

    // a note of one branch names it; a record older than notes has none, and one that is lost is no error
    let (folder, _) = run.pointed("tiny/delt/synthetic", "synthetic");
    let record = std::fs::read_to_string(folder.join("run.json")).unwrap();
    assert!(record.contains("\"notes\": []"), "{record}");
    let noted = record.replace("\"notes\": []", "\"notes\": [\"<saturated>\"]");
    std::fs::write(folder.join("run.json"), noted).unwrap();
    let (dataset, _) = run.pointed("tiny/delt/dataset", "dataset");
    std::fs::write(dataset.join("run.json"), "{\"stage\": \"ingest\", \"seconds\": 1.0}").unwrap();
    let found = table();
    assert!(found.contains("note: synthetic (delt): <saturated>\n") && !found.contains(USED), "{found}");
    run.stage("report", &[]);
    assert!(page().contains("<li>synthetic (delt): &lt;saturated&gt;</li>") && !page().contains(USED));
    std::fs::remove_file(dataset.join("run.json")).unwrap();
    assert!(!table().contains("note: dataset"));
}

#[test]
fn a_teacher_at_chance_stays_a_checkpoint_until_the_user_allows_it() {
    let run = Run::new();
    run.stage("ingest", &IDLE);
    let refused = || {
        let output = run.output("teacher-train", &IDLE);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("so it has nothing to teach; its training loss is "), "{said}");
        assert!(std::fs::read_dir(run.store().join("teacher")).map_or(true, |mut found| {
            found.all(|folder| !folder.unwrap().path().join("manifest.json").exists())
        }));
        said
    };
    assert!(!refused().contains("resumes"));
    assert!(refused().contains("resumes from its checkpoint"), "trained twice");
    let allowed = [&IDLE[..], &["--set", "teacher.train.allow_chance=true"]].concat();
    let said = run.stage("teacher-train", &allowed);
    assert!(said.contains("resumes from its checkpoint"), "{said}");
    assert!(said.contains("teacher: note: right on "), "{said}");
    // the key does not know of the permission
    run.cached("teacher-train", &IDLE);
    run.cached("teacher-train", &allowed);
    // a handful of test images may be wrong by chance
    let few = ["--branch", "delt", "--set", "teacher.train.optimizer.lr=1.0e-9"];
    run.stage("ingest", &few);
    assert!(run.stage("teacher-train", &few).contains(", but so few do not tell; "));
}

#[test]
fn a_recovery_whose_steps_are_too_large_is_named_with_the_setting() {
    let run = Run::new();
    let all = ["--branch", "delt", "--set", "ingest.max_train_per_class=null"];
    run.up_to("init-select", &all);
    let recover = |lr: &str| run.stage("delt-synthesize", &[&all[..], &["--set", lr]].concat());
    let said = recover("synthesize.lr=0.1");
    assert!(!said.contains("note: "), "{said}");
    let said = recover("synthesize.lr=10000");
    assert!(
        said.contains("note: in 2 of 2 batches the loss has grown while the images were the same"),
        "{said}"
    );
    assert!(said.contains("the images are saturated; lower synthesize.lr (10000)\n"), "{said}");
}
