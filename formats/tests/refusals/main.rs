//! Every way in which a file can be wrong, and the exact message it gives.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

mod files;
mod other_writers;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::*;
use half::f16;

fn classes() -> Vec<String> {
    ["cat", "dog"].map(str::to_owned).to_vec()
}

fn provenance(kind: ArtifactKind) -> Provenance {
    Provenance::new(kind, kind.stage(), 1, classes(), serde_json::Value::Null, 0, BTreeMap::new())
}

fn score(image_id: u64, label: u32) -> ScoreRow {
    ScoreRow { image_id, label, probability: 0.5, loss: 0.7, rank: 0 }
}

/// Scores of one image, as they should be.
fn scores_file(folder: &Path) -> PathBuf {
    let path = folder.join("scores.parquet");
    let mut writer = ScoresWriter::create(&path, &provenance(ArtifactKind::Scores)).unwrap();
    writer.write(&score(3, 1)).unwrap();
    writer.finish().unwrap();
    path
}

/// A view of the first of two images of two classes.
fn view() -> ViewRow {
    ViewRow {
        epoch: 0,
        batch: 0,
        position: 0,
        image_id: 0,
        patch_order: Vec::new(),
        randaugment: Vec::new(),
        crop: CropBox { top: 0, left: 0, height: 1, width: 1 },
        flip: false,
        mix: Mix::None,
        logits: vec![f16::ZERO; 2],
    }
}
