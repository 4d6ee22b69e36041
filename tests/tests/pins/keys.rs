//! The key of every artifact of every pipeline, as the dry runs of the stages print it over stub inputs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use clap::Parser as _;
use delt_formats::{Digest, Manifest};
use delt_harness::args::Args;
use delt_harness::session::Session;
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::plan::{EVALUATE, Plan};
use delt_tests::binaries::{STAGES, program};
use delt_tests::workspace;
use teacher_train::{class_order, import};

use crate::{assert_pinned, stubs};

/// Digits of a key that are pinned.
const DIGITS: usize = 32;

/// Folders with a folder for each class that pipelines read: path, classes, path of the training and of the test images of a class.
const FOLDERS: [(&str, usize, &str, &str); 3] = [
    ("data/tiny-imagenet-200", 200, "train/CLASS/images/0.png", "val/images/CLASS.png"),
    ("data/imagenet", 1000, "train/CLASS/0.png", "val/CLASS/0.png"),
    ("data/trashnet128", 6, "train/CLASS/0.png", "val/CLASS/0.png"),
];

/// A working folder with small stand-ins for all that pipelines read from outside the repository, and a store.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let (clone, shared) = (place.clone_dir(), place.folder.path().join("shared"));
        let pins = workspace().join("tests/pins");
        let copy = |from: &str, to: &Path| {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(pins.join(from), to).unwrap();
        };
        for split in ["train", "test"] {
            for set in ["cifar10", "cifar100"] {
                let name = format!("{set}/{split}-00000-of-00001.parquet");
                copy(&name, &shared.join("data").join(&name));
            }
        }
        copy("classes.json", &shared.join("teachers/cifar100_conv3.json"));
        copy("picture.png", &shared.join("teachers/cifar100_conv3.safetensors"));
        copy("picture.png", &clone.join("data/resnet18-f37072fd.pth"));
        // what is in the repository is read as it is
        for split in ["train", "test"] {
            let name = format!("data/trashnet32/{split}.parquet");
            copy(workspace().join(&name).to_str().unwrap(), &clone.join(&name));
        }
        for (root, classes, train, test) in FOLDERS {
            let mut annotations = String::new();
            for class in 0..classes {
                let class = format!("n{class:08}");
                for path in [train, test] {
                    copy("picture.png", &clone.join(root).join(path.replace("CLASS", &class)));
                }
                annotations.push_str(&format!("{class}.png\t{class}\t0\t0\t1\t1\n"));
            }
            if root.contains("tiny") {
                std::fs::write(clone.join(root).join("val/val_annotations.txt"), annotations).unwrap();
            }
        }
        place
    }

    fn clone_dir(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn run(&self, stage: &str, pipeline: &Path, more: &[&str]) -> Output {
        let mut command = program(stage);
        command
            .current_dir(self.clone_dir())
            .arg("--pipeline")
            .arg(pipeline)
            .arg("--store")
            .arg(self.store());
        command.env_remove("DATA").env("DEVICE", "flex").args(data_of(pipeline)).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stage} {}: {said}", pipeline.display());
        output
    }

    /// Replaces the data sets that ingest made of the stand-ins by stubs with the facts of real ones.
    fn enlarge_datasets(&self) {
        for entry in std::fs::read_dir(self.store().join("dataset")).unwrap() {
            let manifest = Manifest::read(entry.unwrap().path().join("manifest.json")).unwrap();
            let facts = stubs::dataset_facts(&manifest.facts);
            stubs::publish(&self.store(), manifest.provenance, facts, &[]);
        }
    }

    /// What the library says of the pipeline over this store.
    fn session(&self, pipeline: &Path) -> Session {
        let mut words = vec!["evaluate".into(), "--pipeline".into(), pipeline.as_os_str().to_owned()];
        words.extend(["--store".into(), self.store().into_os_string()]);
        words.extend(data_of(pipeline).iter().map(Into::into));
        Session::open(EVALUATE, Args::parse_from(words)).unwrap()
    }
}

/// Pipelines that download the archive get the stand-in: the key holds what was read and not where it lay.
fn data_of(pipeline: &Path) -> &'static [&'static str] {
    match pipeline.file_name().unwrap().to_str().unwrap() {
        "cifar100-ipc10.yaml"
        | "cifar100-ipc10-conv3.yaml"
        | "cifar100-ipc1-matching.yaml"
        | "cifar100-ipc10-matching.yaml" => &["--data", "../shared/data/cifar100"],
        "cifar10-ipc1-matching.yaml" | "cifar10-ipc10-matching.yaml" => &["--data", "../shared/data/cifar10"],
        _ => &[],
    }
}

