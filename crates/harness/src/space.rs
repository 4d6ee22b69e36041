//! The space in which images are matched, opened: from pixels to it and back.

use std::sync::Arc;

use anyhow::{Context, Result};
use delt_augment::normalize::{to_normalized, to_rgb_image};
use delt_formats::tensors::{NamedTensor, TensorValues, read_safetensors};
use delt_formats::whitening::{self, INVERSE, MATRIX, MEAN, WHITENING_FILE, WhiteningFacts};
use delt_formats::{Normalization, RgbImage, Space, WhitenedBy};
use delt_ridge::{Kind, Whitening};
use delt_store::Entry;
use serde_json::json;

/// Standard deviations of an image's values from gray to black or white, where its own contrast is lost.
const SHOWN: f32 = 3.0;

/// A space with what it takes to go there.
#[derive(Debug, Clone)]
pub struct OpenSpace {
    /// What an artifact says of it.
    pub stated: Space,
    whitening: Option<Arc<Whitening>>,
    side: usize,
}

/// How the library of whitenings calls a published kind; none where images are not whitened.
pub fn kind(published: whitening::Whitening) -> Option<Kind> {
    match published {
        whitening::Whitening::None => None,
        whitening::Whitening::Trace => Some(Kind::Trace),
        whitening::Whitening::Absolute => Some(Kind::Absolute),
        whitening::Whitening::UnitLength => Some(Kind::UnitLength),
    }
}

impl OpenSpace {
    /// Normalized images of `side` px.
    pub fn of(normalization: Normalization, side: usize) -> Self {
        Self { stated: Space { normalization, whitening: None }, whitening: None, side }
    }

    /// The space of images that a branch matches: that of its whitening, or else `own`.
    ///
    /// # Errors
    /// A whitening that cannot be read.
    pub fn open(own: Normalization, side: usize, whitening: Option<&Entry>) -> Result<Self> {
        whitening.map_or_else(|| Ok(Self::of(own, side)), |entry| Self::whitened(entry, side))
    }

    /// The space that a synthetic set states; `whitening` is that of its branch.
    ///
    /// # Errors
    /// A whitening that is not this one, or cannot be read.
    pub fn of_set(stated: &Space, side: usize, whitening: Option<&Entry>) -> Result<Self> {
        let Some(WhitenedBy { kind, artifact }) = &stated.whitening else {
            return Ok(Self::of(stated.normalization, side));
        };
        let entry = whitening.filter(|entry| entry.manifest.digest == *artifact).with_context(|| {
            format!(
                "the images are whitened ({kind}) by {artifact}, which is not what this branch whitens by; run ingest and \
                 delt-synthesize again"
            )
        })?;
        Self::whitened(entry, side)
    }

    /// The space behind the whitening of an artifact.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is of images of another size.
    pub fn whitened(entry: &Entry, side: usize) -> Result<Self> {
        let facts: WhiteningFacts = entry.manifest.facts_as()?;
        let path = entry.verified_file(WHITENING_FILE)?;
        let (mut tensors, _) = read_safetensors(&path)?;
        let dimensions = 3 * side * side;
        let mut take = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let found = tensors.iter().position(|it| it.name == name && it.shape == shape);
            let tensor = found.map(|at| tensors.swap_remove(at));
            match tensor {
                Some(NamedTensor { values: TensorValues::F32(values), .. }) => Ok(values),
                _ => anyhow::bail!(
                    "{}: has no `{name}` of shape {shape:?}, expected for {side} x {side} px; run ingest again (FORCE=1)",
                    path.display()
                ),
            }
        };
        let kind = kind(facts.kind).context("a whitening that is none has no file")?;
        let whitening = Whitening {
            kind,
            mean: take(MEAN, &[dimensions])?,
            matrix: take(MATRIX, &[dimensions, dimensions])?,
            inverse: take(INVERSE, &[dimensions, dimensions])?,
        };
        let named = json!(facts.kind).as_str().unwrap_or_default().to_owned();
        let by = WhitenedBy { kind: named, artifact: entry.manifest.digest.clone() };
        let stated = Space { normalization: facts.normalization, whitening: Some(by) };
        Ok(Self { stated, whitening: Some(Arc::new(whitening)), side })
    }

    /// Images of the side as rows of values, red, then green, then blue.
    pub fn values(&self, images: &[RgbImage]) -> Vec<f32> {
        let count = 3 * self.side * self.side;
        let mut values = vec![0.0; images.len() * count];
        for (image, out) in images.iter().zip(values.chunks_mut(count)) {
            to_normalized(&image.rgb, &self.stated.normalization, out);
        }
        self.enter(&mut values);
        values
    }

    /// Takes normalized images to the space.
    pub fn enter(&self, normalized: &mut [f32]) {
        if let Some(whitening) = &self.whitening {
            whitening.apply(normalized);
        }
    }

    /// What an image of the space looks like, as far as 8 bits a value can show it. One whose length is lost has its values spread
    /// over three standard deviations to both sides of gray.
    pub fn preview(&self, values: &[f32]) -> RgbImage {
        let mut values = values.to_vec();
        if let Some(whitening) = &self.whitening {
            whitening.invert(&mut values);
            if whitening.kind == Kind::UnitLength {
                let deviation = (1.0 / values.len().max(1) as f32).sqrt() * length(&values);
                let scale = if deviation > 0.0 { 1.0 / (2.0 * SHOWN * deviation) } else { 0.0 };
                values.iter_mut().for_each(|value| *value = 0.5 + *value * scale);
            }
        }
        to_rgb_image(&values, self.side as u32, &self.stated.normalization)
    }
}

fn length(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}
