//! Sets that give their students targets: what is read of them, what is refused, and students that learn them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use delt_augment::dsa::Strategy;
use delt_formats::{
    Architecture, ArtifactKind, Normalization, Provenance, RgbImage, Space, SyntheticFacts, SyntheticReader,
    SyntheticRow, SyntheticWriter, TeacherFacts,
};
use delt_harness::progress::Progress;
use delt_pipeline::config::given::{
    Batch, Budget, FirstWeights, Given, GivenLoss, GivenLr, GivenOptimizer, Learned, Per, Tests,
};
use delt_pipeline::config::matching::Targets;
use delt_training::ImageSet;
use evaluate::given::GivenSet;
use evaluate::given_student::{Lessons, train};

const SIZE: u32 = 8;
const TEACHERS: Normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };
const SPACE: Space =
    Space { normalization: Normalization { mean: [0.0; 3], std: [1.0; 3] }, whitening: None };

fn picture(index: u32) -> RgbImage {
    let rgb = (0..SIZE * SIZE * 3).map(|i| ((i * (7 + index) + 31 * index) % 256) as u8).collect();
    RgbImage { width: SIZE, height: SIZE, rgb }
}

/// Two images of each of two classes; with `in_space` as a method leaves them, else 8-bit ones.
fn set(folder: &Path, in_space: bool) -> SyntheticReader {
    let path = folder.join("synthetic.parquet");
    let kind = ArtifactKind::Synthetic;
    let classes = vec!["cat".to_owned(), "dog".to_owned()];
    let provenance = Provenance::new(kind, "test", 1, classes, Default::default(), 0, BTreeMap::new());
    let provenance = Provenance { schema_version: if in_space { 2 } else { 1 }, ..provenance };
    let mut writer = SyntheticWriter::create(&path, &provenance).expect("created");
    for index in 0..4 {
        let pixels: Vec<f32> = (0..192).map(|at| (at % (3 + index)) as f32 - 1.5).collect();
        let row = SyntheticRow {
            png: picture(index).encode_png().expect("encodes"),
            label: index / 2,
            slot: index % 2,
            pixels: in_space.then_some(pixels),
            target: in_space.then(|| vec![index as f32, -1.0]),
            ..SyntheticRow::default()
        };
        writer.write(&row).expect("written");
    }
    writer.finish().expect("finished");
    SyntheticReader::open(path).expect("opens")
}

fn facts(learned_lr: Option<f64>) -> SyntheticFacts {
    SyntheticFacts { images: 4, space: learned_lr.map(|_| SPACE), learned_lr, ..SyntheticFacts::default() }
}

fn teacher(size: u32) -> TeacherFacts {
    TeacherFacts {
        architecture: Architecture::convnet(1, 4),
        size,
        normalization: TEACHERS,
        test_top1: 50.0,
        test_top5: 50.0,
        epochs: 1,
        imported: false,
    }
}

fn recipe(targets: Targets, lr: GivenLr) -> Given {
    Given {
        targets,
        whitening: None,
        loss: GivenLoss::HalfSquaredError { per: Per::ImageAndClass },
        optimizer: GivenOptimizer::Sgd { lr, momentum: 0.9, weight_decay: 0.0, drop: None },
        first_weights: FirstWeights::Lecun,
        budget: Budget::Steps(60),
        batch: Batch::OfEachClass(1),
        augmentation: vec![Strategy::Flip, Strategy::Rotate],
        mirror: true,
        tests: Tests::At(vec![20, 40]),
    }
}

const LEARNED: GivenLr = GivenLr::Learned(Learned::Learned);

