//! Experts on small images: they learn, stop where they must, and go on to the same weights.

use std::path::Path;

use burn::tensor::Device;
use delt_augment::draws::Draws;
use delt_augment::dsa::Strategy;
use delt_formats::NamedTensor;
use delt_harness::progress::Progress;
use delt_pipeline::config::experts::Experts;
use delt_tangent::{Activation, Form, Function, Norm};
use delt_training::Floats;
use teacher_train::expert_files::{ExpertFiles, finished_file, read_finished};
use teacher_train::experts::{ExpertTraining, Split};

/// Three classes that differ in the direction of their stripes.
fn stripes(count: usize) -> Split {
    let value = |at: usize| {
        let (index, y, x) = (at / 192, at / 8 % 8, at % 8);
        let place = [y, x, x + y][index % 3];
        if place % 4 < 2 { -1.0 } else { 1.0 + (index * 31 + at * 7) as f32 % 17.0 / 50.0 }
    };
    let pixels: Vec<f32> = (0..count * 192).map(value).collect();
    Split {
        pixels: Floats::of(&pixels, 192).expect("in memory"),
        labels: (0..count as u32).map(|index| index % 3).collect(),
    }
}

fn recipe(lr: f64) -> Experts {
    Experts { count: 2, epochs: 4, batch: 16, lr, augmentation: vec![Strategy::Crop, Strategy::Color] }
}

fn training(recipe: &Experts) -> ExpertTraining<'_> {
    let form = Form {
        widths: vec![6, 6],
        norm: Norm::Instance,
        norm_before_conv: false,
        activation: Activation::Relu,
        size: 8,
        classes: 3,
    };
    ExpertTraining {
        recipe,
        function: Function::new(form, &Device::flex()),
        train: stripes(50),
        test: stripes(30),
        draws: Draws::new(5),
    }
}

/// An expert trained on from what a folder holds, with the test images that it is right on.
fn trained(training: &ExpertTraining<'_>, expert: u32, folder: &Path) -> (Vec<NamedTensor>, u64) {
    let files = ExpertFiles { folder, function: &training.function };
    training.run(expert, &files, 0, &Progress::new("test", 400, "images")).expect("trains");
    read_finished(&folder.join(finished_file(expert.into()))).expect("is finished")
}

#[test]
fn an_expert_that_was_stopped_goes_on_to_the_same_weights_and_each_has_its_own() {
    let recipe = recipe(0.1);
    let training = training(&recipe);
    let [whole, stopped] = [(); 2].map(|()| tempfile::tempdir().expect("folder"));
    let (weights, right) = trained(&training, 1, whole.path());
    // eight tensors of two blocks, two of the classifier, before the first epoch and after each
    assert_eq!(weights.len(), 10 * 5);
    assert!(right > 15, "{right} of 30");

    let files = ExpertFiles { folder: stopped.path(), function: &training.function };
    let progress = Progress::new("test", 400, "images");
    let mut theta = training.start(1);
    files.keep(1, 0, &theta).expect("keeps");
    for epoch in 0..2 {
        theta = training.train_epoch(theta, 1, epoch, &progress).expect("trains");
        files.keep(1, epoch + 1, &theta).expect("keeps");
    }
    assert_eq!(trained(&training, 1, stopped.path()), (weights.clone(), right));
    let left: Vec<_> = std::fs::read_dir(stopped.path()).expect("folder").collect();
    assert_eq!(left.len(), 2, "the finished expert and its digest");
    assert_ne!(trained(&training, 0, stopped.path()).0, weights);
}

#[test]
fn an_expert_whose_weights_explode_is_named_with_its_epoch_and_what_is_kept() {
    let recipe = recipe(1e30);
    let training = training(&recipe);
    let folder = tempfile::tempdir().expect("folder");
    let files = ExpertFiles { folder: folder.path(), function: &training.function };
    let run = || training.run(1, &files, 0, &Progress::new("test", 400, "images"));
    let message = run().expect_err("explodes").to_string();
    assert!(message.starts_with("expert 1, epoch 0: a loss or a weight is "), "{message}");
    assert!(
        message.ends_with("; nothing is kept yet; lower experts.lr (1000000000000000000000000000000)"),
        "{message}"
    );
}

#[test]
fn a_file_that_has_changed_is_named() {
    let recipe = recipe(0.1);
    let training = training(&recipe);
    let folder = tempfile::tempdir().expect("folder");
    let files = ExpertFiles { folder: folder.path(), function: &training.function };
    files.keep(0, 0, &training.start(0)).expect("keeps");
    let path = folder.path().join("expert-000-epoch-00000.safetensors");
    let mut bytes = std::fs::read(&path).expect("a file");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let message = format!("{:#}", files.latest(0).expect_err("refused"));
    let expected = "the checkpoint cannot be read; delete the expert's files to train it again";
    assert!(message.starts_with(&format!("{}: {expected}", path.display())), "{message}");
}
