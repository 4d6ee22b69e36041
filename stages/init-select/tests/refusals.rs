//! Scores and data sets that do not belong together.

use delt_pipeline::dag::Node;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;
use delt_formats::{DatasetFacts, DatasetWriter, ImageRow, RgbImage, ScoreRow, ScoresWriter};
use delt_harness::args::Args;
use delt_harness::session::{Made, Session};
use delt_pipeline::plan;
use delt_store::Location;
use serde_json::json;

/// Images of each class.
const PER_CLASS: u32 = 3;

fn classes() -> Vec<String> {
    vec!["cat".to_owned(), "dog".to_owned()]
}

/// A session whose scores come from a file, so that no ranker is needed.
fn session(store: &Path, scores: &Path) -> Session {
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml");
    let set = vec![
        format!("select.scores='{}'", scores.display()),
        "select.strategy=top".to_owned(),
        "select.ipc=1".to_owned(),
        "relabel.batch=2".to_owned(),
    ];
    let args = Args {
        pipeline,
        set,
        data: None,
        set_path: None,
        teacher: None,
        store: Location::Folder(store.to_path_buf()),
        cache: store.join("cache"),
        bin: None,
        device: "flex".into(),
        branches: vec!["delt".into()],
        force: false,
        dry_run: false,
        assume_files: false,
        verbose: false,
        shards: None,
        shard: None,
        output: None,
        format: None,
    };
    Session::open(plan::INIT_SELECT, args).expect("opens")
}

/// Publishes a data set of small gray images; the first one's bytes are given.
fn publish_dataset(session: &Session, first: Option<&[u8]>) {
    let branch = &session.branches()[0];
    let plan = session.dag().dataset_plan(branch, &Digest::of_bytes(b"made up")).expect("plan");
    let png = RgbImage { width: 8, height: 8, rgb: vec![100; 192] }.encode_png().expect("PNG");
    let facts = DatasetFacts {
        train_images: u64::from(2 * PER_CLASS),
        test_images: 0,
        train_per_class: vec![u64::from(PER_CLASS); 2],
        mean: [0.5; 3],
        std: [0.5; 3],
        source: "made up".into(),
        train_broken: 0,
        test_broken: 0,
        resized: None,
    };
    session
        .produce(&plan, |work| {
            let provenance = work.provenance(&classes());
            let mut writer = DatasetWriter::create(work.out_dir().join("train.parquet"), &provenance)?;
            for image_id in 0..2 * PER_CLASS {
                let bytes = first.filter(|_| image_id == 0).map_or(png.clone(), <[u8]>::to_vec);
                let path = format!("{image_id}.png");
                writer.write(&ImageRow {
                    bytes,
                    path,
                    label: image_id / PER_CLASS,
                    image_id: u64::from(image_id),
                })?;
            }
            writer.finish()?;
            Ok(Made { provenance, facts: json!(facts), summary: "made up".into() })
        })
        .expect("published");
    let pointer = session.dag().dataset_pointer(branch).expect("pointer");
    session.store().point(&pointer, ArtifactKind::Dataset, &plan.key()).expect("pointed");
}

/// Publishes scores whose best image of the first class is `best`.
fn publish_scores(session: &Session, best: u64) {
    let plan = session.dag().plan(&session.branches()[0], Node::Scores).expect("plan");
    session
        .produce(&plan, |work| {
            let provenance = work.provenance(&classes());
            let mut writer = ScoresWriter::create(work.out_dir().join("scores.parquet"), &provenance)?;
            for (image_id, label) in [(best, 0), (u64::from(PER_CLASS), 1)] {
                writer.write(&ScoreRow { image_id, label, probability: 0.5, loss: 0.7, rank: 0 })?;
            }
            writer.finish()?;
            Ok(Made { provenance, facts: json!({}), summary: "made up".into() })
        })
        .expect("published");
}

/// What the stage says, with causes.
fn said(session: &Session) -> String {
    format!("{:#}", init_select::stage::run(session, &session.branches()[0]).expect_err("refused"))
}

fn ranking(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("ranking.csv");
    std::fs::write(&path, format!("image_id,label,probability,loss,rank\n{text}")).expect("written");
    path
}

#[test]
fn an_image_that_only_the_scores_have_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = session(&folder.path().join("store"), &ranking(folder.path(), ""));
    publish_dataset(&session, None);
    publish_scores(&session, 99);
    assert_eq!(
        said(&session),
        "train.parquet has no image 99, which the scores name; run init-select again (FORCE=1)"
    );
}

#[test]
fn a_picture_that_cannot_be_decoded_is_named_by_row_and_source() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = session(&folder.path().join("store"), &ranking(folder.path(), ""));
    publish_dataset(&session, Some(b"no image"));
    publish_scores(&session, 0);
    let said = said(&session);
    assert!(said.starts_with("train.parquet: image 0 (0.png): the image cannot be decoded"), "{said}");
}

#[test]
fn a_ranking_of_another_data_set_names_the_key_of_the_pipeline() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = ranking(folder.path(), "0,0,0.5,0.7,0\n");
    let session = session(&folder.path().join("store"), &file);
    publish_dataset(&session, None);
    assert_eq!(
        said(&session),
        format!(
            "select.scores: {}: 1 scores, expected 6, one for each training image; score exactly the images of train.parquet",
            file.display()
        )
    );
}
