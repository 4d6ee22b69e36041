//! What the ranker thinks of each training image: the softmax probability of its true class.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::normalize::to_normalized;
use delt_augment::resize::fit;
use delt_formats::dataset::{DatasetReader, ImageRow};
use delt_formats::error::FormatError;
use delt_formats::rgb_image::RgbImage;
use delt_formats::scores::{ScoreRow, read_csv_into, write_csv};
use delt_formats::sealed;
use delt_formats::teacher::Normalization;
use delt_harness::progress::Progress;
use delt_networks::FrozenNetwork;
use delt_training::ahead;
use rayon::prelude::*;

/// Images of one forward pass.
pub(crate) const BATCH: usize = 100;

/// Forward passes that see so many images, the last perhaps fewer than [`BATCH`].
pub(crate) fn passes(images: u64) -> u64 {
    images.div_ceil(BATCH as u64)
}

/// The images that some of the passes see: a part's passes are those of an unsharded run.
pub(crate) fn images_of(passes: Range<u64>, images: u64) -> Range<u64> {
    let at = |pass: u64| (pass * BATCH as u64).min(images);
    at(passes.start)..at(passes.end)
}

/// Forward passes between two checkpoints.
const CHECKPOINT_BATCHES: usize = 100;

/// Scores of a run that was stopped, in the checkpoint folder; their ranks mean nothing yet.
pub(crate) const UNFINISHED_FILE: &str = "scores.csv";

/// The network that scores, with what it needs to see an image.
#[derive(Debug)]
pub struct Ranker {
    /// In evaluation mode, on a device without autodiff.
    pub network: FrozenNetwork,
    /// Where it runs.
    pub device: Device,
    /// Side of its input, px.
    pub size: u32,
    /// How its input is normalized.
    pub normalization: Normalization,
}

impl Ranker {
    /// Scores some images of `reader` in order, each image brought to size as for testing, into a file of `checkpoint_dir`. Images
    /// scored by an earlier run that was stopped are not scored again. The ranks are left at 0.
    ///
    /// # Errors
    /// An image that cannot be read, a probability that is NaN or infinite, or
    /// [`delt_pipeline::watch::Interrupted`] after the scores so far were kept.
    pub fn score_all(
        &self,
        reader: &DatasetReader,
        images: Range<u64>,
        checkpoint_dir: &Path,
        progress: &Progress,
    ) -> Result<()> {
        let unfinished = checkpoint_dir.join(UNFINISHED_FILE);
        let mut scores = Vec::with_capacity(images.end.saturating_sub(images.start) as usize);
        kept(&unfinished, &mut scores);
        progress.resume_at(scores.len() as u64);
        let first = images.start as usize + scores.len();
        let rows = reader.rows().skip(first).take((images.end as usize).saturating_sub(first));
        let (size, normalization) = (self.size, self.normalization);
        let decoded = batches(rows, BATCH).map(|batch| -> Result<_> {
            let batch = batch?;
            let pixels = decode(&batch, size, &normalization)?;
            Ok((batch, pixels))
        });
        ahead(decoded, |decoded| {
            for (pass, batch) in (1..).zip(decoded) {
                let (batch, pixels) = batch?;
                let logits = self.see(pixels, FrozenNetwork::forward)?;
                for (logits, row) in logits.iter().zip(&batch) {
                    scores.push(score_row(logits, row)?);
                }
                let advanced = progress.advance(batch.len() as u64);
                if pass % CHECKPOINT_BATCHES == 0 || advanced.is_err() {
                    keep(&unfinished, &scores)?;
                }
                advanced?;
            }
            keep(&unfinished, &scores)
        })
    }

    /// What `pass`, a forward pass, gives for each image; `pixels` are normalized, `[n, 3, size, size]`.
    pub(crate) fn see(
        &self,
        pixels: Vec<f32>,
        pass: impl FnOnce(&FrozenNetwork, Tensor<4>) -> Tensor<2>,
    ) -> Result<Vec<Vec<f32>>> {
        let size = self.size as usize;
        let shape = [pixels.len() / (3 * size * size), 3, size, size];
        let images = Tensor::from_data(TensorData::new(pixels, shape), &self.device);
        let values = pass(&self.network, images);
        let [_, length] = values.dims();
        let values = values.try_into_data()?.try_into_vec::<f32>()?;
        Ok(values.chunks(length.max(1)).map(<[f32]>::to_vec).collect())
    }
}

/// The rows in batches of `n`, the last perhaps smaller.
pub(crate) fn batches(
    mut rows: impl Iterator<Item = Result<ImageRow, FormatError>>,
    n: usize,
) -> impl Iterator<Item = Result<Vec<ImageRow>, FormatError>> {
    let mut next = move || rows.by_ref().take(n).collect::<Result<Vec<_>, _>>();
    std::iter::from_fn(move || Some(next()).filter(|batch| !matches!(batch, Ok(rows) if rows.is_empty())))
}

