//! Every cell of every table, planned over stubs: it loads, its branches have keys to the last stage, and it has the settings that its
//! data set and its networks are published with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use delt_formats::{ArtifactKind, Digest, Key, Manifest};
use delt_pipeline::cells::Table;
use delt_pipeline::config::{self, Branch};
use delt_pipeline::dag::{Dag, Lookup, Node};
use delt_pipeline::plan::Plan;
use serde_json::{Value, json};

/// Training images of a class.
const PER_CLASS: usize = 500;

/// An empty store.
struct Nothing;

impl Lookup for Nothing {
    type Entry = Rc<Manifest>;

    fn entry(&self, _: ArtifactKind, _: &Key) -> Result<Option<Self::Entry>> {
        Ok(None)
    }

    fn pointer(&self, _: &str) -> Result<Option<Key>> {
        Ok(None)
    }
}

fn tables() -> Vec<Table> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/tables");
    let entries = std::fs::read_dir(folder).expect("tables");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| Table::read(path).expect("reads").expect("has cells")).collect()
}

/// Classes of the data set that a cell is named for.
fn classes(cell: &str) -> usize {
    match cell.split('-').next() {
        Some("tiny") => 200,
        Some("cifar100" | "imagenet100") => 100,
        Some("imagenet1k") => 1000,
        _ => 10,
    }
}

/// What is read of an artifact when others are planned.
fn facts(branch: &Branch, node: Node, classes: usize) -> Value {
    let normalization = branch.pipeline.ingest.normalization.expect("tables state it");
    match node {
        Node::Dataset => json!({
            "train_images": PER_CLASS * classes,
            "test_images": 50 * classes,
            "train_per_class": vec![PER_CLASS; classes],
            "mean": normalization.mean,
            "std": normalization.std,
            "source": "stub",
        }),
        Node::Network(role) => {
            let network = branch.pipeline.network_of(role).expect("a network of the branch");
            json!({
                "architecture": network.network,
                "size": network.size,
                "normalization": normalization,
                "test_top1": 60.0,
                "test_top5": 90.0,
                "epochs": 1,
                "imported": network.import.is_some(),
            })
        }
        _ => json!({}),
    }
}

/// The plan of an artifact, and the pointer that remembers where it was read, where it comes from outside.
fn plan(dag: &Dag<Nothing>, branch: &Branch, node: Node) -> Result<(Plan, Option<String>)> {
    let stub = Digest::of_bytes(b"stub");
    match node {
        Node::Dataset => Ok((dag.dataset_plan(branch, &stub)?, Some(dag.dataset_pointer(branch)?))),
        Node::Network(role) => {
            let network = branch.pipeline.network_of(role).expect("a network of the branch");
            let import = network.import.as_ref().map(|_| &stub);
            let dataset = dag.entry(branch, Node::Dataset)?;
            let pointer = import.map(|_| dag.import_pointer(&network, &dataset)).transpose()?;
            Ok((dag.network_plan(branch, role, import)?, pointer))
        }
        other => Ok((dag.plan(branch, other)?.as_ref().clone(), None)),
    }
}

/// The keys of all artifacts of a cell.
fn keys(path: &Path, cell: &str) -> Result<BTreeSet<String>> {
    let branches = config::load(path, &[], None)?;
    let dag = Dag::new(cell.to_owned(), branches, Nothing, |target| format!("make {target}"));
    let names: Vec<String> = (0..classes(cell)).map(|class| format!("n{class:04}")).collect();
    let mut keys = BTreeSet::new();
    for branch in &dag.branches {
        for node in Node::of(&branch.pipeline) {
            let (plan, pointer) = plan(&dag, branch, node)?;
            let (key, facts) = (plan.key(), facts(branch, node, names.len()));
            dag.learn(&Rc::new(Manifest::new(key.clone(), plan.provenance(&names), facts, [].into())));
            if let Some(pointer) = pointer {
                dag.learn_pointer(&pointer, &key);
            }
            keys.insert(format!("{} {key}", plan.run));
        }
        dag.check_ipc(branch)?;
    }
    Ok(keys)
}

