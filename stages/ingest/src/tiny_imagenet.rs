//! Tiny-ImageNet as distributed: `train/<id>/images/*`, `val/images/*` with `val_annotations.txt`, `words.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use delt_formats::canonical::Digest;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::fingerprint;
use crate::picture_files::{self, PictureFile};
use crate::source::{LabelledFile, Split, expect_exists};

const ANNOTATIONS: &str = "val/val_annotations.txt";
const WORDS: &str = "words.txt";

/// A Tiny-ImageNet tree whose layout has been checked.
#[derive(Debug)]
pub struct TinyImagenet {
    classes: Vec<String>,
    files: Vec<PictureFile>,
    train: Vec<LabelledFile>,
    test: Vec<LabelledFile>,
    texts: Digest,
}

impl TinyImagenet {
    /// Lists the tree at `root`. Classes stand in the order of their sorted WordNet ids and are named by the first term
    /// of `words.txt`, with the id behind it where two share a term; by the id where there is no `words.txt`. The
    /// validation images are the test split, as everywhere in the literature: the distributed test images have no labels.
    ///
    /// # Errors
    /// What is missing, with its name.
    pub fn open(root: &Path) -> Result<Self> {
        expect_exists(root, "the unpacked folder tiny-imagenet-200")?;
        let (train_folder, annotations) = (root.join("train"), root.join(ANNOTATIONS));
        if !train_folder.is_dir() || !annotations.is_file() {
            let problem = format!(
                "is not Tiny-ImageNet as distributed: expected train/<id>/images and {ANNOTATIONS}; \
                 for a rearranged tree use `kind: image_folder`"
            );
            return Err(IngestError::layout(root, problem));
        }
        let ids = picture_files::folders_in(&train_folder)?;
        let annotations = fs_err::read_to_string(&annotations)?;
        let words_path = root.join(WORDS);
        let words = if words_path.is_file() { fs_err::read_to_string(words_path)? } else { String::new() };
        let label_of: BTreeMap<&str, u32> = ids.iter().map(String::as_str).zip(0..).collect();

        let mut files = Vec::new();
        let mut train = Vec::new();
        for (id, label) in &label_of {
            for file in picture_files::below(&train_folder.join(id), root)? {
                train.push(LabelledFile::new(&file, *label));
                files.push(file);
            }
        }
        let test_files = picture_files::below(&root.join("val"), root)?;
        let id_of = annotated(root, &annotations)?;
        let mut test = Vec::new();
        for file in &test_files {
            let name = file.relative.rsplit('/').next().unwrap_or(&file.relative);
            let Some(label) = id_of.get(name).and_then(|id| label_of.get(id)) else {
                let problem = format!("gives `{name}` no class of train/; unpack the archive again");
                return Err(IngestError::layout(&root.join(ANNOTATIONS), problem));
            };
            test.push(LabelledFile::new(file, *label));
        }
        files.extend(test_files);
        let texts = Digest::of_json(&json!([annotations, words]));
        Ok(Self { classes: class_names(&ids, &words), files, train, test, texts })
    }

    /// Names by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The pictures of a split.
    pub fn images(&self, split: Split) -> &[LabelledFile] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// The cheap key of the pictures, with the whole text files.
    ///
    /// # Errors
    /// If a sampled file cannot be read.
    pub fn fingerprint(&self) -> Result<Digest> {
        Ok(Digest::of_json(&json!({ "pictures": fingerprint::of_tree(&self.files)?, "texts": self.texts })))
    }
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
    let mut seen = BTreeSet::new();
    let shared: BTreeSet<&String> = terms.iter().filter(|term| !seen.insert(*term)).collect();
    let name = |(id, term): (&String, &String)| {
        if shared.contains(term) { format!("{term} ({id})") } else { term.clone() }
    };
    ids.iter().zip(&terms).map(name).collect()
}