/// The rows of some images.
pub(crate) fn rows_of(
    images: &DatasetReader,
    wanted: &BTreeSet<u64>,
) -> impl Iterator<Item = Result<ImageRow, FormatError>> {
    images.rows().filter(|row| row.as_ref().map_or(true, |row| wanted.contains(&row.image_id)))
}

/// The image of a row.
pub(crate) fn picture(row: &ImageRow) -> Result<RgbImage> {
    RgbImage::decode(&row.bytes).with_context(|| image_name(row))
}

/// Normalized pixels of images, `[n, 3, size, size]`.
pub(crate) fn decode(batch: &[ImageRow], size: u32, normalization: &Normalization) -> Result<Vec<f32>> {
    let values = 3 * size as usize * size as usize;
    let mut pixels = vec![0.0; batch.len() * values];
    pixels.par_chunks_mut(values).zip(batch).try_for_each(|(out, row)| -> Result<()> {
        to_normalized(&fit(&picture(row)?, size).rgb, normalization, out);
        Ok(())
    })?;
    Ok(pixels)
}

fn score_row(logits: &[f32], row: &ImageRow) -> Result<ScoreRow> {
    let (probability, loss) = true_class(logits, row.label as usize);
    ensure!(
        probability.is_finite() && loss.is_finite(),
        "{}: the network that scores gives probability {probability}; its weights are broken, make the network again",
        image_name(row)
    );
    Ok(ScoreRow { image_id: row.image_id, label: row.label, probability, loss, rank: 0 })
}

pub(crate) fn image_name(row: &ImageRow) -> String {
    format!("train.parquet: image {} ({})", row.image_id, row.path)
}

/// Softmax probability and cross-entropy of one class.
pub(crate) fn true_class(logits: &[f32], label: usize) -> (f32, f32) {
    let highest = logits.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
    let loss = sum.ln() + highest - f64::from(logits[label]);
    ((-loss).exp() as f32, loss as f32)
}

/// Adds the scores of a run that was stopped. What cannot be read is worth less than the time to ask about it.
fn kept(path: &Path, scores: &mut Vec<ScoreRow>) {
    if !path.exists() {
        return;
    }
    if let Err(error) = sealed::verify(path).and_then(|()| read_csv_into(path, scores)) {
        eprintln!("init-select: {error}; the checkpoint is dropped, scoring starts over");
        scores.clear();
    }
}

/// On disk before it has its name: a machine that stops leaves the scores before these.
fn keep(path: &Path, scores: &[ScoreRow]) -> Result<()> {
    let beside = path.with_extension("writing");
    write_csv(&beside, scores)?;
    Ok(sealed::seal(&beside, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_one_changed_or_cut_short_is_dropped() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join(UNFINISHED_FILE);
        let kept = |path: &Path| {
            let mut scores = Vec::new();
            kept(path, &mut scores);
            scores
        };
        assert_eq!(kept(&path), []);
        let scores =
            [0, 1].map(|image_id| ScoreRow { image_id, label: 0, probability: 0.5, loss: 0.7, rank: 0 });
        keep(&path, &scores).expect("written");
        assert_eq!(kept(&path), scores);
        let text = fs_err::read(&path).expect("readable");
        fs_err::write(&path, String::from_utf8_lossy(&text).replace("0.7", "0.3")).expect("written");
        assert_eq!(kept(&path), []);
        fs_err::write(&path, &text[..text.len() - 4]).expect("written");
        assert_eq!(kept(&path), []);
        fs_err::write(&path, "").expect("written");
        assert_eq!(kept(&path), []);
    }

    #[test]
    fn probability_and_loss_are_those_of_softmax() {
        let (probability, loss) = true_class(&[1.0, 2.0, 3.0], 1);
        assert!((probability - 0.244_728_47).abs() < 1e-7, "{probability}");
        assert!((loss - 1.407_605_9).abs() < 1e-6, "{loss}");
        let (certain, _) = true_class(&[1000.0, 0.0], 0);
        assert_eq!(certain, 1.0);
        assert!(true_class(&[f32::NAN, 0.0], 1).0.is_nan());
    }

    #[test]
    fn a_probability_that_is_no_number_names_the_image_and_the_next_step() {
        let row = ImageRow { bytes: Vec::new(), path: "cat/7.png".to_owned(), label: 1, image_id: 7 };
        assert_eq!(
            score_row(&[f32::NAN, 0.0], &row).expect_err("refused").to_string(),
            "train.parquet: image 7 (cat/7.png): the network that scores gives probability NaN; its weights are broken, make the network \
             again"
        );
    }
}
