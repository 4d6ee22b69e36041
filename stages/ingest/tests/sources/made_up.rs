//! Made-up images, and the way from a section of YAML to the rows of a dataset.

use std::path::Path;

use delt_formats::dataset::{DatasetFacts, DatasetReader, ImageRow};
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::rgb_image::RgbImage;
use delt_pipeline::config::ingest as config;
use ingest::download::Downloads;
use ingest::source::Source;
use ingest::{IngestError, dataset, sources};

/// An image in which neighboring pixels and channels differ, another one for each seed.
pub(crate) fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
    let rgb = (0..width * height * 3).map(|i| ((i * 37 + seed * 101 + i * i % 23) % 256) as u8).collect();
    RgbImage { width, height, rgb }
}

pub(crate) fn png(seed: u32, width: u32, height: u32) -> Vec<u8> {
    picture(seed, width, height).encode_png().unwrap()
}

/// Writes a file and the folders above it.
pub(crate) fn put(root: &Path, relative: &str, bytes: &[u8]) {
    let path = root.join(relative);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// What a reader of the artifact sees.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) classes: Vec<String>,
    pub(crate) facts: DatasetFacts,
    pub(crate) summary: String,
    pub(crate) notes: Vec<String>,
    pub(crate) train: Vec<ImageRow>,
    pub(crate) test: Vec<ImageRow>,
}

impl Dataset {
    pub(crate) fn train_paths(&self) -> Vec<&str> {
        self.train.iter().map(|row| row.path.as_str()).collect()
    }
}

/// Opens the source of a section, downloading nothing.
pub(crate) fn open(section: &config::Source) -> Result<Box<dyn Source>, IngestError> {
    sources::open(section, &nothing())
}

fn nothing() -> Downloads {
    Downloads { folder: "no/such/folder".into(), is_allowed: false }
}

/// Reads the source of a section given as YAML into an artifact and the artifact into memory.
pub(crate) fn ingest(section: &str) -> Result<Dataset, IngestError> {
    ingest_with(section, &nothing())
}

/// The same with a folder of downloads.
pub(crate) fn ingest_with(section: &str, downloads: &Downloads) -> Result<Dataset, IngestError> {
    let section: config::Ingest = serde_yaml::from_str(section).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = sources::open(&section.source, downloads)?;
    let provenance = |classes: &[String]| {
        let config = serde_json::to_value(&section).unwrap();
        Provenance::new(ArtifactKind::Dataset, "ingest", 1, classes.to_vec(), config, 0, Default::default())
    };
    let (made, notes) = dataset::write(&section, &*source, folder.path(), provenance)?;
    let rows = |name: &str| {
        let reader = DatasetReader::open(folder.path().join(name)).unwrap();
        reader.expect_classes(&made.provenance.classes).unwrap();
        reader.rows().collect::<Result<Vec<ImageRow>, _>>().unwrap()
    };
    let (train, test) = (rows("train.parquet"), rows("test.parquet"));
    let facts = serde_json::from_value(made.facts).unwrap();
    Ok(Dataset { classes: made.provenance.classes, facts, summary: made.summary, notes, train, test })
}

/// The message of a refusal with its causes, as the user sees it.
pub(crate) fn refusal(section: &str) -> String {
    format!("{:#}", anyhow::Error::from(ingest(section).unwrap_err()))
}

/// What the source of a section says of how it was read.
pub(crate) fn notes(section: &str) -> Vec<String> {
    let section: config::Ingest = serde_yaml::from_str(section).unwrap();
    open(&section.source).unwrap().notes()
}
