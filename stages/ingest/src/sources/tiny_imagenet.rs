//! Tiny-ImageNet as distributed, packed or unpacked: `train/<id>/images/*`, `val/images/*` with `val_annotations.txt`, `words.txt`.

use std::collections::BTreeMap;
use std::path::Path;

use delt_formats::canonical::Digest;
use delt_images::image_files;
use delt_images::passed_over::PassedOver;
use delt_pipeline::config::ingest::Published;
use serde_json::json;

use crate::download::Downloads;
use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};
use crate::labeled_files::{LabeledFiles, below};
use crate::source::Split;
use crate::unpacked;

const ARCHIVE: &str = "tiny-imagenet-200.zip";
const ANNOTATIONS: &str = "val/val_annotations.txt";
const WORDS: &str = "words.txt";

/// Lists the tree. Classes stand in the order of their sorted WordNet ids and are named by the first term of `words.txt`, with
/// the id behind it where two share a term; by the id where there is no `words.txt`. The validation images are the test split,
/// as everywhere in the literature: the distributed test images have no labels.
///
/// # Errors
/// What is missing, with its name; an archive that cannot be unpacked.
pub fn open(section: &Published, downloads: &Downloads) -> Result<LabeledFiles> {
    let root = &unpacked::published("tiny_imagenet", ARCHIVE, section.path.as_deref(), downloads)?;
    let (train_folder, annotations) = (root.join("train"), root.join(ANNOTATIONS));
    if !train_folder.is_dir() || !annotations.is_file() {
        let problem = format!(
            "is not Tiny-ImageNet as distributed: expected train/<id>/images and {ANNOTATIONS}; \
             for a rearranged tree use `kind: image_folder`"
        );
        return Err(IngestError::layout(root, problem));
    }
    let ids = image_files::folders_in(&train_folder)?;
    let annotations = fs_err::read_to_string(&annotations)?;
    let words_path = root.join(WORDS);
    let words = if words_path.is_file() { fs_err::read_to_string(words_path)? } else { String::new() };
    let label_of: BTreeMap<&str, u32> = ids.iter().map(String::as_str).zip(0..).collect();

    let (mut files, mut passed_over) = (FileList::default(), PassedOver::default());
    for (id, label) in &label_of {
        let (found, label) = (below(&train_folder.join(id), root)?, *label);
        passed_over.extend(found.passed_over);
        files.extend(found.files.iter().map(|file| LabeledFile { file, label, split: Split::Train }));
    }
    let id_of = annotated(root, &annotations)?;
    let found = below(&root.join("val"), root)?;
    passed_over.extend(found.passed_over);
    for file in found.files.iter() {
        let name = file.relative.rsplit('/').next().unwrap_or(&file.relative);
        let Some(label) = id_of.get(name).and_then(|id| label_of.get(id)).copied() else {
            let problem = format!("gives `{name}` no class of train/; unpack the archive again");
            return Err(IngestError::layout(&root.join(ANNOTATIONS), problem));
        };
        files.push(LabeledFile { file, label, split: Split::Test });
    }
    let texts = Some(Digest::of_json(&json!([annotations, words])));
    let notes = passed_over.note(files.len()).into_iter().collect();
    Ok(LabeledFiles { description: "Tiny-ImageNet", classes: class_names(&ids, &words), files, texts, notes })
}

/// WordNet id by file name. A line is file, id and box, separated by tabs.
fn annotated<'a>(root: &Path, text: &'a str) -> Result<BTreeMap<&'a str, &'a str>> {
    let mut id_of = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut fields = line.split('\t').map(str::trim);
        let (Some(file), Some(id)) = (fields.next(), fields.next()) else {
            let problem =
                format!("line {}: found `{line}`, expected file, id and box separated by tabs", index + 1);
            return Err(IngestError::layout(&root.join(ANNOTATIONS), problem));
        };
        id_of.insert(file, id);
    }
    Ok(id_of)
}

fn class_names(ids: &[String], words: &str) -> Vec<String> {
    let known: BTreeMap<&str, &str> = words.lines().filter_map(|line| line.split_once('\t')).collect();
    let term =
        |id: &str| known.get(id).and_then(|terms| terms.split(',').next()).map_or(id, str::trim).to_owned();
    let terms: Vec<String> = ids.iter().map(|id| term(id)).collect();
    let is_shared = |term: &String| terms.iter().filter(|other| *other == term).count() > 1;
    let name = |(id, term): (&String, &String)| {
        if is_shared(term) { format!("{term} ({id})") } else { term.clone() }
    };
    ids.iter().zip(&terms).map(name).collect()
}
