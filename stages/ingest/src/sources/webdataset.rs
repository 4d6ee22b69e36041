//! Shards of webdataset: tar archives in which `key.jpg` lies beside `key.cls`, `key.json` or `key.txt`.

mod samples;
mod shards;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_harness::progress::Progress;
use delt_images::image_files::ImageFile;
use delt_images::stored_image::Content;
use delt_pipeline::config::ingest::Webdataset;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};
use crate::fingerprint;
use crate::seeded_split::{SeededSplit, refuse_beside};
use crate::source::{Source, SourceImage, Split, Visitor};
use crate::text_labels::TextLabels;
use samples::{Sample, Wanted};
use shards::Found;

/// Shards whose labels have been read.
#[derive(Debug)]
pub struct Shards {
    classes: Vec<String>,
    label_key: Option<String>,
    train: Part,
    test: Part,
    /// Where the training shards hold both splits: that of each of their samples.
    splits: Option<Vec<Split>>,
    /// Shards of other splits.
    passed_over: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Part {
    shards: Vec<PathBuf>,
    labels: Vec<u32>,
    /// Samples without an image.
    without_image: u64,
}

/// The samples of some shards with what their labels say.
#[derive(Debug, Default)]
struct Texts {
    /// Named by their keys; the label of each is a place among the texts.
    samples: FileList,
    /// Each text that occurs, with its place.
    places: BTreeMap<String, u32>,
    without_image: u64,
}

/// Finds the shards and reads their labels; where there are no test shards, splits each class by the seed.
///
/// # Errors
/// A shard that is missing, a sample with an image and no label, a label that is no class; no test split and no settings for
/// one, or both.
pub fn open(section: &Webdataset) -> Result<Shards> {
    let Found { splits: [train, test], passed_over } = shards::find(section)?;
    if let Some(first) = test.first() {
        refuse_beside(first, section.test_fraction, section.split_seed)?;
    }
    let label_key = section.label_key.clone();
    let (train_texts, test_texts) =
        (texts(&train, label_key.as_deref())?, texts(&test, label_key.as_deref())?);
    let all = train_texts.places.keys().chain(test_texts.places.keys()).map(String::as_str);
    let labels = TextLabels::of(section.class_names.as_deref(), all);
    let part = |shards: Vec<PathBuf>, texts: &Texts| {
        let mut by_place: Vec<&String> = texts.places.keys().collect();
        by_place.sort_unstable_by_key(|text| texts.places[*text]);
        let label = |LabeledFile { file, label, .. }: LabeledFile| {
            let text = by_place[label as usize];
            labels.label(text).ok_or_else(|| {
                let problem = format!("sample `{}`: {}", file.relative, labels.complaint(text));
                IngestError::layout(&section.path, problem)
            })
        };
        let labels = texts.samples.iter().map(label).collect::<Result<_>>()?;
        Ok::<_, IngestError>(Part { shards, labels, without_image: texts.without_image })
    };
    let (train, test) = (part(train, &train_texts)?, part(test, &test_texts)?);
    let splits = if test.shards.is_empty() {
        let Some(split) = SeededSplit::of(section.test_fraction, section.split_seed) else {
            let cure = SeededSplit::cure(section.test_fraction, section.split_seed);
            let problem = format!("has no test shards; name them in `ingest.source.test`, or {cure}");
            return Err(IngestError::layout(&section.path, problem));
        };
        let keys = train_texts.samples.iter().map(|sample| sample.file.relative);
        Some(split.of_rows(&train.labels, keys, &labels.names, &section.path)?)
    } else {
        None
    };
    Ok(Shards { classes: labels.names, label_key, train, test, splits, passed_over })
}

/// The labels of all samples with an image.
fn texts(shards: &[PathBuf], label_key: Option<&str>) -> Result<Texts> {
    let progress = Progress::new("ingest labels", shards.len() as u64, "shards");
    let mut texts = Texts::default();
    for shard in shards {
        let flow = samples::for_each(shard, Wanted { images: false, label_key }, &mut |sample| {
            let Sample { key, image, label, .. } = sample;
            if image.is_none() {
                texts.without_image += 1;
                return Ok(ControlFlow::Continue(()));
            }
            let label = label.ok_or_else(|| no_label(shard, &key))?;
            let next = texts.places.len() as u32;
            let label = *texts.places.entry(label).or_insert(next);
            let file = ImageFile { relative: key, path: shard.clone(), bytes: 0, start: None };
            texts.samples.push(LabeledFile { file, label, split: Split::Train });
            Ok(ControlFlow::Continue(()))
        })?;
        debug_assert!(flow.is_continue());
        progress.advance(1)?;
    }
    progress.finish();
    Ok(texts)
}

fn no_label(shard: &Path, key: &str) -> IngestError {
    let problem = format!(
        "sample `{key}` has no label, expected {key}.cls, .json or .txt beside the image; of JSON name the key in \
         `ingest.source.label_key`, and pack members of one name one after the other (`tar --sort=name`)"
    );
    IngestError::layout(shard, problem)
}

impl Shards {
    fn part(&self, split: Split) -> &Part {
        if split == Split::Test && self.splits.is_none() { &self.test } else { &self.train }
    }
}

impl Source for Shards {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        "webdataset shards".to_owned()
    }

    /// The fingerprints of the shards, in order: as of Parquet files, in full up to 1 GiB in all.
    fn fingerprint(&self) -> Result<Digest> {
        let digests = |part: &Part| {
            fingerprint::of_parquet(&part.shards.iter().map(PathBuf::as_path).collect::<Vec<_>>())
        };
        Ok(Digest::of_json(&json!({ "train": digests(&self.train)?, "test": digests(&self.test)? })))
    }

    fn len(&self, split: Split) -> u64 {
        match &self.splits {
            Some(splits) => splits.iter().filter(|of_sample| **of_sample == split).count() as u64,
            None => self.part(split).labels.len() as u64,
        }
    }

    fn notes(&self) -> Vec<String> {
        let without = self.train.without_image + self.test.without_image;
        let images = self.train.labels.len() + self.test.labels.len();
        let shards = self.train.shards.len() + self.test.shards.len();
        let note = format!(
            "{images} images found in {shards} shards; passed over: {without} samples without an image"
        );
        let mut notes = if without > 0 { vec![note] } else { Vec::new() };
        if let Some(first) = self.passed_over.first() {
            let count = self.passed_over.len();
            notes.push(format!(
                "passed over: {count} shards of no split that is read, the first of them {}",
                first.display()
            ));
        }
        notes
    }

    /// Shard by shard.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let Part { shards, labels, .. } = self.part(split);
        let wanted = Wanted { images: true, label_key: self.label_key.as_deref() };
        let mut index = 0;
        for shard in shards {
            let flow = samples::for_each(shard, wanted, &mut |sample| {
                let Some((path, bytes)) = sample.image else { return Ok(ControlFlow::Continue(())) };
                let label = labels
                    .get(index)
                    .copied()
                    .ok_or_else(|| IngestError::layout(shard, "changed while it was read"))?;
                let is_of = self.splits.as_ref().is_none_or(|splits| splits.get(index) == Some(&split));
                index += 1;
                if !is_of {
                    return Ok(ControlFlow::Continue(()));
                }
                let place = format!("{}: {path}", shard.display());
                visitor(SourceImage { path, place, label, content: Content::Encoded(bytes) })
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}