/// `STAGE PIPELINE/BRANCH/ARTIFACT: .., key KEY` lines of a dry run.
fn keys(output: &Output) -> Vec<(String, Digest)> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let key = |line: &str| {
        let (head, key) = line.rsplit_once("key ")?;
        let run = head.split_once(' ')?.1.split_once(':')?.0;
        Some((run.to_owned(), key.trim().parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with(' ')).filter_map(key).collect()
}

/// The plan of a node; the stand-in for imported weights is known by its digest.
fn plan(session: &Session, branch: &Branch, node: Node) -> Plan {
    if let Node::Network(role) = node {
        let teacher = branch.pipeline.network_of(role).unwrap();
        if let Some(import) = &teacher.import {
            let dataset = session.dag().entry(branch, Node::Dataset).unwrap();
            let order = class_order::resolve(&import.classes, &dataset.manifest.provenance.classes).unwrap();
            let digest = import::digest(&import.path, &order, None).unwrap();
            return session.dag().network_plan(branch, role, Some(&digest)).unwrap();
        }
    }
    session.dag().plan(branch, node).unwrap().as_ref().clone()
}

/// Pins the artifacts of all stages of a pipeline.
fn pin(place: &Place, pipeline: &Path, found: &mut BTreeSet<String>) {
    for stage in STAGES {
        if stage == "ingest" {
            // no whitening, which takes minutes
            let session = place.session(pipeline);
            let plain = session.branches().iter().filter(|it| it.pipeline.whitening().is_none());
            let only: Vec<&str> = plain.flat_map(|branch| ["--branch", branch.group.as_str()]).collect();
            place.run(stage, pipeline, &only);
            place.enlarge_datasets();
        }
        // a stage that makes two artifacts knows the second one's key once the first is there
        while pin_stage(place, pipeline, stage, found) {}
        if stage != "evaluate" {
            place.run(stage, pipeline, &[]);
        }
    }
}

/// Pins what a dry run of a stage names, and puts stubs into the store; whether the stage waited for one of them.
fn pin_stage(place: &Place, pipeline: &Path, stage: &str, found: &mut BTreeSet<String>) -> bool {
    let said = place.run(stage, pipeline, &["--dry-run", "--assume-files", "--verbose"]);
    let dry = keys(&said);
    let said = String::from_utf8_lossy(&said.stdout);
    let session = place.session(pipeline);
    let mut is_new = false;
    for (run, key) in &dry {
        is_new |= found.insert(format!("key {run} {}", key.prefix(DIGITS)));
        let parts: Vec<&str> = run.split('/').collect();
        if stage == "evaluate" || parts[2] == "dataset" {
            continue;
        }
        let branch = session.branches().iter().find(|branch| branch.name == parts[1]).unwrap();
        let node = stubs::node(parts[2]);
        let plan = plan(&session, branch, node);
        assert_eq!((&plan.run, &plan.key()), (run, key));
        let initial = workspace().join("tests/pins/initial.parquet");
        let files: &[&Path] = if node == Node::Initial { &[&initial] } else { &[] };
        let dataset = session.dag().entry(branch, Node::Dataset).unwrap();
        let provenance = plan.provenance(&dataset.manifest.provenance.classes);
        stubs::publish(&place.store(), provenance, stubs::facts(branch, node), files);
    }
    let waits = said.contains(": waits: ");
    assert!(is_new || !waits, "{stage} {}: {said}", pipeline.display());
    waits
}

#[test]
fn the_key_of_every_artifact_of_every_pipeline_is_the_pinned_one() {
    let place = Place::new();
    std::env::set_current_dir(place.clone_dir()).unwrap();
    let mut pipelines: Vec<PathBuf> = Vec::new();
    for folder in ["pipelines", "tests/pipelines"] {
        let listed = std::fs::read_dir(workspace().join(folder)).unwrap();
        let paths = listed.map(|entry| entry.unwrap().path().canonicalize().unwrap());
        pipelines.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")));
    }
    pipelines.sort();
    assert!(pipelines.len() > 10, "{pipelines:?}");
    let mut found = BTreeSet::new();
    for pipeline in &pipelines {
        pin(&place, pipeline, &mut found);
    }
    assert_pinned(&["key "], &found);
}
