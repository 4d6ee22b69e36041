//! A recovery that resumes from its checkpoint ends as one that was never stopped, wherever that was.

use std::path::Path;

use burn::tensor::Device;
use delt_augment::draws::Draws;
use delt_formats::{CropBox, NamedTensor, TensorValues, TraceRow, read_safetensors, write_safetensors};
use delt_pipeline::config::synthesize::{OptimizerState, Synthesize};
use delt_pipeline::early_late::BatchSchedule;
use delt_synthesize::augmentation::Augmentation;
use delt_synthesize::checkpoint::{Checkpoints, Kept};
use delt_synthesize::early_late_recovery::noise;
use delt_synthesize::recover::{FinishedBatch, Recovery, RecoveryTeacher};

use crate::{SIZE, batches, settings, teacher};

pub(crate) fn classes() -> [String; 2] {
    ["cat".to_owned(), "dog".to_owned()]
}

pub(crate) fn start(config: &Synthesize, batch: &BatchSchedule) -> Recovery {
    let images = noise(&Draws::new(1), batch, SIZE);
    Recovery::start(batch, &images, SIZE, config, &Device::flex())
}

/// Goes on until so many iterations are done.
pub(crate) fn step_to(
    recovery: &mut Recovery,
    iterations: u32,
    config: &Synthesize,
    batch: &BatchSchedule,
    teacher: &RecoveryTeacher,
) {
    while recovery.iteration < iterations {
        let (index, size) = (recovery.iteration, SIZE as u32);
        let augmentation =
            Augmentation::draw(config, &Draws::new(2), batch.batch, index, batch.iterations, size);
        recovery.step(teacher, &augmentation, &classes()).expect("the step is made");
    }
}

/// Puts back the state inside batch 0.
pub(crate) fn restore(checkpoints: &Checkpoints<'_>, recovery: &mut Recovery) -> anyhow::Result<()> {
    recovery.restore(&checkpoints.state(0)?.expect("a state was kept"))
}

/// All that a recovery has come to.
pub(crate) fn outcome(
    recovery: &Recovery,
    teacher: &RecoveryTeacher,
) -> (Vec<f32>, u32, Vec<u32>, Vec<TraceRow>) {
    let images = recovery.images(teacher).expect("readable");
    (images, recovery.iteration, recovery.adam.steps.clone(), recovery.trace.clone())
}

#[test]
fn a_restored_recovery_resumes_to_the_same_bytes_from_every_iteration() {
    for optimizer_state in [OptimizerState::PerBatch, OptimizerState::PerImage] {
        let config = Synthesize { optimizer_state, ..settings() };
        let batch = &batches(&config)[0];
        assert_eq!(batch.rounds.iter().map(Vec::len).collect::<Vec<_>>(), [4, 6, 8]);
        let teacher = teacher(&Device::flex());
        let mut whole = start(&config, batch);
        step_to(&mut whole, 6, &config, batch, &teacher);
        let whole = outcome(&whole, &teacher);
        assert_eq!(whole.2, [6, 6, 6, 6, 4, 4, 2, 2]);

        // at 2 and 4 a round has ended and the next one's images have not joined; at 3 and 5 they have
        for stopped in 1..6 {
            let folder = tempfile::tempdir().expect("temporary folder");
            let checkpoints = Checkpoints::new(folder.path());
            let mut first = start(&config, batch);
            step_to(&mut first, stopped, &config, batch, &teacher);
            checkpoints.keep_state(0, &first.save().expect("readable")).expect("kept");

            let mut second = start(&config, batch);
            restore(&checkpoints, &mut second).expect("restored");
            assert_eq!(outcome(&second, &teacher), outcome(&first, &teacher), "{stopped} iterations");
            step_to(&mut second, 6, &config, batch, &teacher);
            assert_eq!(outcome(&second, &teacher), whole, "{optimizer_state:?}, stopped after {stopped}");
        }
    }
}

