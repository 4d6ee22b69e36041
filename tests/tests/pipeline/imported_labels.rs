//! `relabel.import`: labels that a model of others gave to the stored views.

use std::path::Path;

use delt_formats::labels::{LABELS_FILE, LabeledBy};
use delt_formats::{LabelsFacts, LabelsReader, LabelsWriter, Manifest, ViewRow};
use delt_tests::binaries::Run;
use half::f16;
use serde_json::json;

const SEEDS: [u64; 2] = [3407, 4663];

fn rows(run: &Run, seed: u64) -> (LabelsReader, Vec<Vec<ViewRow>>, Manifest) {
    let (folder, manifest) = run.pointed(&format!("tiny/delt/labels-{seed}"), "labels");
    let labels = LabelsReader::open(folder.join(LABELS_FILE)).unwrap();
    let epochs: Vec<u32> = labels.epochs().collect();
    let rows = epochs.iter().map(|epoch| labels.epoch(*epoch).unwrap()).collect();
    (labels, rows, manifest)
}

/// The labels of a run as another program writes them: classes in another order, each logit one higher.
fn of_others(run: &Run, folder: &Path) {
    for seed in SEEDS {
        let (labels, epochs, _) = rows(run, seed);
        let mut provenance = labels.provenance().clone();
        provenance.classes.reverse();
        provenance.producer = "another program".to_owned();
        provenance.config = json!({ "labeler": { "name": "clip", "digest": "d1" } });
        let path = folder.join(format!("labels-{seed}.parquet"));
        let mut writer = LabelsWriter::create(path, &provenance, None).unwrap();
        for mut views in epochs {
            for view in &mut views {
                view.logits.reverse();
                view.logits.iter_mut().for_each(|logit| *logit = one_higher(*logit));
            }
            writer.write_epoch(&views).unwrap();
        }
        writer.finish().unwrap();
    }
}

fn one_higher(logit: f16) -> f16 {
    f16::from_f32(logit.to_f32() + 1.0)
}

#[test]
fn students_learn_from_labels_of_another_model_by_the_names_of_its_classes() {
    let (run, folder) = (Run::new(), tempfile::tempdir().unwrap());
    run.up_to("relabel", &["--branch", "delt"]);
    let own: Vec<_> = SEEDS.iter().map(|seed| rows(&run, *seed).1).collect();
    of_others(&run, folder.path());
    let import = format!("relabel.import={}", folder.path().display());
    let with = ["--branch", "delt", "--set", &import];
    let said = run.stage("relabel", &with);
    assert!(said.contains("90 views of 30 images labeled by clip, "), "{said}");
    for (seed, mut expected) in SEEDS.into_iter().zip(own) {
        for view in expected.iter_mut().flatten() {
            view.logits.iter_mut().for_each(|logit| *logit = one_higher(*logit));
        }
        let (_, found, manifest) = rows(&run, seed);
        assert!(found == expected, "other labels of seed {seed}");
        let by = manifest.facts_as::<LabelsFacts>().unwrap().labeled_by;
        assert_eq!(by, Some(LabeledBy { name: "clip".to_owned(), digest: "d1".to_owned() }));
    }
    let table = run.output("evaluate", &with);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains(&format!("labels: those of {}", folder.path().display())), "{table}");
    run.cached("evaluate", &with);
    // the content counts, not the place; and the file of one seed alone is enough for one student
    let moved = folder.path().join("moved.parquet");
    std::fs::rename(folder.path().join("labels-3407.parquet"), &moved).unwrap();
    let import = format!("relabel.import={}", moved.display());
    run.cached("relabel", &["--branch", "delt", "--set", &import, "--set", "relabel.seeds=[3407]"]);
}

#[test]
fn labels_that_do_not_fit_are_refused_with_what_to_do() {
    const AGAIN: &str = "make the views of this pipeline without relabel.import, and let the model label these (docs/guide.md, Labels \
                         of any model)";
    let (run, folder) = (Run::new(), tempfile::tempdir().unwrap());
    run.up_to("relabel", &["--branch", "delt"]);
    of_others(&run, folder.path());
    let (here, file) = (folder.path().display(), folder.path().join("labels-3407.parquet"));
    let refused = |sets: &[&str]| {
        let import = format!("relabel.import={here}");
        let sets = std::iter::once(import.as_str()).chain(sets.iter().copied());
        let mut arguments = vec!["--branch", "delt"];
        sets.for_each(|set| arguments.extend(["--set", set]));
        let output = run.output("relabel", &arguments);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let line = said.lines().last().unwrap().to_owned();
        line.strip_prefix("relabel: ").unwrap_or(&line).replace(&here.to_string(), "@")
    };
    assert_eq!(
        refused(&["relabel.min_crop_scale=0.9"]),
        format!(
            "tiny/delt: @/labels-3407.parquet: epoch 0, batch 0, position 0: labels another view than this pipeline draws by its \
             settings (relabel); {AGAIN}"
        )
    );
    assert_eq!(
        refused(&["relabel.epochs=4"]),
        format!("tiny/delt: @/labels-3407.parquet: has no epoch 3, it holds 3 epochs; {AGAIN}")
    );
    assert_eq!(
        refused(&["relabel.seeds=[3407,1]"]),
        "tiny/delt: `relabel.import`: the labels of seed 1 cannot be read; correct the path, or label the views of this seed too: \
         failed to open file `@/labels-1.parquet`: No such file or directory (os error 2)"
    );
    assert_eq!(
        refused(&["relabel.teacher_mode=train"]),
        "tests/pipelines/tiny.yaml (branch random): at `relabel.import`: labels of others know no voters and no teacher_mode; leave these \
         out"
    );
    run.stage("delt-synthesize", &["--branch", "delt", "--set", "synthesize.lr=0.05"]);
    let said = refused(&["synthesize.lr=0.05"]);
    assert!(said.starts_with("tiny/delt: @/labels-3407.parquet: labels of other images ("), "{said}");
    std::fs::write(&file, "epoch,logits\n").unwrap();
    assert_eq!(
        refused(&[]),
        format!(
            "tiny/delt: @/labels-3407.parquet: not a Parquet file: it does not begin with `PAR1`; {AGAIN}"
        )
    );
}