#[test]
fn every_cell_of_every_table_is_planned_to_its_last_artifact() {
    let mut count = 0;
    for table in tables() {
        for cell in table.names() {
            let keys =
                keys(&table.pipeline_of(cell), cell).unwrap_or_else(|error| panic!("{cell}: {error:#}"));
            let last = |key: &&String| key.contains("/evaluation ");
            assert_eq!(keys.iter().filter(last).count(), 2, "{cell}: random and its method: {keys:?}");
            count += 1;
        }
    }
    assert_eq!(count, 45 + 12 + 22, "tables 1 and 2, with the rows of ImageNette, and the neighbors");
}

#[test]
fn students_that_have_dropout_train_with_it_as_published_code_does() {
    for table in tables() {
        for cell in table.names() {
            for branch in config::load(&table.pipeline_of(cell), &[], None).expect("loads") {
                let evaluate = &branch.pipeline.evaluate;
                assert_eq!(evaluate.dropout, evaluate.student.has_dropout(), "{cell}");
            }
        }
    }
}

/// What a cell comes to, in one line.
fn line(table: &Table, cell: &str) -> String {
    let branches = config::load(&table.pipeline_of(cell), &[], None).expect("loads");
    let published = branches[0].pipeline.published.clone().expect("published");
    let of = &branches.iter().find(|branch| branch.name == published.branch).expect("its branch").pipeline;
    let (classes, synthesize) = (classes(cell), &of.synthesize);
    let views =
        of.relabel.randaugment.map_or("none".to_owned(), |it| format!("{}/{}", it.magnitude, it.layers));
    format!(
        "{}: {} px, {} to {}, {} iterations, batch {}, lr {}, views {views}, {published}",
        of.description,
        of.teacher.size,
        of.teacher.network,
        of.evaluate.student,
        synthesize.max_iterations,
        of.student_batch(classes, &[]).expect("a batch"),
        of.student_lr(classes).expect("a learning rate"),
    )
}

#[test]
fn a_cell_has_the_published_settings_of_its_data_set_and_networks() {
    let tables = tables();
    let lines = tables.iter().flat_map(|table| table.names().map(|cell| line(table, cell)));
    let found: BTreeSet<String> = lines.collect();
    let small = "(small stem, conv1 from PyTorch's default)";
    let expected = [
        format!(
            "DELT's table 1: CIFAR-10, one image per class, ResNet-101: 32 px, resnet18 {small} to resnet101 {small}, 3000 iterations, \
             batch 10, lr 0.001, views 5/4, 20.4 ± 1.0"
        ),
        format!(
            "DELT's table 1: Tiny-ImageNet, 10 images per class, MobileNetV2: 64 px, resnet18 {small} to mobilenet_v2_modified, 4000 \
             iterations, batch 100, lr 0.0025, views 4/3, 26.5 ± 0.5"
        ),
        "DELT's table 1: ImageNet-1K, 10 images per class, ResNet-101: 224 px, resnet18 (standard stem) to resnet101 (standard \
         stem), 4000 iterations, batch 50, lr 0.001, views 6/2, 48.5 ± 1.6"
            .to_owned(),
        "DELT's table 2: ImageNette, one image per class, ConvNet-5 at 128 px: 128 px, convnet5-w128 to convnet5-w128, 4000 \
         iterations, batch 10, lr 0.001, views 6/2, 29.8 ± 1.4"
            .to_owned(),
        format!(
            "as published: CIFAR-10, 10 images per class, ResNet-18, EDC: 32 px, resnet18 {small} to resnet18 {small}, 75 iterations, \
             batch 25, lr 0.001, views 3/2, 79.1 ± 0.3"
        ),
    ];
    for line in expected {
        assert!(found.contains(&line), "{line} is none of {found:#?}");
    }
}
