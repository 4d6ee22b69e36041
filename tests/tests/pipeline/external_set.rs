//! A set of another project as a branch on top of a pipeline's: `--set-path`, `--teacher`.

use std::path::Path;

use delt_formats::RgbImage;
use delt_tests::binaries::{Run, STAGES};

/// A folder for each digit, with one image more than the label says for the first three.
fn set(folder: &Path) {
    for label in 0..10_u8 {
        for image in 0..=label.min(2) {
            let class = folder.join(label.to_string());
            std::fs::create_dir_all(&class).unwrap();
            let picture = RgbImage { width: 8, height: 8, rgb: vec![label * 25 + image; 8 * 8 * 3] };
            std::fs::write(class.join(format!("{image}.png")), picture.encode_png().unwrap()).unwrap();
        }
    }
}

/// What evaluate prints after all stages.
fn table(run: &Run, arguments: &[&str]) -> String {
    for stage in &STAGES[..5] {
        run.stage(stage, arguments);
    }
    let output = run.output("evaluate", arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The cells of a row.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no row {name}:\n{table}")).split_whitespace().collect()
}

#[test]
fn a_set_of_another_project_stands_beside_the_branches_that_the_store_has() {
    let run = Run::new();
    let folder = run.store().join("../their set");
    set(&folder);
    run.up_to("evaluate", &["--branch", "random"]);
    let labels = run.manifests("labels").len();
    let path = folder.display().to_string();
    let arguments = ["--set-path", path.as_str()];
    let beside = table(&run, &arguments);
    // under the pipeline's own teacher, no other branch is worked on, and its numbers stay
    assert_eq!(row(&beside, "delt")[2..], ["-"; 8], "{beside}");
    assert!(row(&beside, "random").contains(&"30"), "{beside}");
    assert!(row(&beside, "their-set").contains(&"27"), "{beside}");
    assert!(beside.contains("\ntheir-set: teacher convnet2-w8; ipc 2.7 (1 to 3), images of "), "{beside}");
    assert!(beside.contains("\ntheir-set (27 images) against random (30 images): "), "{beside}");
    assert_eq!(run.manifests("labels").len(), labels + 2);
    assert_eq!(run.manifests("teacher").len(), 1);
    run.stage("report", &arguments);

    // a run of the store as the teacher, its weights as a file, and one branch beside
    let weights = run.pointed("tiny/random/teacher", "teacher").0.join("weights.safetensors");
    let weights = weights.display().to_string();
    for teacher in ["tiny/random", "tiny/random/teacher", weights.as_str()] {
        let arguments = [&arguments[..], &["--teacher", teacher, "--branch", "random"]].concat();
        let beside = table(&run, &arguments);
        assert!(beside.contains("\ntheir-set: teacher convnet2-w8 (imported); ipc 2.7"), "{beside}");
        assert!(!beside.lines().any(|line| line.starts_with("delt")), "{beside}");
    }
    // settings of the set alone
    let own = [&arguments[..], &["--set", "branches.their-set.relabel.batch=5", "--dry-run"]].concat();
    let said = run.output("relabel", &own);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("changed: config batch: 5, was 10"), "{said}");
}

#[test]
fn a_set_that_cannot_be_a_branch_is_refused_at_once() {
    let run = Run::new();
    let folder = run.store().join("../delt");
    set(&folder);
    let path = folder.display().to_string();
    let said = |arguments: &[&str]| {
        let output = run.output("ingest", arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr)
            .replace(&path, "@")
            .replace(&run.store().display().to_string(), "STORE")
    };
    assert_eq!(
        said(&["--set-path", &path]),
        "ingest: tests/pipelines/tiny.yaml: at `branches`: `delt` is a branch of this pipeline, and the set of SET_PATH (--set-path) \
         would be called so too; rename its folder or file\n"
    );
    assert_eq!(
        said(&["--set-path", &path, "--teacher", "gone.pth"]),
        "ingest: TEACHER (--teacher): `gone.pth` is neither a file of weights nor a network of the store STORE; expected e.g. \
         teacher.pth or demo/delt (delt-store ls lists the runs)\n"
    );
    assert!(
        said(&["--set-path", "/nowhere/x"])
            .contains("(branch x): at `synthesize.import`: /nowhere/x: nothing is there")
    );
}
