//! Mosaics of realistic patches (RDED, CVPR 2024, algorithm 1): of several random crops of an image the one that the ranker
//! is surest of is kept, the best of a class are joined to images.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use delt_augment::normalize::to_normalized;
use delt_augment::{Draws, cut, random_square_crop, resize_pillow};
use delt_formats::dataset::{DatasetReader, ImageRow};
use delt_formats::initial::InitialRow;
use delt_formats::rgb_image::RgbImage;
use delt_harness::progress::Progress;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::select::Patches;
use rayon::prelude::*;

use crate::scoring::{Ranker, batches, image_name, picture, rows_of, true_class};

/// Images whose crops pass through the ranker at once.
const IMAGES: usize = 40;

/// The best crop of one image.
#[derive(Debug, Clone)]
struct Patch {
    image_id: u64,
    loss: f32,
    picture: RgbImage,
}

/// Cuts, scores and joins patches.
#[derive(Debug)]
pub struct Cutter<'a> {
    /// Scores the crops. Its input has the size of the mosaics.
    pub ranker: &'a Ranker,
    /// How.
    pub patches: Patches,
    /// Images per class.
    pub ipc: u32,
    /// Seed of the crops.
    pub draws: Draws,
}

impl Cutter<'_> {
    /// The mosaics of all classes in class order. `candidates` are the images to cut from; `progress` advances by
    /// crops.
    ///
    /// A mosaic's `image_id` is the image of its first patch, its `probability` the mean over its patches.
    ///
    /// # Errors
    /// An image that cannot be read, a loss that is NaN or infinite, a class with too few candidates, or an interrupt.
    pub fn mosaics(
        &self,
        images: &DatasetReader,
        candidates: &BTreeSet<u64>,
        progress: &Progress,
    ) -> Result<Vec<InitialRow>> {
        let needed = self.patches.of_class(self.ipc) as usize;
        let mut best: BTreeMap<u32, Vec<Patch>> = BTreeMap::new();
        for batch in batches(rows_of(images, candidates), IMAGES) {
            let batch = batch?;
            for (row, patch) in batch.iter().zip(self.best_crops(&batch)?) {
                let class = best.entry(row.label).or_default();
                let place =
                    class.partition_point(|kept| (kept.loss, kept.image_id) <= (patch.loss, patch.image_id));
                class.insert(place, patch);
                class.truncate(needed);
            }
            progress.advance((batch.len() * self.patches.crops as usize) as u64)?;
        }
        let mut mosaics = Vec::new();
        for (label, patches) in best {
            ensure!(
                patches.len() == needed,
                "class {label} has {} images to cut patches from, expected {needed}; lower select.ipc",
                patches.len()
            );
            for slot in 0..self.ipc {
                mosaics.push(self.mosaic(&patches, label, slot)?);
            }
        }
        Ok(mosaics)
    }

    /// The crop with the lowest cross-entropy of each image; of equal ones the first.
    fn best_crops(&self, rows: &[ImageRow]) -> Result<Vec<Patch>> {
        let crops = rows.par_iter().map(|row| self.crops(row)).collect::<Result<Vec<_>>>()?;
        let (size, of_image) = (self.ranker.size as usize, self.patches.crops as usize);
        let mut pixels = vec![0.0; rows.len() * of_image * 3 * size * size];
        pixels.par_chunks_mut(of_image * 3 * size * size).zip(&crops).for_each(|(out, crops)| {
            for (out, crop) in out.chunks_mut(3 * size * size).zip(crops) {
                self.pad(crop, out);
            }
        });
        let logits = self.ranker.see(pixels, FrozenNetwork::forward)?;
        let of_images = logits.chunks(of_image).zip(rows).zip(crops);
        of_images.map(|((logits, row), crops)| best_of(logits, row, crops)).collect()
    }

    fn crops(&self, row: &ImageRow) -> Result<Vec<RgbImage>> {
        let picture = picture(row)?;
        let side = (self.ranker.size / self.patches.factor).max(1);
        let mut rng = self.draws.stream("patches", row.image_id, 0);
        let scale = (self.patches.min_crop_scale, 1.0);
        let crops = (0..self.patches.crops).map(|_| {
            let crop = random_square_crop(&mut rng, picture.height, picture.width, scale);
            resize_pillow(&cut(&picture, crop), side, side)
        });
        Ok(crops.collect())
    }

    /// A crop in the middle of the ranker's input, normalized; around it zeros, as published.
    fn pad(&self, crop: &RgbImage, out: &mut [f32]) {
        let (size, side) = (self.ranker.size as usize, crop.width as usize);
        let mut pixels = vec![0.0; 3 * side * side];
        to_normalized(&crop.rgb, &self.ranker.normalization, &mut pixels);
        let margin = (size - side) / 2;
        for (at, row) in pixels.chunks(side).enumerate() {
            let (channel, line) = (at / side, at % side);
            let start = (channel * size + margin + line) * size + margin;
            out[start..start + side].copy_from_slice(row);
        }
    }

    /// Tile k of mosaic j is patch k · ipc + j of the class, from the surest.
    fn mosaic(&self, patches: &[Patch], label: u32, slot: u32) -> Result<InitialRow> {
        let (factor, size) = (self.patches.factor, self.ranker.size);
        let tiles: Vec<&Patch> = patches.iter().skip(slot as usize).step_by(self.ipc as usize).collect();
        let mut rgb = vec![0; 3 * (size * size) as usize];
        // the first tiles are a pixel larger where they do not divide the size
        let edge = |tile: u32| size / factor * tile + tile.min(size % factor);
        for (at, Patch { picture: tile, .. }) in (0..).zip(&tiles) {
            let (top, left) = (edge(at / factor), edge(at % factor));
            let (height, width) = (edge(at / factor + 1) - top, edge(at % factor + 1) - left);
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                // nearest, where the tile is a pixel larger than the crop
                let from = 3 * ((y * tile.height / height) * tile.width + x * tile.width / width) as usize;
                let to = 3 * ((top + y) * size + left + x) as usize;
                rgb[to..to + 3].copy_from_slice(&tile.rgb[from..from + 3]);
            }
        }
        let probability = tiles.iter().map(|tile| (-tile.loss).exp()).sum::<f32>() / tiles.len() as f32;
        let png = RgbImage { width: size, height: size, rgb }.encode_png()?;
        let image_id = tiles.first().map_or(0, |tile| tile.image_id);
        Ok(InitialRow { png, label, slot, image_id, probability })
    }
}

