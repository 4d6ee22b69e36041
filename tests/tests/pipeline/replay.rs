//! What stands in an artifact is what the next stage uses.

use delt_augment::build_views;
use delt_formats::{LabelsReader, Normalization, Picture, SyntheticReader, TeacherFacts};
use delt_networks::FrozenNetwork;
use delt_tests::binaries::{Run, STAGES};
use relabel::soft_label::Labeller;

#[test]
fn the_pipeline_ends_in_a_table_and_a_second_run_computes_nothing() {
    let run = Run::new();
    run.up_to("relabel", &[]);
    let output = run.output("evaluate", &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("delt") && table.contains("random"), "{table}");
    for stage in STAGES {
        let said = run.stage(stage, &[]);
        assert!(said.lines().all(|line| line.contains("cached")), "{stage} said: {said}");
    }
}

/// Largest difference between the stored logits of the `delt` branch and those of its teacher on the replayed views,
/// normalised with the given constants; relative to logits above 1.
fn largest_difference(run: &Run, constants: Option<Normalization>) -> f32 {
    let (teacher, manifest) = run.pointed("tiny/delt/teacher", "teacher");
    let facts: TeacherFacts = manifest.facts_as().unwrap();
    let normalization = constants.unwrap_or(facts.normalization);
    let device = delt_device::open("flex").unwrap().device;
    let weights = teacher.join("weights.safetensors");
    let teacher =
        FrozenNetwork::load(&facts.architecture, 10, facts.size as usize, &weights, &device).unwrap();
    let labeller = Labeller { teacher, normalization, size: facts.size, device };

    let (synthetic, _) = run.pointed("tiny/delt/synthetic", "synthetic");
    let reader = SyntheticReader::open(synthetic.join("synthetic.parquet")).unwrap();
    let pictures: Vec<Picture> =
        reader.rows().map(|row| Picture::decode(&row.unwrap().png).unwrap()).collect();
    let (labels, _) = run.pointed("tiny/delt/labels-4663", "labels");
    let rows = LabelsReader::open(labels.join("labels.parquet")).unwrap().epoch(1).unwrap();
    let mut largest = 0.0_f32;
    for batch in rows.chunk_by(|a, b| a.batch == b.batch) {
        let views = build_views(&pictures, batch, facts.size, &normalization).unwrap();
        let logits = labeller.logits(views, batch.len()).unwrap();
        for (row, ours) in batch.iter().zip(logits.chunks(10)) {
            for (stored, ours) in row.logits.iter().zip(ours) {
                largest = largest.max((stored.to_f32() - ours).abs() / ours.abs().max(1.0));
            }
        }
    }
    largest
}

/// f16 keeps 11 bits.
const F16: f32 = 1.0 / 2048.0;

#[test]
fn the_teacher_on_a_replayed_view_gives_the_stored_logits() {
    let run = Run::new();
    run.up_to("relabel", &["--branch", "delt"]);
    let largest = largest_difference(&run, None);
    assert!(largest <= F16, "largest difference {largest}");
}

#[test]
fn normalisation_comes_from_the_teacher_artifact() {
    let first = Run::new();
    first.up_to("teacher-train", &["--branch", "delt"]);
    let (teacher, manifest) = first.pointed("tiny/delt/teacher", "teacher");
    let computed = manifest.facts_as::<TeacherFacts>().unwrap().normalization;
    // the same weights, imported with constants that are not the data set's
    let path = teacher.join("weights.safetensors");
    let constants = "normalization: {mean: [0.5, 0.5, 0.5], std: [0.4, 0.4, 0.4]}";
    let import = format!("teacher.import={{path: '{}', classes: dataset, {constants}}}", path.display());
    let run = Run::new();
    run.up_to("relabel", &["--branch", "delt", "--set", &import]);
    assert!(largest_difference(&run, None) <= F16);
    let with_the_data_sets = largest_difference(&run, Some(computed));
    assert!(with_the_data_sets > 0.05, "the constants made no difference: {with_the_data_sets}");
}