#[test]
fn losses_that_are_read_later_are_the_same() {
    let config = settings();
    let batch = &batches(&config)[0];
    let run = |teacher: &RecoveryTeacher| {
        let mut recovery = start(&config, batch);
        step_to(&mut recovery, 6, &config, batch, teacher);
        let read_by_itself = recovery.trace.len();
        recovery.read_losses(&classes()).expect("read");
        (read_by_itself, outcome(&recovery, teacher))
    };
    let (at_once, expected) = run(&teacher(&Device::flex()));
    let (by_fours, found) = run(&teacher(&Device::flex()).reading_losses_every(4));
    assert_eq!((at_once, by_fours), (6, 4));
    assert_eq!(found, expected);
}

#[test]
fn a_loss_that_is_no_number_is_named_by_its_iteration_whenever_it_is_read() {
    let config = settings();
    let batch = &batches(&config)[0];
    for every in [1, 4] {
        let teacher = teacher(&Device::flex()).reading_losses_every(every);
        let mut recovery = start(&config, batch);
        step_to(&mut recovery, 2, &config, batch, &teacher);
        recovery.active = recovery.active.mul_scalar(f32::NAN);
        let whole = CropBox { top: 0, left: 0, height: SIZE as u32, width: SIZE as u32 };
        let augmentation = Augmentation { crop: whole, flip: false, roll: (0, 0) };
        let mut step = || recovery.step(&teacher, &augmentation, &classes());
        let error = step().and_then(|()| step()).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "batch 0 (classes cat to dog), iteration 2: the loss is NaN; the last checkpoint is kept; lower synthesize.lr or \
             synthesize.bn_matching_weight"
        );
        assert_eq!(recovery.trace.len(), 2);
    }
}

#[test]
fn a_finished_batch_comes_back_and_its_inner_state_goes() {
    let config = settings();
    let batch = &batches(&config)[0];
    let (folder, teacher) = (tempfile::tempdir().expect("temporary folder"), teacher(&Device::flex()));
    let checkpoints = Checkpoints::new(folder.path());
    let mut recovery = start(&config, batch);
    step_to(&mut recovery, 6, &config, batch, &teacher);
    checkpoints.keep_state(0, &recovery.save().expect("readable")).expect("kept");
    let (images, _, _, trace) = outcome(&recovery, &teacher);
    let finished = FinishedBatch { images, trace };
    assert!(!checkpoints.has_finished(0));
    checkpoints.keep_finished(0, &finished.save()).expect("kept");
    assert!(checkpoints.has_finished(0));
    assert!(!folder.path().join("batch-00000-state.safetensors").exists());
    let kept = Kept::read(&folder.path().join("batch-00000-finished.safetensors")).expect("readable");
    assert_eq!(FinishedBatch::read(&kept, batch, &config).expect("readable"), finished);
}

/// What is said of a state after three iterations in which one tensor was changed.
fn refusal(folder: &Path, change: impl Fn(&mut Vec<NamedTensor>)) -> String {
    let config = settings();
    let batch = &batches(&config)[0];
    let (checkpoints, teacher) = (Checkpoints::new(folder), teacher(&Device::flex()));
    let mut recovery = start(&config, batch);
    step_to(&mut recovery, 3, &config, batch, &teacher);
    checkpoints.keep_state(0, &recovery.save().expect("readable")).expect("kept");
    let path = folder.join("batch-00000-state.safetensors");
    let (mut tensors, _) = read_safetensors(&path).expect("readable");
    change(&mut tensors);
    write_safetensors(&path, &tensors, None).expect("written");
    // as if it had been kept so
    std::fs::remove_file(folder.join("batch-00000-state.safetensors.blake3")).expect("removed");
    let mut other = start(&config, batch);
    let restored = restore(&checkpoints, &mut other);
    restored.expect_err("refused").to_string()
}

