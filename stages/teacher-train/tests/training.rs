//! Training on small images: it learns, stops where it must, and goes on to the same bytes.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use delt_formats::rgb_image::RgbImage;
use delt_formats::teacher::{Architecture, Normalization};
use delt_formats::tensors::NamedTensor;
use delt_harness::progress::Progress;
use delt_pipeline::config::teacher::{Optimizer, Replicas, TrainRecipe, TrainSchedule};
use delt_training::ImageSet;
use teacher_train::train::{Trained, Training};

const ARCHITECTURE: Architecture = Architecture::convnet(2, 8);
const NORMALIZATION: Normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };

fn recipe(epochs: u32, lr: f64) -> TrainRecipe {
    TrainRecipe {
        epochs,
        batch: 16,
        optimizer: Optimizer::Sgd { lr, momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
        schedule: TrainSchedule::OneCycle { warmup: 0.2 },
        label_smoothing: 0.05,
        pad: 1,
        flip: false,
        bn_momentum: 0.1,
        dropout: false,
        replicas: Replicas::default(),
        allow_chance: false,
    }
}

/// Three classes that differ in the direction of their stripes, with a little noise; 97 images leave one alone at the end.
fn stripes(count: usize) -> ImageSet {
    let picture = |index: usize| {
        let value = |y: usize, x: usize, channel: usize| {
            let position = [y, x, x + y][index % 3];
            (if position % 4 < 2 { 60 } else { 190 })
                + ((index * 31 + y * 7 + x * 13 + channel * 3) % 17) as u8
        };
        let rgb = (0..8 * 8 * 3).map(|i| value(i / 24, i / 3 % 8, i % 3)).collect();
        RgbImage { width: 8, height: 8, rgb }
    };
    let labels = (0..count).map(|index| (index % 3) as u32).collect();
    ImageSet::of(8, &(0..count).map(picture).collect::<Vec<_>>(), labels).expect("in memory")
}

/// Trains on 97 images: `whole_epochs` of them as a process that is then killed, or all.
fn train_some(recipe: &TrainRecipe, folder: &Path, whole_epochs: Option<u32>) -> Result<Option<Trained>> {
    train_on(&[Device::flex()], recipe, folder, whole_epochs)
}

fn train_on(
    devices: &[Device],
    recipe: &TrainRecipe,
    folder: &Path,
    whole_epochs: Option<u32>,
) -> Result<Option<Trained>> {
    let (images, test) = (stripes(97), stripes(30));
    let training = Training {
        architecture: &ARCHITECTURE,
        recipe,
        train: &images,
        test: &test,
        normalization: &NORMALIZATION,
        classes: 3,
        seed: 5,
        devices,
    };
    let progress = Progress::new("train", training.images_ahead(), "images");
    let Some(whole_epochs) = whole_epochs else { return training.run(folder, &progress).map(Some) };
    let mut state = training.start(folder)?;
    while state.epochs_done() < whole_epochs {
        state = training.train_epoch(state, &progress)?;
    }
    Ok(None)
}

fn train(recipe: &TrainRecipe, folder: &Path) -> Result<Trained> {
    train_some(recipe, folder, None).map(|trained| trained.expect("trained to the end"))
}

fn tensors(trained: &Trained) -> Vec<NamedTensor> {
    trained.network.named_tensors().expect("readable")
}

#[test]
fn a_network_learns_and_every_epoch_is_in_its_history() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let trained = train(&recipe(6, 0.05), folder.path()).expect("trained");
    let epochs: Vec<u32> = trained.history.iter().map(|row| row.epoch).collect();
    assert_eq!(epochs, [0, 1, 2, 3, 4, 5]);
    assert!(trained.history.iter().all(|row| row.top1.is_some()), "a small test set is tested every epoch");
    let (first, last) = (&trained.history[0], &trained.history[5]);
    assert!(last.loss < first.loss && last.top1 > Some(90.0), "{first:?} {last:?}");
}

#[test]
fn equal_seeds_give_equal_bytes() {
    let folders = [0, 1].map(|_| tempfile::tempdir().expect("temporary folder"));
    let [one, other] = folders.map(|folder| train(&recipe(2, 0.05), folder.path()).expect("trained"));
    assert_eq!(tensors(&one), tensors(&other));
    assert_eq!(one.history, other.history);
}

#[test]
fn replicas_are_another_network_and_the_number_of_devices_is_not() {
    let on = |replicas: u32, devices: usize| {
        let folder = tempfile::tempdir().expect("temporary folder");
        let recipe = TrainRecipe { replicas: Replicas(replicas), ..recipe(2, 0.05) };
        let devices = vec![Device::flex(); devices];
        let trained = train_on(&devices, &recipe, folder.path(), None).expect("trained").expect("to the end");
        (tensors(&trained), trained.history)
    };
    let three = on(3, 1);
    assert_eq!(three, on(3, 2));
    assert_eq!(three, on(3, 3));
    assert_ne!(three.0, on(1, 1).0);
    assert!(three.1[1].loss < three.1[0].loss, "{:?}", three.1);
}

#[test]
fn training_that_was_killed_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let whole = train(&recipe(4, 0.05), folder.path()).expect("trained");

    let folder = tempfile::tempdir().expect("temporary folder");
    train_some(&recipe(4, 0.05), folder.path(), Some(2)).expect("two epochs");
    let resumed = train(&recipe(4, 0.05), folder.path()).expect("trained");
    assert_eq!(resumed.history, whole.history);
    assert_eq!(tensors(&resumed), tensors(&whole));
}

#[test]
fn a_loss_that_is_no_number_stops_with_epoch_and_step() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let message = train(&recipe(2, 1e30), folder.path()).expect_err("refused").to_string();
    assert!(message.starts_with("epoch 0, batch "), "{message}");
    assert!(message.ends_with("; nothing is kept yet; lower teacher.train.optimizer.lr"), "{message}");
}

#[test]
fn one_image_is_too_few_to_train_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (images, recipe, devices) = (stripes(1), recipe(1, 0.05), [Device::flex()]);
    let training = Training {
        architecture: &ARCHITECTURE,
        recipe: &recipe,
        train: &images,
        test: &images,
        normalization: &NORMALIZATION,
        classes: 3,
        seed: 5,
        devices: &devices,
    };
    let Err(error) = training.start(folder.path()) else { panic!("one image was taken") };
    assert_eq!(
        error.to_string(),
        "1 training images are too few; expected at least 2, see ingest.classes and ingest.max_train_per_class"
    );
}
