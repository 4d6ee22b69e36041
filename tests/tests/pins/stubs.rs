//! Artifacts that stand for real ones where only keys matter: real facts, no content but a digest of their own key.

use std::collections::BTreeMap;
use std::path::Path;

use delt_formats::{Digest, FileEntry, Manifest, Provenance};
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use serde_json::{Value, json};

/// Digits of a key that name its folder in a store.
const KEY_DIGITS: usize = 32;
/// Training and test images of each class that has any.
const PER_CLASS: (u64, u64) = (500, 100);

/// Writes an artifact into a store, or replaces the one that is there. `files` are copied into it.
pub(crate) fn publish(store: &Path, provenance: Provenance, facts: Value, files: &[&Path]) -> Manifest {
    let key = provenance.key();
    let folder = store.join(provenance.artifact.dir()).join(key.prefix(KEY_DIGITS));
    std::fs::create_dir_all(&folder).unwrap();
    let mut entries = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let content = std::fs::read(file).unwrap();
        std::fs::write(folder.join(&name), &content).unwrap();
        entries.insert(name, FileEntry { bytes: content.len() as u64, blake3: Digest::of_bytes(&content) });
    }
    // an empty file whose digest is that of the key, so that the content digest follows from the key
    std::fs::write(folder.join("stub"), "").unwrap();
    let stub = FileEntry { bytes: 0, blake3: Digest::of_bytes(key.to_string().as_bytes()) };
    entries.insert("stub".to_owned(), stub);
    let manifest = Manifest::new(key, provenance, facts, entries);
    std::fs::write(folder.join("manifest.json"), manifest.to_json()).unwrap();
    manifest
}

/// The facts of a data set as large as published ones: only which classes have images is taken from the small one.
pub(crate) fn dataset_facts(small: &Value) -> Value {
    let per_class = small["train_per_class"].as_array().unwrap();
    let per_class: Vec<u64> =
        per_class.iter().map(|images| PER_CLASS.0 * u64::from(images.as_u64() != Some(0))).collect();
    let in_use = per_class.iter().filter(|images| **images > 0).count() as u64;
    json!({
        "train_images": per_class.iter().sum::<u64>(),
        "test_images": in_use * PER_CLASS.1,
        "train_per_class": per_class,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "source": small["source"],
        "train_broken": 0,
        "test_broken": 0,
    })
}

/// The facts of an artifact of a branch.
pub(crate) fn facts(branch: &Branch, node: Node) -> Value {
    let images = branch.pipeline.select.ipc;
    match node {
        Node::Network(role) => {
            let network = branch.pipeline.network_of(role).unwrap();
            json!({
                "architecture": network.network,
                "size": network.size,
                "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
                "test_top1": network.import.as_ref().and_then(|import| import.expected_top1).unwrap_or(60.0),
                "test_top5": 90.0,
                "epochs": network.train.as_ref().map_or(0, |train| train.epochs),
                "imported": network.import.is_some(),
            })
        }
        // those of all branches that share the artifact
        Node::Scores => json!({"images": 50_000, "mean_probability": 0.5}),
        Node::Initial => json!({"images": images, "mean_probability": 0.5}),
        Node::Synthetic => json!({"images": images, "image_iterations": 0, "rounds": 0}),
        Node::Labels(seed) => json!({
            "epochs": 1, "batch": 1, "images": images, "views": images, "bytes": 1, "bytes_per_image": 1.0, "seed": seed
        }),
        Node::Whitening => json!({
            "kind": branch.pipeline.whitening(),
            "images": 50_000,
            "size": branch.pipeline.teacher.size,
            "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        }),
        Node::Experts => json!({}),
        Node::Dataset | Node::Evaluation => panic!("no stub for {node:?}"),
    }
}

/// The node that a run calls `name`, e.g. `labels-3407`.
pub(crate) fn node(name: &str) -> Node {
    let number = |prefix: &str| name.strip_prefix(prefix).and_then(|number| number.parse().ok());
    match name {
        "dataset" => Node::Dataset,
        "teacher" => Node::Network(Role::Teacher),
        "ranker" => Node::Network(Role::Ranker),
        "full-data" => Node::Network(Role::FullData),
        "whitening" => Node::Whitening,
        "experts" => Node::Experts,
        "scores" => Node::Scores,
        "initial" => Node::Initial,
        "synthetic" => Node::Synthetic,
        "evaluation" => Node::Evaluation,
        _ => match (number("labels-"), number("committee-")) {
            (Some(seed), _) => Node::Labels(seed),
            (None, Some(index)) => Node::Network(Role::Committee(index as usize)),
            (None, None) => panic!("no artifact is called {name}"),
        },
    }
}
