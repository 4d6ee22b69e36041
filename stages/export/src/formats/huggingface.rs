//! `huggingface`: a folder that `datasets.load_dataset(folder)` opens, and that may be uploaded as it is: the images as the store has
//! them, and a data set card.

use std::path::Path;

use anyhow::{Context, Result};
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::dag::Node;

use super::Written;
use crate::card::Card;
use crate::results::Results;

/// Where `load_dataset` looks for the split `train`.
const TRAIN: &str = "data/train-00000-of-00001.parquet";
/// The card.
const CARD: &str = "README.md";

/// Copies the Parquet file of the images, whose metadata name the classes for `datasets`, and writes the card.
pub(super) fn write(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let file = results.entry(Node::Synthetic)?.verified_file(SYNTHETIC_FILE)?;
    let to = folder.join(TRAIN);
    fs_err::create_dir_all(to.parent().context("a folder above the file")?)?;
    let bytes = fs_err::copy(file, &to)?;
    let card = Card::of(results, bytes)?;
    fs_err::write(folder.join(CARD), card.text()?)?;
    let images = card.images();
    let mut written = Written {
        summary: format!(
            "{images} images, {}: datasets.load_dataset(folder, split=\"train\")",
            human_bytes(bytes)
        ),
        ..Written::default()
    };
    if card.are_real() {
        let license =
            "these are real images of the source: whether they may be published is for its license to say"
                .to_owned();
        written.notes.push(license);
    }
    if !card.is_evaluated() {
        let problem = "the card has no accuracy, since no student was tested yet; export again after";
        written.notes.push(format!("{problem} `make {}/evaluate`", results.session.pipeline_name()));
    }
    Ok(written)
}
