//! Writes the dataset artifact: chooses classes, limits, decodes in parallel, counts and measures.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::Path;

use delt_augment::resize::with_shorter_side;
use delt_formats::RgbImage;
use delt_formats::dataset::{DatasetFacts, DatasetWriter, ImageRow};
use delt_formats::provenance::Provenance;
use delt_harness::progress::Progress;
use delt_harness::session::Made;
use delt_images::channel_statistics::ChannelSums;
use delt_images::stored_image::{self, StoredImage, StoredImageError};
use delt_pipeline::config::ingest::Ingest;
use rayon::prelude::*;

use crate::classes::{self, LabelMap};
use crate::coverage::{self, SeenBytes, Used};
use crate::digests;
use crate::error::{IngestError, Result};
use crate::source::{Source, SourceImage, Split};

/// Images read before they are decoded together: bounds the memory, and is the same on every machine.
const CHUNK: usize = 256;

/// Bytes of such images after which they are decoded even if they are fewer: photographs are large.
const CHUNK_BYTES: u64 = 64 * 1024 * 1024;

/// Images passed over or waiting after which the chunk is decoded even if it is not full: bounds the time between two
/// looks at the limits per class and at the user's wish to stop.
const PASSED: u64 = 4096;

/// Broken images named one by one on stderr; the rest are only counted.
const BROKEN_NAMED: u64 = 10;

/// Reads `source` as `section` says and writes `train.parquet` and `test.parquet` into `folder`.
///
/// Images stand in the order of the source and are numbered from 0 in each split. With the artifact comes what the reader of its
/// results must know.
///
/// # Errors
/// A broken image (unless `skip_broken`), an unknown class, a class or split left without images.
pub fn write(
    section: &Ingest,
    source: &dyn Source,
    folder: &Path,
    provenance: impl Fn(&[String]) -> Provenance,
) -> Result<(Made, Vec<String>)> {
    let labels = choose_labels(section, source)?;
    let provenance = provenance(&labels.names);
    let mut seen = SeenBytes::of(source.len(Split::Train) + source.len(Split::Test));
    let mut split = |split: Split, limit| {
        let writer = DatasetWriter::create(folder.join(format!("{}.parquet", split.name())), &provenance)?;
        write_split(source, split, writer, &labels, limit, section, &mut seen)
    };
    let train = split(Split::Train, section.max_train_per_class)?;
    let test = split(Split::Test, section.max_test_per_class)?;
    if let Some(empty) = labels.used().find(|label| train.per_class[*label as usize] == 0) {
        return Err(IngestError::EmptyClass(labels.names[empty as usize].clone()));
    }
    if test.images() == 0 {
        return Err(IngestError::NoTestImage);
    }
    let (train_used, test_used) = (train.used(source.len(Split::Train)), test.used(source.len(Split::Test)));
    let mut notes = coverage::notes(section, &labels, train_used, test_used, &seen);
    notes.extend(classes::alike(&labels.names));
    let normalization = section.normalization.map_or_else(|| train.sums.normalization(), Ok)?;
    let (train_images, test_images) = (train.images(), test.images());
    let facts = DatasetFacts {
        train_images,
        test_images,
        train_per_class: train.per_class,
        mean: normalization.mean,
        std: normalization.std,
        source: source.description(),
        train_broken: train.broken,
        test_broken: test.broken,
        resized: section.shorter_side.map(|_| train.resized + test.resized),
    };
    let broken = match (train.broken, test.broken) {
        (0, 0) => String::new(),
        (train, test) => format!(", {train} training and {test} test images broken and left out"),
    };
    let classes = labels.used().count();
    let resized = section.shorter_side.map_or_else(String::new, |short| match train.resized + test.resized {
        0 => format!(", none with a shorter side above {short} px"),
        resized => format!(", {resized} brought to a shorter side of {short} px"),
    });
    let summary = format!(
        "{train_images} training and {test_images} test images of {classes} classes{resized}{broken}"
    );
    let facts = serde_json::to_value(&facts).map_err(std::io::Error::from)?;
    Ok((Made { provenance, facts, summary }, notes))
}

/// Chooses the classes. Where the source counts them, a class or split that will end up empty is refused here, before any
/// image is decoded.
///
/// # Errors
/// An unknown class, two of one name; a class or split without files.
pub fn choose_labels(section: &Ingest, source: &dyn Source) -> Result<LabelMap> {
    let labels = LabelMap::choose(source.classes(), section.classes.as_deref(), section.label_space)?;
    if let (Some(train), Some(test)) = (source.per_class(Split::Train), source.per_class(Split::Test)) {
        let is_wanted = |label: &usize| labels.label(*label as u32).is_some();
        if let Some(empty) = (0..train.len()).filter(is_wanted).find(|label| train[*label] == 0) {
            return Err(IngestError::EmptyClass(source.classes()[empty].clone()));
        }
        if (0..test.len()).filter(is_wanted).all(|label| test[label] == 0) {
            return Err(IngestError::NoTestImage);
        }
    }
    Ok(labels)
}