fn best_of(logits: &[Vec<f32>], row: &ImageRow, crops: Vec<RgbImage>) -> Result<Patch> {
    let losses: Vec<f32> = logits.iter().map(|logits| true_class(logits, row.label as usize).1).collect();
    if let Some(loss) = losses.iter().find(|loss| !loss.is_finite()) {
        bail!(
            "{}: the network that scores has a loss of {loss} on a crop; its weights are broken, make the network again",
            image_name(row)
        );
    }
    // of equal ones the first
    let best = losses.into_iter().zip(crops).min_by(|(a, _), (b, _)| a.total_cmp(b));
    let (loss, picture) = best.context("no crop of an image")?;
    Ok(Patch { image_id: row.image_id, loss, picture })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use delt_formats::teacher::{Architecture, Normalization};
    use delt_networks::{FrozenNetwork, Network};

    use super::*;

    fn ranker(size: u32) -> Ranker {
        let (device, architecture) = (Device::flex(), Architecture::convnet(1, 2));
        let network = Network::initialize(&architecture, 2, size as usize, 0, &device).expect("built");
        let normalization = Normalization { mean: [0.5; 3], std: [0.5; 3] };
        Ranker { network: FrozenNetwork::new(network, &device), device, size, normalization }
    }

    fn cutter(ranker: &Ranker, factor: u32, ipc: u32) -> Cutter<'_> {
        let patches = Patches { factor, crops: 3, candidates: 8, min_crop_scale: 0.08 };
        Cutter { ranker, patches, ipc, draws: Draws::new(0) }
    }

    fn plain(side: u32, value: u8) -> RgbImage {
        RgbImage { width: side, height: side, rgb: vec![value; 3 * (side * side) as usize] }
    }

    #[test]
    fn the_surest_patches_of_a_class_come_first_in_every_mosaic() {
        let ranker = ranker(5);
        let cutter = cutter(&ranker, 2, 2);
        let patches: Vec<Patch> =
            (0..8).map(|at| Patch { image_id: u64::from(at), loss: 0.0, picture: plain(2, at) }).collect();
        let mosaic = cutter.mosaic(&patches, 1, 1).expect("joined");
        assert_eq!((mosaic.label, mosaic.slot, mosaic.image_id, mosaic.probability), (1, 1, 1, 1.0));
        let picture = RgbImage::decode(&mosaic.png).expect("PNG");
        let row = |y: usize| picture.rgb[y * 15..(y + 1) * 15].iter().step_by(3).copied().collect::<Vec<_>>();
        // 5 = 3 + 2: the first row and column of tiles are a pixel larger
        assert_eq!((row(0), row(2)), (vec![1, 1, 1, 3, 3], vec![1, 1, 1, 3, 3]));
        assert_eq!((row(3), row(4)), (vec![5, 5, 5, 7, 7], vec![5, 5, 5, 7, 7]));
    }

    #[test]
    fn a_crop_lies_in_the_middle_of_zeros() {
        let ranker = ranker(6);
        let mut out = vec![0.0; 3 * 36];
        cutter(&ranker, 2, 1).pad(&plain(3, 255), &mut out);
        let lit: Vec<usize> =
            out[36..72].iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(at, _)| at).collect();
        assert_eq!(lit, [7, 8, 9, 13, 14, 15, 19, 20, 21]);
        assert!((out[36 + 7] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn of_the_crops_the_one_with_the_lowest_loss_is_kept() {
        let row = ImageRow { bytes: Vec::new(), path: "cat/7.png".to_owned(), label: 1, image_id: 7 };
        let logits = [vec![1.0, 0.0], vec![0.0, 3.0], vec![0.0, 3.0]];
        let crops = (0..3).map(|value| plain(1, value)).collect();
        let best = best_of(&logits, &row, crops).expect("one");
        assert_eq!((best.image_id, best.picture), (7, plain(1, 1)));
        let broken = best_of(&[vec![f32::NAN, 0.0]], &row, vec![plain(1, 0)]);
        assert_eq!(
            broken.expect_err("refused").to_string(),
            "train.parquet: image 7 (cat/7.png): the network that scores has a loss of NaN on a crop; its weights are broken, make the network \
             again"
        );
    }
}
