//! `huggingface`: a folder that `datasets.load_dataset(folder)` opens, and that may be uploaded as it is: the images as the store has
//! them, and a data set card.

use std::path::Path;

use anyhow::{Context, Result};
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::dag::Node;
use serde_json::{Map, Value, json};

use super::{Written, image_folder};
use crate::card::Card;
use crate::results::Results;
use crate::whitening::{self, Whitened};

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
    let whitened = whitening::write(results, folder)?;
    let card = Card::of(results, bytes, whitened.as_ref().map(|whitened| whitened.note.clone()))?;
    fs_err::write(folder.join(CARD), card.text()?)?;
    let images = card.images();
    let mut written = Written {
        summary: format!(
            "{images} images, {}: datasets.load_dataset(folder, split=\"train\")",
            human_bytes(bytes)
        ),
        ..Written::default()
    };
    if let Some(Whitened { note, fact }) = whitened {
        written.notes.push(note);
        written.facts.insert("whitening".to_owned(), fact);
    }
    written.notes.extend(image_folder::labels_left_out(results));
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

/// A card above several branches, which makes each a configuration. Without it `datasets` would open all their images as one set.
pub(super) fn join(folder: &Path, pipeline: &str, branches: &[&str]) -> Result<()> {
    let card = fs_err::read_to_string(folder.join(branches[0]).join(CARD))?;
    let header = card.split("---\n").nth(1).context("a header of the card")?;
    let mut header: Map<String, Value> = serde_yaml::from_str(header)?;
    // these are of one branch
    header.retain(|key, _| !["dataset_info", "size_categories"].contains(&key.as_str()));
    header.insert("pretty_name".to_owned(), format!("{pipeline} (distilled by delt)").into());
    let config = |name: &&str| json!({ "config_name": name, "data_files": format!("{name}/data/*.parquet") });
    header.insert("configs".to_owned(), branches.iter().map(config).collect());
    let text = format!(
        "---\n{}---\n\n# {pipeline}\n\nSets to compare, each a configuration, with a card in its own folder: {}.\n\n\
         ```python\nimport datasets\n\
         images = datasets.load_dataset(\"path/of/this/folder\", \"{}\", split=\"train\")\n```\n",
        serde_yaml::to_string(&header)?,
        branches.join(", "),
        branches[0],
    );
    Ok(fs_err::write(folder.join(CARD), text)?)
}
