//! MB/s of files: ingest from a folder of images and from Parquet, a dataset written and read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use delt_augment::Draws;
use delt_formats::provenance::ArtifactKind;
use delt_formats::{DatasetReader, DatasetWriter, ImageRow, Provenance, RgbImage};
use delt_harness::args::Args;
use delt_harness::session::Session;
use delt_pipeline::plan::INGEST;
use delt_store::Location;
use tempfile::TempDir;

use crate::spread;

const SIDE: u32 = 64;
const CLASSES: u32 = 10;
const PER_CLASS: u32 = 300;

/// What is measured, by name; the number of the run gives it a place of its own.
type Bench = (&'static str, fn(&Files, usize) -> Result<()>);

const BENCHES: [Bench; 4] = [
    ("ingest-folder", |files, at| {
        let source = format!("image_folder, path: {}", files.images().display());
        ingest(files, "folder", &source, at)
    }),
    ("ingest-parquet", |files, at| {
        let source = format!(
            "huggingface_parquet, path: {}, image_column: image, label_column: label",
            files.table().display()
        );
        ingest(files, "parquet", &source, at)
    }),
    ("parquet-write", |files, _| write(&files.folder.path().join("written.parquet"), &files.rows)),
    ("parquet-read", |files, _| {
        DatasetReader::open(files.table())?.rows().try_for_each(|row| row.map(drop))?;
        Ok(())
    }),
];

/// Prints megabytes of image files per second.
///
/// # Errors
/// Where the temporary folder cannot be used.
pub(crate) fn measure(runs: usize, only: &str) -> Result<()> {
    let benches: Vec<&Bench> = BENCHES.iter().filter(|(name, _)| name.contains(only)).collect();
    if benches.is_empty() {
        return Ok(());
    }
    let files = Files::make()?;
    let megabytes = files.rows.iter().map(|row| row.bytes.len()).sum::<usize>() as f64 / 1e6;
    for (name, run) in benches {
        let mut rates = Vec::new();
        for at in 0..=runs {
            let started = Instant::now();
            run(&files, at)?;
            // the first run warms the file system's cache up
            if at > 0 {
                rates.push(megabytes / started.elapsed().as_secs_f64());
            }
        }
        let (low, median, high) = spread(&mut rates);
        let count = files.rows.len();
        println!("{name} {median:.0} MB/s ({low:.0} to {high:.0}), {count} images of {SIDE} px");
    }
    Ok(())
}

/// The same images in memory, in a folder and in a Parquet file.
struct Files {
    folder: TempDir,
    rows: Vec<ImageRow>,
}

impl Files {
    fn make() -> Result<Self> {
        let files = Self { folder: tempfile::tempdir()?, rows: pictures()? };
        for row in &files.rows {
            let class = files.images().join(format!("class{:02}", row.label));
            std::fs::create_dir_all(&class)?;
            std::fs::write(class.join(format!("{:05}.png", row.image_id)), &row.bytes)?;
        }
        write(&files.table(), &files.rows)?;
        Ok(files)
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("train.parquet")
    }
}

/// Noise as PNG: it does not compress, as photographs hardly do.
fn pictures() -> Result<Vec<ImageRow>> {
    (0..u64::from(CLASSES * PER_CLASS))
        .map(|image_id| {
            let noise = delt_augment::draws::standard_normal(Draws::new(0).stream("bench", image_id, 0));
            let rgb =
                noise.take((3 * SIDE * SIDE) as usize).map(|value| (128.0 + 40.0 * value) as u8).collect();
            let bytes = RgbImage { width: SIDE, height: SIDE, rgb }.encode_png()?;
            let label = image_id as u32 / PER_CLASS;
            Ok(ImageRow { bytes, path: format!("{image_id}.png"), label, image_id })
        })
        .collect()
}

fn write(file: &Path, rows: &[ImageRow]) -> Result<()> {
    let classes: Vec<String> = (0..CLASSES).map(|class| format!("class{class:02}")).collect();
    let inputs = BTreeMap::new();
    let config = serde_json::Value::Null;
    let provenance = Provenance::new(
        ArtifactKind::Dataset,
        INGEST.name,
        INGEST.algorithm_version,
        classes,
        config,
        0,
        inputs,
    );
    let mut writer = DatasetWriter::create(file, &provenance)?;
    for row in rows {
        writer.write(row)?;
    }
    writer.finish()?;
    Ok(())
}

/// The whole stage, into a new store.
fn ingest(files: &Files, name: &str, source: &str, at: usize) -> Result<()> {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines").canonicalize()?;
    let pipeline = files.folder.path().join(format!("{name}.yaml"));
    let extends = pipelines.join("trashnet-ipc10.yaml");
    let source = format!("{{kind: {source}, test_fraction: 0.1, split_seed: 0}}");
    std::fs::write(&pipeline, format!("extends: {}\ningest: {{source: {source}}}\n", extends.display()))?;
    let args = Args {
        pipeline,
        set: Vec::new(),
        data: None,
        set_path: None,
        teacher: None,
        store: Location::Folder(files.folder.path().join(format!("store-{name}-{at}"))),
        cache: files.folder.path().join("cache"),
        bin: None,
        device: "flex".to_owned(),
        branches: Vec::new(),
        force: false,
        dry_run: false,
        assume_files: false,
        verbose: false,
        shards: None,
        shard: None,
        output: None,
        format: None,
    };
    ingest::run(&Session::open(INGEST, args)?)
}
