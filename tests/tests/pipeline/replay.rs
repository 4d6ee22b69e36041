//! What stands in an artifact is what the next stage uses.

use delt_augment::build_views;
use delt_formats::{LabelsReader, Normalization, RgbImage, SyntheticReader, TeacherFacts};
use delt_networks::FrozenNetwork;
use delt_pipeline::config::relabel::TeacherMode;
use delt_tests::binaries::{KINDS, Run, STAGES, published};
use delt_training::Labeler;

#[test]
fn the_pipeline_ends_in_a_table_and_a_second_run_computes_nothing() {
    let run = Run::new();
    run.up_to("relabel", &[]);
    let output = run.output("evaluate", &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("delt") && table.contains("random"), "{table}");
    let made = published(&run.store(), &KINDS);
    assert!(made.len() > 10, "only {} files", made.len());
    for stage in STAGES {
        run.cached(stage, &[]);
    }
    assert!(made == published(&run.store(), &KINDS), "a second run changed the store");
}

/// Largest difference between the stored logits of the `delt` branch and those of its teacher on the replayed views,
/// normalized with the given constants; relative to logits above 1.
pub(crate) fn largest_difference(run: &Run, normalization: Normalization) -> f32 {
    let (teacher, manifest) = run.pointed("tiny/delt/teacher", "teacher");
    let facts: TeacherFacts = manifest.facts_as().unwrap();
    let device = delt_device::open("flex").unwrap().device;
    let weights = teacher.join("weights.safetensors");
    let teacher = FrozenNetwork::load(&facts, 10, &weights, &device).unwrap();
    let labeler = Labeler {
        teacher,
        committee: Vec::new(),
        mode: TeacherMode::Eval,
        normalization,
        size: facts.size,
        device,
    };

    let (synthetic, _) = run.pointed("tiny/delt/synthetic", "synthetic");
    let reader = SyntheticReader::open(synthetic.join("synthetic.parquet")).unwrap();
    let pictures: Vec<RgbImage> =
        reader.rows().map(|row| RgbImage::decode(&row.unwrap().png).unwrap()).collect();
    let (labels, _) = run.pointed("tiny/delt/labels-4663", "labels");
    let rows = LabelsReader::open(labels.join("labels.parquet")).unwrap().epoch(1).unwrap();
    let mut largest = 0.0_f32;
    for batch in rows.chunk_by(|a, b| a.batch == b.batch) {
        let views = build_views(&pictures, batch, facts.size, &normalization).unwrap();
        let logits = labeler.logits(views, batch.len()).unwrap();
        for (row, ours) in batch.iter().zip(logits.chunks(10)) {
            for (stored, ours) in row.logits.iter().zip(ours) {
                largest = largest.max((stored.to_f32() - ours).abs() / ours.abs().max(1.0));
            }
        }
    }
    largest
}

/// f16 keeps 11 bits.
pub(crate) const F16: f32 = 1.0 / 2048.0;

#[test]
fn the_teacher_on_a_replayed_view_gives_the_stored_logits() {
    let run = Run::new();
    run.up_to("relabel", &["--branch", "delt"]);
    let (_, manifest) = run.pointed("tiny/delt/teacher", "teacher");
    let largest = largest_difference(&run, manifest.facts_as::<TeacherFacts>().unwrap().normalization);
    assert!(largest <= F16, "largest difference {largest}");
}
