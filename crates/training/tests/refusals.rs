//! Images and checkpoints that cannot be read: the whole message of each refusal.

use std::collections::BTreeMap;
use std::path::Path;

use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use delt_formats::{Architecture, ArtifactKind, DatasetWriter, ImageRow, Provenance, RgbImage};
use delt_networks::Network;
use delt_pipeline::config::teacher::Optimizer;
use delt_training::{ImageSet, TrainingError, TrainingState, module_optimizer};

const ARCHITECTURE: Architecture = Architecture::convnet(1, 2);

fn classes() -> Vec<String> {
    vec!["cat".to_owned(), "dog".to_owned()]
}

/// A training split of two images, of which the second is what it is given to be.
fn split(folder: &Path, second: &[u8]) -> std::path::PathBuf {
    let path = folder.join("train.parquet");
    let inputs = BTreeMap::new();
    let provenance =
        Provenance::new(ArtifactKind::Dataset, "ingest", 1, classes(), Default::default(), 0, inputs);
    let mut writer = DatasetWriter::create(&path, &provenance).expect("created");
    let whole = RgbImage { width: 4, height: 2, rgb: vec![9; 24] }.encode_png().expect("PNG");
    for (bytes, image_id) in [(whole, 0), (second.to_vec(), 1)] {
        let row = ImageRow { bytes, path: String::new(), label: image_id as u32, image_id };
        writer.write(&row).expect("written");
    }
    writer.finish().expect("finished");
    path
}

#[test]
fn a_picture_that_cannot_be_decoded_is_named_by_file_and_row() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = split(folder.path(), b"no image");
    assert_eq!(
        ImageSet::load(&path, 4, &classes(), &()).expect_err("refused").to_string(),
        format!("{}: image with image_id 1 cannot be decoded; run ingest again", path.display())
    );
}

#[test]
fn a_split_of_other_classes_names_the_first_that_differs() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = split(folder.path(), b"");
    let other = ["cat".to_owned(), "owl".to_owned()];
    assert_eq!(
        ImageSet::load(&path, 4, &other, &()).expect_err("refused").to_string(),
        format!("{}: class 1 is `dog`, expected `owl`; re-run ingest on the same dataset", path.display())
    );
}

/// The message about a checkpoint in which one file holds something else.
fn damaged(file: &str, is_sealed: bool) -> (TrainingError, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let device = Device::flex().autodiff();
    let recipe = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let optimizer_of = |network: &Network| -> ModuleOptimizer { module_optimizer(&recipe, network) };
    let network = Network::initialize(&ARCHITECTURE, 2, 4, 0, &device).expect("the network is built");
    let checkpoint = TrainingState::new(folder.path());
    checkpoint.save(&network, None, &optimizer_of(&network), &3_u32).expect("saved");
    let path = folder.path().join("training").join(file);
    std::fs::write(&path, "something else").expect("damaged");
    if !is_sealed {
        std::fs::remove_file(folder.path().join("training/digests.json")).expect("removed");
    }
    let loaded = checkpoint.load::<u32>(&ARCHITECTURE, 2, 4, &device, optimizer_of);
    (loaded.map(|_| ()).expect_err("refused"), path)
}

#[test]
fn a_checkpoint_that_cannot_be_read_names_the_file_and_what_to_remove() {
    let refusals = [
        ("network.safetensors", "not a complete safetensors file; download or export it again"),
        ("optimizer.bpk", "the optimizer's state cannot be read or written; remove the folder to start over"),
        ("counters.yaml", "the counters cannot be read or written; remove the folder to start over"),
    ];
    for (file, expected) in refusals {
        let (error, path) = damaged(file, false);
        assert_eq!(error.to_string(), format!("{}: {expected}", path.display()));
    }
}

#[test]
fn a_checkpoint_of_which_a_file_has_changed_is_named_before_anything_of_it_is_read() {
    for file in ["network.safetensors", "optimizer.bpk", "counters.yaml", "digests.json"] {
        let (error, path) = damaged(file, true);
        let folder = path.parent().expect("a folder").display();
        assert_eq!(
            error.to_string(),
            format!("{folder}: the checkpoint is damaged; remove the folder to start over")
        );
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.starts_with(&format!("{}: ", path.display())), "{cause}");
    }
}
