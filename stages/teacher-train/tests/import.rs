//! The shared CIFAR-100 teacher, imported, must be as good here as where it was trained.
//!
//! The whole test set takes about a minute on two cores:
//! `cargo test -p teacher-train --test import -- --ignored --nocapture`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use delt_formats::rgb_image::RgbImage;
use delt_formats::teacher::{Architecture, Normalization};
use delt_harness::progress::Progress;
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::teacher::{ClassOrder, Import};
use delt_training::{ImageSet, test_accuracy};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde::Deserialize;
use teacher_train::{class_order, import};

const SIZE: u32 = 32;
const ARCHITECTURE: Architecture = Architecture::convnet(3, 128);

/// What was measured in PyTorch.
#[derive(Deserialize)]
struct Measured {
    classes: Vec<String>,
    #[serde(flatten)]
    normalization: Constants,
    top1: f64,
    top5: f64,
    cross_entropy: f64,
    first_ten_predictions: Vec<usize>,
}

#[derive(Deserialize)]
struct Constants {
    mean: [f32; 3],
    std: [f32; 3],
}

struct Shared {
    teachers: PathBuf,
    images: PathBuf,
    measured: Measured,
    normalization: Normalization,
}

/// The folder beside the workspace, where it is.
fn shared() -> Option<Shared> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let teachers = folder.join("teachers");
    let images = folder.join("data/cifar100/test-00000-of-00001.parquet");
    let description = teachers.join("cifar100_conv3.json");
    if !description.exists() || !images.exists() {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {} or {} is not there",
            description.display(),
            images.display()
        );
        return None;
    }
    let text = fs_err::read_to_string(description).expect("readable");
    let measured: Measured = serde_json::from_str(&text).expect("the description of the teacher");
    let Constants { mean, std } = measured.normalization;
    Some(Shared { teachers, images, normalization: Normalization { mean, std }, measured })
}

impl Shared {
    /// The first `count` test images; CIFAR's labels stand in alphabetical order of the names, as the teacher's outputs do.
    fn test_images(&self, count: usize) -> ImageSet {
        let file = fs_err::File::open(&self.images).expect("opens").into_parts().0;
        let reader = SerializedFileReader::new(file).expect("is Parquet");
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for row in reader.get_row_iter(None).expect("rows").take(count) {
            let row = row.expect("a row");
            let column = |name: &str| {
                row.get_column_iter().position(|(column, _)| column == name).expect("the column")
            };
            let image = row.get_group(column("img")).expect("a struct");
            let bytes = image.get_bytes(0).expect("the encoded image");
            images.push(RgbImage::decode(bytes.data()).expect("an image"));
            labels.push(row.get_long(column("fine_label")).expect("a label") as u32);
        }
        ImageSet::of(SIZE, &images, labels).expect("in memory")
    }

    /// The teacher with its outputs in the order of `dataset`.
    fn import(&self, file: &str, order: ClassOrder, dataset: &[String]) -> Network {
        let order_of_outputs = class_order::resolve(&order, dataset).expect("the same names");
        let source = Import {
            expected_top1: None,
            path: self.teachers.join(file),
            classes: order,
            top_level_key: None,
            normalization: None,
        };
        let orders = (order_of_outputs.as_slice(), dataset);
        let found = import::find(&source, &ARCHITECTURE, SIZE, dataset.len()).expect("the weights fit");
        import::build(&source, &ARCHITECTURE, SIZE, found.tensors, orders, &Device::flex()).expect("builds")
    }

    fn order_file(&self) -> ClassOrder {
        ClassOrder::Named(self.teachers.join("cifar100_conv3.json").display().to_string())
    }

    fn predictions(&self, network: &Network, images: &ImageSet) -> Vec<usize> {
        let all: Vec<usize> = (0..images.len()).collect();
        let network = FrozenNetwork::new(network.clone(), &Device::flex());
        let pixels = images.normalized(&all, &self.normalization).expect("in memory");
        let logits = network.forward(images.on_device(pixels, &Device::flex()));
        let classes = logits.dims()[1];
        let logits = logits.try_into_vec_as::<f32>().expect("logits");
        let best = |row: &[f32]| (0..classes).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("classes");
        logits.chunks(classes).map(best).collect()
    }
}

#[test]
fn both_files_give_the_predictions_made_in_pytorch() {
    let Some(shared) = shared() else { return };
    let images = shared.test_images(10);
    for file in ["cifar100_conv3.safetensors", "cifar100_conv3.pth"] {
        let network = shared.import(file, shared.order_file(), &shared.measured.classes);
        assert_eq!(shared.predictions(&network, &images), shared.measured.first_ten_predictions, "{file}");
    }
}

#[test]
fn outputs_follow_the_datasets_class_order() {
    let Some(shared) = shared() else { return };
    let images = shared.test_images(10);
    let mut dataset = shared.measured.classes.clone();
    dataset.reverse();
    let network = shared.import("cifar100_conv3.safetensors", shared.order_file(), &dataset);
    let named = |labels: Vec<usize>, names: &[String]| {
        labels.into_iter().map(|l| names[l].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        named(shared.predictions(&network, &images), &dataset),
        named(shared.measured.first_ten_predictions.clone(), &shared.measured.classes)
    );
}

#[test]
fn a_wrong_class_order_does_not_pass_the_gate() {
    let Some(shared) = shared() else { return };
    let images = shared.test_images(500);
    let classes = &shared.measured.classes;
    let top1 = |network: &Network| {
        let progress = Progress::new("gate", 500, "images");
        let (device, constants) = (Device::flex(), &shared.normalization);
        test_accuracy(network, &images, constants, 100, &device, &progress).expect("tested").top1
    };
    let right = shared.import("cifar100_conv3.safetensors", shared.order_file(), classes);
    import::check_gate(
        Path::new("teacher"),
        top1(&right),
        images.len(),
        classes.len(),
        &shared.normalization,
    )
    .expect("passes");
    let mut reversed = classes.clone();
    reversed.reverse();
    let wrong = shared.import("cifar100_conv3.safetensors", ClassOrder::List(reversed), classes);
    let refused = import::check_gate(
        Path::new("teacher"),
        top1(&wrong),
        images.len(),
        classes.len(),
        &shared.normalization,
    );
    let message = refused.expect_err("refused").to_string();
    assert!(message.contains("class order") && message.contains("normalization"), "{message}");
}

#[test]
fn the_accuracy_on_the_whole_test_set_is_that_measured_in_pytorch() {
    let Some(shared) = shared() else { return };
    let images = shared.test_images(usize::MAX);
    assert_eq!(images.len(), 10_000);
    for file in ["cifar100_conv3.safetensors", "cifar100_conv3.pth"] {
        let network = shared.import(file, shared.order_file(), &shared.measured.classes);
        let progress = Progress::new("test", images.len() as u64, "images");
        let found = test_accuracy(&network, &images, &shared.normalization, 200, &Device::flex(), &progress)
            .expect("tested");
        let Measured { top1, top5, cross_entropy, .. } = shared.measured;
        eprintln!(
            "{file}: top-1 {} (PyTorch {top1}), top-5 {} ({top5}), cross-entropy {:.4} ({cross_entropy})",
            found.top1, found.top5, found.cross_entropy
        );
        assert!((found.top1 - top1).abs() <= 0.02 && (found.top5 - top5).abs() <= 0.02);
        assert!((found.cross_entropy - cross_entropy).abs() <= 1e-3);
    }
}