#[test]
fn a_state_that_does_not_fit_the_schedule_names_file_and_tensor() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("batch-00000-state.safetensors");
    for name in ["pixels", "first_moment", "second_moment", "steps", "trace_ce", "trace_bn"] {
        assert_eq!(
            refusal(folder.path(), |tensors| tensors.retain(|tensor| tensor.name != name)),
            format!(
                "{}: tensor `{name}` is missing or has another shape; delete the file to start the batch again",
                path.display()
            )
        );
    }
    // the images of another round
    let fewer = |tensors: &mut Vec<NamedTensor>| {
        for tensor in tensors.iter_mut().filter(|tensor| tensor.name == "pixels") {
            tensor.shape[0] = 4;
            if let TensorValues::F32(values) = &mut tensor.values {
                values.truncate(4 * 3 * SIZE * SIZE);
            }
        }
    };
    assert_eq!(
        refusal(folder.path(), fewer),
        format!(
            "{}: tensor `pixels` is missing or has another shape; delete the file to start the batch again",
            path.display()
        )
    );
}

#[test]
fn a_state_of_which_one_byte_has_changed_is_refused() {
    let config = settings();
    let batch = &batches(&config)[0];
    let (folder, teacher) = (tempfile::tempdir().expect("temporary folder"), teacher(&Device::flex()));
    let checkpoints = Checkpoints::new(folder.path());
    let mut recovery = start(&config, batch);
    step_to(&mut recovery, 3, &config, batch, &teacher);
    checkpoints.keep_state(0, &recovery.save().expect("readable")).expect("kept");
    let path = folder.path().join("batch-00000-state.safetensors");
    let mut bytes = std::fs::read(&path).expect("readable");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let restored = restore(&checkpoints, &mut start(&config, batch));
    assert_eq!(
        restored.expect_err("refused").to_string(),
        format!(
            "{}: the checkpoint cannot be read; delete the file to start the batch again",
            path.display()
        )
    );
}

#[test]
fn a_checkpoint_that_cannot_be_read_or_written_names_the_file_and_the_next_step() {
    let config = settings();
    let batch = &batches(&config)[0];
    let folder = tempfile::tempdir().expect("temporary folder");
    let state = folder.path().join("batch-00000-state.safetensors");
    std::fs::write(&state, "half a checkpoint").expect("written");
    let restored = restore(&Checkpoints::new(folder.path()), &mut start(&config, batch));
    assert_eq!(
        restored.expect_err("refused").to_string(),
        format!(
            "{}: the checkpoint cannot be read; delete the file to start the batch again",
            state.display()
        )
    );
    let absent = folder.path().join("absent");
    let kept = Checkpoints::new(&absent).keep_state(0, &start(&config, batch).save().expect("readable"));
    assert_eq!(
        kept.expect_err("refused").to_string(),
        format!(
            "{}: the checkpoint cannot be written; check free space and permissions there, and run the stage again to resume",
            absent.join("batch-00000-state.safetensors").display()
        )
    );
}

#[test]
fn pixels_that_are_no_numbers_are_not_kept() {
    let config = settings();
    let batch = &batches(&config)[0];
    let folder = tempfile::tempdir().expect("temporary folder");
    let checkpoints = Checkpoints::new(folder.path());
    let mut recovery = start(&config, batch);
    checkpoints.keep_state(0, &recovery.save().expect("readable")).expect("kept");
    let state = folder.path().join("batch-00000-state.safetensors");
    let before = std::fs::read(&state).expect("readable");
    recovery.active = recovery.active.mul_scalar(f32::NAN);
    assert_eq!(
        checkpoints.keep_state(0, &recovery.save().expect("readable")).expect_err("refused").to_string(),
        format!(
            "{}: `pixels` would hold values that are NaN or infinite, so the previous checkpoint stays; lower synthesize.lr",
            state.display()
        )
    );
    assert_eq!(std::fs::read(&state).expect("readable"), before);
}
