//! The shared real data, where they are there.

use std::io::Write as _;
use std::path::PathBuf;

use crate::made_up::ingest;

/// A file or folder of the shared data; prints why a test is skipped.
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        let _ = writeln!(std::io::stderr(), "skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn cifar100_in_parquet() {
    let Some(folder) = shared("cifar100") else { return };
    let source = "kind: huggingface_parquet, image_column: img, label_column: fine_label";
    let dataset = ingest(&format!("source: {{{source}, path: {}}}", folder.display())).unwrap();
    assert_eq!(dataset.classes.len(), 100);
    assert_eq!((dataset.classes[0].as_str(), dataset.classes[99].as_str()), ("apple", "worm"));
    assert_eq!(dataset.facts.train_per_class, [500; 100]);
    assert_eq!(dataset.facts.test_images, 10_000);
    // the constants that everybody uses for CIFAR-100
    let (mean, std) = ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]);
    for channel in 0..3 {
        assert!((dataset.facts.mean[channel] - mean[channel]).abs() < 1e-4, "{:?}", dataset.facts.mean);
        assert!((dataset.facts.std[channel] - std[channel]).abs() < 1e-4, "{:?}", dataset.facts.std);
    }
    let as_cifar = ingest(&format!("source: {{kind: cifar100, path: {}}}", folder.display())).unwrap();
    assert_eq!(as_cifar.classes, dataset.classes);
    assert!(as_cifar.train == dataset.train && as_cifar.test == dataset.test, "the same by either kind");
    let wrong = format!("source: {{{source}, path: {}}}\nclasses: [aple, bear]", folder.display());
    assert_eq!(
        ingest(&wrong).unwrap_err().to_string(),
        "`ingest.classes`: there is no class `aple`, near names: apple, maple_tree; the source has 100 classes: apple, \
         aquarium_fish, baby, …"
    );
}

#[test]
fn trashnet_as_an_image_folder() {
    let Some(archive) = shared("trashnet/trashnet128.tar") else { return };
    let dir = tempfile::tempdir().unwrap();
    tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(dir.path()).unwrap();
    let root = dir.path().join("trashnet128");
    let dataset = ingest(&format!("source: {{kind: image_folder, path: {}}}", root.display())).unwrap();
    assert_eq!(dataset.classes, ["cardboard", "glass", "metal", "paper", "plastic", "trash"]);
    assert_eq!(dataset.facts.train_images + dataset.facts.test_images, 2527);
    let first = &dataset.train[0];
    assert_eq!(first.bytes, std::fs::read(root.join(&first.path)).unwrap(), "photographs keep their bytes");
}