#[test]
fn pixels_targets_and_learning_rate_of_a_set_are_taken_as_they_stand() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (reader, facts) = (set(folder.path(), true), facts(Some(0.02)));
    let given = recipe(Targets::Learned, LEARNED);
    let set = GivenSet::read(&reader, &facts, &teacher(SIZE), &given, None).expect("reads");
    assert_eq!((set.len(), set.lr, &set.space.stated), (4, 0.02, &SPACE));
    assert_eq!(set.labels, [0, 0, 1, 1]);
    assert_eq!(set.targets, [0.0, -1.0, 1.0, -1.0, 2.0, -1.0, 3.0, -1.0]);
    assert_eq!(set.pixels[192..196], [-1.5, -0.5, 0.5, 1.5]);
    let (images, targets) = set.on_device(true, &Device::flex());
    assert_eq!((images.dims(), targets.dims()), ([8, 3, 8, 8], [8, 2]));
    let images = images.try_into_vec_as::<f32>().expect("numbers");
    assert_eq!(images[4 * 192..][..8], [-0.5, -1.5, 0.5, -0.5, -1.5, 0.5, -0.5, -1.5], "mirrored");
}

#[test]
fn images_of_8_bits_are_normalized_as_the_teachers_and_labeled_by_their_class() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let given = Given { loss: GivenLoss::CrossEntropy {}, ..recipe(Targets::Hard, GivenLr::Number(0.1)) };
    let set = GivenSet::read(&set(folder.path(), false), &facts(None), &teacher(SIZE), &given, None)
        .expect("reads");
    assert_eq!(set.space.stated, Space { normalization: TEACHERS, whitening: None });
    assert_eq!(set.targets, [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    // red, then green: every third byte of the picture
    let expected = picture(1).rgb[3];
    assert!((set.pixels[193] - (f32::from(expected) / 255.0 - 0.5) / 0.25).abs() < 1e-6);
}

#[test]
fn what_a_recipe_asks_for_and_a_set_has_not_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let reader = set(folder.path(), false);
    let said = |given: Given, size| {
        let read = GivenSet::read(&reader, &facts(None), &teacher(size), &given, None);
        read.expect_err("refused").to_string()
    };
    let number = GivenLr::Number(0.1);
    assert_eq!(
        said(recipe(Targets::Hard, LEARNED), SIZE),
        "`evaluate.given.optimizer.lr`: found learned, but no learning rate was learned with these images; write a number"
    );
    assert_eq!(
        said(recipe(Targets::Learned, number), SIZE),
        "`evaluate.given.targets`: found learned, but synthetic.parquet, row 0 has no target; set hard, or learn labels with the \
         images"
    );
    assert_eq!(
        said(recipe(Targets::Hard, number), 16),
        "synthetic.parquet, row 0: has 192 values, expected three for each of 16 x 16 px (teacher.size); make the images at this \
         size"
    );
}

/// The losses of a student between its tests.
fn losses(lr: f64) -> Result<Vec<(u32, f64)>, String> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let given = recipe(Targets::Learned, GivenLr::Number(lr));
    let set = GivenSet::read(&set(folder.path(), true), &facts(Some(1.0)), &teacher(SIZE), &given, None);
    let pictures: Vec<RgbImage> = (0..4).map(picture).collect();
    let test = ImageSet::of(SIZE, &pictures, vec![0, 0, 1, 1]).expect("in memory");
    let lessons = Lessons {
        student: &Architecture::convnet(1, 4),
        given: &given,
        bn_momentum: 0.1,
        seed: 5,
        set: &set.expect("reads"),
        test: &test,
        device: &Device::flex(),
    };
    let progress = Progress::new("evaluate", lessons.images(), "images");
    let history = train(&lessons, folder.path(), &progress).map_err(|error| format!("{error:#}"))?;
    Ok(history.iter().map(|row| (row.epoch, row.loss)).collect())
}

#[test]
fn a_student_learns_learned_targets_and_is_tested_where_asked_and_at_the_end() {
    let losses = losses(0.05).expect("learns");
    assert_eq!(losses.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [19, 39, 59]);
    assert!(losses[2].1 < losses[0].1 / 4.0, "{losses:?}");
}

#[test]
fn a_student_that_breaks_names_seed_and_step() {
    let message = losses(1e30).expect_err("breaks");
    assert!(message.starts_with("student seed 5, step 1 (epoch 0): the loss is "), "{message}");
    assert!(
        message.ends_with("; lower evaluate.given.optimizer.lr, now 1000000000000000000000000000000"),
        "{message}"
    );
}
