//! Parts of a run: what a change makes again and why, what a pipeline leaves behind, images that another project made.

use delt_formats::{RgbImage, SyntheticReader};
use delt_tests::binaries::{Run, program};

const DELT: [&str; 2] = ["--branch", "delt"];

fn dry_run(run: &Run, stage: &str, more: &[&str]) -> String {
    let output = run.output(stage, &[&DELT[..], more, &["--dry-run"]].concat());
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_dry_run_names_what_changed_since_the_last_run() {
    let run = Run::new();
    let changed = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("    changed: ")).map(str::to_owned).collect()
    };
    run.up_to("teacher-train", &DELT);
    assert_eq!(changed(&dry_run(&run, "init-select", &[]))[0], "no run of this name before");
    for stage in ["init-select", "delt-synthesize", "relabel"] {
        run.stage(stage, &DELT);
    }
    let lr = ["--set", "synthesize.lr=0.125"];
    assert!(changed(&dry_run(&run, "delt-synthesize", &[])).is_empty());
    assert_eq!(changed(&dry_run(&run, "delt-synthesize", &lr)), ["config lr: 0.125, was 0.1"]);
    // what follows waits for it, and then sees another input
    assert!(dry_run(&run, "relabel", &lr).contains("waits: "));
    run.stage("delt-synthesize", &[&DELT[..], &lr].concat());
    let [input, other] = changed(&dry_run(&run, "relabel", &lr)).try_into().unwrap();
    assert!(input.starts_with("input synthetic: ") && input.contains(", was "), "{input}");
    assert_eq!(input, other, "both students' labels");
}

#[test]
fn cleaning_a_pipeline_leaves_what_others_lead_to() {
    let run = Run::new();
    run.up_to("relabel", &DELT);
    let store = run.store().to_string_lossy().into_owned();
    let delt_store = |arguments: &[&str]| {
        let output = program("delt-store").args(["--store", &store]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let whole = delt_store::Store::open(&run.store()).unwrap();
    let teacher = whole.pointer("tiny/delt/teacher").unwrap().unwrap();
    whole.point("other/delt/teacher", teacher.kind, &teacher.key).unwrap();
    assert_eq!(
        delt_store(&["clean", "tiny", "--dry-run"]).split(',').next().unwrap(),
        "would delete (without --dry-run) 5 folders"
    );
    let said = delt_store(&["clean", "tiny"]);
    assert!(said.starts_with("deleted 5 folders") && said.ends_with("2 artifacts stay\n"), "{said}");
    assert!(run.manifests("labels").is_empty() && !run.manifests("dataset").is_empty());
    run.cached("teacher-train", &DELT);
    run.stage("init-select", &DELT);
}

#[test]
fn images_of_another_project_are_labeled_and_evaluated() {
    let (theirs, ours) = (Run::new(), Run::new());
    theirs.up_to("delt-synthesize", &DELT);
    let parquet = theirs.pointed("tiny/delt/synthetic", "synthetic").0.join("synthetic.parquet");
    let pictures = |run: &Run| -> Vec<(u32, Vec<u8>)> {
        let file = run.pointed("tiny/delt/synthetic", "synthetic").0.join("synthetic.parquet");
        let rows = SyntheticReader::open(file).unwrap().rows().map(Result::unwrap).collect::<Vec<_>>();
        rows.into_iter().map(|row| (row.label, RgbImage::decode(&row.png).unwrap().rgb)).collect()
    };
    let expected = pictures(&theirs);
    assert_eq!(expected.len(), 30);

    // the same once as a file, once as folders that end in the class number
    let folder = ours.store().join("../theirs");
    for (at, row) in SyntheticReader::open(&parquet).unwrap().rows().enumerate() {
        let row = row.unwrap();
        let class = folder.join(format!("new{:03}", row.label));
        std::fs::create_dir_all(&class).unwrap();
        std::fs::write(class.join(format!("{at:05}.png")), row.png).unwrap();
    }
    for place in [&parquet, &folder] {
        let import = format!("synthesize.import='{}'", place.display());
        let arguments = [&DELT[..], &["--set", &import]].concat();
        let absent = ours.output("ingest", &[&DELT[..], &["--set", "synthesize.import=/nowhere"]].concat());
        assert_eq!(
            String::from_utf8_lossy(&absent.stderr),
            "ingest: tests/pipelines/tiny.yaml (branch delt): at `synthesize.import`: /nowhere: nothing is there, expected a \
             Parquet file or a folder with a folder for each class\n"
        );
        ours.up_to("evaluate", &arguments);
        assert!(pictures(&ours) == expected, "{}", place.display());
        assert_eq!(ours.pointed("tiny/delt/evaluation", "evaluation").1.facts["images"], 30);
        assert!(!ours.store().join("runs/tiny/delt/scores.json").exists(), "images were scored for nothing");
        ours.stage("report", &arguments);
        ours.cached("delt-synthesize", &arguments);
    }
    let five = format!("synthesize.import='{}'", folder.display());
    let output =
        ours.output("delt-synthesize", &[&DELT[..], &["--set", &five, "--set", "select.ipc=5"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("found 3 images of class `0`, expected 5 as select.ipc"), "{said}");
}
