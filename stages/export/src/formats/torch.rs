//! `torch`: one `.pt` of tensors, as `torch.save` writes them. Images in network space go as they are, with their learned targets.

use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use delt_formats::labels::LABELS_FILE;
use delt_formats::{
    CropBox, LabelsReader, Mix, Normalization, RgbImage, SyntheticFacts, SyntheticRow, ViewRow,
};
use delt_interchange::pth::{self, Dtype, Tensor, Value};
use delt_pipeline::dag::Node;
use serde_json::json;

use super::Written;
use crate::results::{Results, decoded};
use crate::whitening::{self, Whitened};

/// The file.
const FILE: &str = "synthetic.pt";
/// Gives the 8-bit images back, exactly; of learned numbers the previews.
const INVERT: &str = "(d[\"images\"] * d[\"std\"].view(1, 3, 1, 1) + d[\"mean\"].view(1, 3, 1, 1)).mul(255).round().clamp(0, 255).byte()";
/// The same of whitened ones, beside the module that is written with them.
const INVERT_WHITENED: &str =
    "__import__(\"whitening\").invert(d[\"images\"]).mul(255).round().clamp(0, 255).byte()";

/// Writes images, labels, what they are normalized by, and soft labels where these are of the images themselves.
pub(super) fn write(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let (mut labels, mut targets) = (Vec::new(), Vec::new());
    for row in results.images()? {
        let row = row?;
        labels.push(i64::from(row.label));
        targets.extend(row.target.into_iter().flatten());
    }
    let classes = results.classes()?;
    let mut written = Written::default();
    let soft = soft_labels(results, labels.len(), &mut written.notes)?;
    let images = Images::of(results)?;
    let (mean, std) = (images.normalization.mean, images.normalization.std);
    let invert = if images.is_whitened { INVERT_WHITENED } else { INVERT };
    let mut members = vec![
        ("images", Value::Tensor(images.tensor(results, labels.len())?)),
        ("labels", Value::Tensor(Tensor::i64([labels.len()], &labels))),
        ("classes", Value::List(classes.iter().cloned().map(Value::Text).collect())),
        ("invert", Value::Text(invert.to_owned())),
    ];
    // whoever finds these undoes them, which alone is no way back from a whitening
    if !images.is_whitened {
        members.push(("mean", Value::Tensor(Tensor::f32([3], &mean))));
        members.push(("std", Value::Tensor(Tensor::f32([3], &std))));
    }
    if targets.len() == labels.len() * classes.len() {
        members.push(("targets", Value::Tensor(Tensor::f32([labels.len(), classes.len()], &targets))));
    }
    members.extend(images.learned_lr.map(|lr| ("learned_lr", Value::Float(lr))));
    if let Some(soft) = &soft {
        members.push(("soft_labels", Value::Tensor(Tensor::f32([labels.len(), classes.len()], soft))));
    }
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    pth::write(&folder.join(FILE), Value::Dict(members)).context(FILE)?;
    let back = if images.is_8_bit { "the 8-bit images back" } else { "8-bit previews" };
    written.summary = format!(
        "{} images of {} classes: d = torch.load(\"{FILE}\"), and {invert} gives {back}",
        labels.len(),
        classes.len()
    );
    written.facts.insert("invert".to_owned(), json!(invert));
    written.facts.insert("normalization".to_owned(), json!(images.normalization));
    if let Some(Whitened { note, fact }) = whitening::write(results, folder)? {
        written.notes.push(note);
        written.facts.insert("whitening".to_owned(), fact);
    }
    written.facts.insert("image_classes".to_owned(), json!(labels));
    Ok(written)
}

/// Synthetic images as a network takes them.
#[derive(Debug)]
struct Images {
    normalization: Normalization,
    size: u32,
    /// Whether they are 8-bit images, normalized, and not numbers in a network's space.
    is_8_bit: bool,
    /// Whether they are whitened beyond that.
    is_whitened: bool,
    /// The learning rate that was learned with them.
    learned_lr: Option<f64>,
}

impl Images {
    /// As they were learned, else as the teacher of the results takes them.
    fn of(results: &Results<'_>) -> Result<Self> {
        let teacher = results.teacher()?;
        let facts: SyntheticFacts = results.entry(Node::Synthetic)?.manifest.facts_as()?;
        let is_8_bit = facts.space.is_none();
        let is_whitened = facts.space.as_ref().is_some_and(|space| space.whitening.is_some());
        let normalization = facts.space.map_or(teacher.normalization, |space| space.normalization);
        Ok(Self { normalization, size: teacher.size, is_8_bit, is_whitened, learned_lr: facts.learned_lr })
    }

    /// All images, class by class: `[n, 3, size, size]`, normalized. They are decoded one by one when the tensor is written.
    fn tensor<'a>(&'a self, results: &Results<'_>, count: usize) -> Result<Tensor<'a>> {
        let mut rows = results.images()?;
        let shape = [count, 3, self.size as usize, self.size as usize];
        Ok(Tensor::new(Dtype::F32, shape, move |out| {
            rows.try_for_each(|row| {
                let bytes = row.and_then(|row| self.normalized(&row)).map_err(io::Error::other)?;
                out.write_all(&bytes)
            })
        }))
    }

    /// The numbers of one image: by channel, row by row.
    fn normalized(&self, row: &SyntheticRow) -> Result<Vec<u8>> {
        if let Some(pixels) = &row.pixels {
            return Ok(pixels.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
        let RgbImage { width, height, rgb } = decoded(row)?;
        let size = self.size;
        ensure!(
            (width, height) == (size, size),
            "class {}, image {}: found {width} x {height} px, expected {size} x {size}, the teacher's input",
            row.label,
            row.slot
        );
        let Normalization { mean, std } = self.normalization;
        let mut bytes = Vec::with_capacity(rgb.len() * size_of::<f32>());
        for channel in 0..3 {
            for pixel in rgb.chunks_exact(3) {
                let value = (f32::from(pixel[channel]) / 255.0 - mean[channel]) / std[channel];
                bytes.extend(value.to_le_bytes());
            }
        }
        Ok(bytes)
    }
}

/// The teacher's logits of the images, in their order, where the stored views are the images as they are. Labels of augmented views
/// mean nothing beside the images alone.
fn soft_labels(results: &Results<'_>, images: usize, notes: &mut Vec<String>) -> Result<Option<Vec<f32>>> {
    let Some(seed) = results.branch.pipeline.relabel.label_seeds().first() else { return Ok(None) };
    let Some(labels) = results.if_made(Node::Labels(*seed))? else { return Ok(None) };
    let mut views = LabelsReader::open(labels.verified_file(LABELS_FILE)?)?.epoch(0)?;
    let size = results.teacher()?.size;
    if !views.iter().all(|view| is_whole_image(view, size)) || views.len() != images {
        notes.push(
            "no soft labels: those in the store are of augmented views, which this format cannot hold"
                .to_owned(),
        );
        return Ok(None);
    }
    views.sort_by_key(|view| view.image_id);
    Ok(Some(views.iter().flat_map(|view| view.logits.iter().map(|logit| logit.to_f32())).collect()))
}

/// Whether a view is the image as it is.
fn is_whole_image(view: &ViewRow, size: u32) -> bool {
    let whole = CropBox { top: 0, left: 0, height: size, width: size };
    view.crop == whole
        && !view.flip
        && view.mix == Mix::None
        && view.randaugment.is_empty()
        && view.patch_order.is_empty()
}