/// What was written of one split.
#[derive(Debug, Default)]
struct Written {
    per_class: Vec<u64>,
    broken: u64,
    /// Those brought to the shorter side that is asked for.
    resized: u64,
    sums: ChannelSums,
}

impl Written {
    fn images(&self) -> u64 {
        self.per_class.iter().sum()
    }

    fn used(&self, of: u64) -> Used<'_> {
        Used { per_class: &self.per_class, of, broken: self.broken }
    }
}

/// Writes the images of a split, at most `limit` of each class.
fn write_split(
    source: &dyn Source,
    split: Split,
    writer: DatasetWriter,
    labels: &LabelMap,
    limit: Option<u64>,
    section: &Ingest,
    seen: &mut SeenBytes,
) -> Result<Written> {
    let mut split_writer = SplitWriter {
        labels,
        split,
        seen,
        limit: limit.unwrap_or(u64::MAX),
        section,
        writer,
        waiting: Vec::with_capacity(CHUNK),
        waiting_bytes: 0,
        written: Written { per_class: vec![0; labels.names.len()], ..Written::default() },
        progress: Progress::new(&format!("ingest {}", split.name()), source.len(split), "images"),
        passed: 0,
    };
    source.visit(split, &mut |image| split_writer.offer(image))?;
    split_writer.flush()?;
    split_writer.progress.finish();
    split_writer.writer.finish()?;
    Ok(split_writer.written)
}

/// Collects wanted images, decodes a chunk of them in parallel and writes it in order.
struct SplitWriter<'a> {
    labels: &'a LabelMap,
    split: Split,
    seen: &'a mut SeenBytes,
    limit: u64,
    section: &'a Ingest,
    writer: DatasetWriter,
    /// Wanted images, with their labels in the dataset.
    waiting: Vec<SourceImage>,
    waiting_bytes: u64,
    written: Written,
    progress: Progress,
    passed: u64,
}

impl SplitWriter<'_> {
    /// Takes the image if its class is wanted and not full yet.
    fn offer(&mut self, image: SourceImage) -> Result<ControlFlow<()>> {
        self.passed += 1;
        if let Some(label) = self.labels.label(image.label).filter(|label| !self.is_full(*label)) {
            self.waiting_bytes += image.content.bytes();
            self.waiting.push(SourceImage { label, ..image });
        }
        if self.waiting.len() == CHUNK || self.waiting_bytes >= CHUNK_BYTES || self.passed == PASSED {
            self.flush()?;
            if self.labels.used().all(|label| self.is_full(label)) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_full(&self, label: u32) -> bool {
        self.written.per_class[label as usize] >= self.limit
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let short = self.section.shorter_side.map(NonZeroU32::get);
        let smaller = |image: &RgbImage| {
            let short = short.filter(|short| image.width.min(image.height) > *short)?;
            Some(with_shorter_side(image, short))
        };
        let prepared: Vec<_> = waiting
            .into_par_iter()
            .map(|image| {
                let is_resized = Cell::new(false);
                let stored = stored_image::prepare_resized(image.content, |picture| {
                    smaller(picture).inspect(|_| is_resized.set(true))
                });
                let digest = stored.as_ref().map_or(0, |stored| digests::digest(&stored.bytes));
                (image.path, image.place, image.label, stored.map(|it| (it, is_resized.get())), digest)
            })
            .collect();
        for (path, place, label, picture, digest) in prepared {
            if self.is_full(label) {
                continue;
            }
            match picture {
                Ok((StoredImage { bytes, sums }, is_resized)) => {
                    let image_id = self.written.images();
                    self.seen.add(digest, self.split, &path, (label, &self.labels.names));
                    self.writer.write(&ImageRow { bytes, path, label, image_id })?;
                    self.written.per_class[label as usize] += 1;
                    self.written.resized += u64::from(is_resized);
                    self.written.sums.add(&sums);
                }
                Err(error) if self.section.skip_broken && error.is_broken() => {
                    self.written.broken += 1;
                    if self.written.broken <= BROKEN_NAMED {
                        eprintln!("ingest: left out {place}: {error}");
                    }
                }
                Err(problem @ StoredImageError::OtherFormat { .. }) => {
                    return Err(IngestError::OtherFormat { place, problem });
                }
                Err(StoredImageError::Absent(problem)) => {
                    return Err(IngestError::NoImage { place, problem });
                }
                Err(source) => return Err(IngestError::RgbImage { place, source }),
            }
        }
        self.progress.advance(self.passed)?;
        self.passed = 0;
        Ok(())
    }
}
