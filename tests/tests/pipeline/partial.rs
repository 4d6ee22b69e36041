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
             folder with a folder for each class, Parquet, or tensors of PyTorch\n"
        );
        ours.up_to("evaluate", &arguments);
        assert!(pictures(&ours) == expected, "{}", place.display());
        assert_eq!(ours.pointed("tiny/delt/evaluation", "evaluation").1.facts["images"], 30);
        assert!(!ours.store().join("runs/tiny/delt/scores.json").exists(), "images were scored for nothing");
        ours.stage("report", &arguments);
        ours.cached("delt-synthesize", &arguments);
    }
}

#[test]
fn classes_of_a_set_may_have_any_number_of_images() {
    let run = Run::new();
    // 24 px wide, in train/ beside a folder that is not read: 13 images of seven classes, none of the others
    let theirs = run.store().join("../theirs");
    for (label, images) in [(0, 1), (1, 2), (2, 3), (4, 1), (5, 4), (8, 1), (9, 1)] {
        for image in 0..images {
            let picture = RgbImage { width: 24, height: 16, rgb: vec![label * 25 + image; 24 * 16 * 3] };
            for split in ["train", "val"] {
                let class = theirs.join(format!("{split}/class{label}"));
                std::fs::create_dir_all(&class).unwrap();
                std::fs::write(class.join(format!("{image}.png")), picture.encode_png().unwrap()).unwrap();
            }
        }
    }
    let import = format!("synthesize.import='{}'", theirs.display());
    // a batch of as many images as there are at most, and no published one asked for: select.ipc does not count
    let arguments =
        [&DELT[..], &["--set", &import, "--set", "select.ipc=5", "--set", "relabel.batch=50"]].concat();
    run.up_to("relabel", &arguments);
    let (entry, manifest) = run.pointed("tiny/delt/synthetic", "synthetic");
    assert_eq!(manifest.facts["per_class"], serde_json::json!([1, 2, 3, 0, 1, 4, 0, 0, 1, 1]));
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(entry.join("run.json")).unwrap()).unwrap();
    assert_eq!(
        record["notes"],
        serde_json::json!([
            "train/ is read, val/ beside it not",
            "the folders have classes by number only, taken as the teacher's order: 0 is `0`, 1 is `1`, 2 is `2`, 3 is `3`, 4 is \
             `4` and 5 more",
            "13 images are 24 x 16, resized to 8 px",
            "1.9 (1 to 4) images per class, select.ipc (5) does not count",
            "no images of 3 of 10 classes: `3`, `6`, `7`"
        ])
    );
    let facts = run.pointed("tiny/delt/labels-3407", "labels").1.facts;
    assert_eq!((&facts["images"], &facts["batch"], &facts["views"]), (&13.into(), &13.into(), &39.into()));
    let output = run.output("evaluate", &arguments);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row: Vec<&str> =
        table.lines().find(|line| line.starts_with("delt ")).unwrap().split_whitespace().collect();
    let n = row.iter().position(|cell| *cell == "2").unwrap();
    assert_eq!(row[n + 1], "13", "{table}");
    assert!(table.contains("\ndelt: teacher convnet2-w8; ipc 1.9 (1 to 4), images of "), "{table}");
    run.stage("report", &arguments);
}
