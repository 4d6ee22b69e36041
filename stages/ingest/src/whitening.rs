//! The second artifact of ingest: the matrices that training images are whitened by, where a branch matches batches of them.

use anyhow::{Context, Result};
use delt_augment::{fit, to_normalized};
use delt_formats::dataset::{DatasetFacts, DatasetReader, ImageRow, TRAIN_FILE};
use delt_formats::tensors::{NamedTensor, TensorValues, write_safetensors};
use delt_formats::whitening::{INVERSE, MATRIX, MEAN, WHITENING_FILE, Whitening, WhiteningFacts};
use delt_formats::{Normalization, RgbImage};
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_harness::space;
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_ridge::Moments;
use delt_store::Entry;
use rayon::prelude::*;

/// Images decoded together: bounds the memory.
const CHUNK: usize = 1024;

/// Makes or finds the whitening of a branch that asks for one; its data set is there.
///
/// # Errors
/// Images that cannot be read, or too few of them; what the store reports.
pub(crate) fn run(session: &Session, branch: &Branch) -> Result<()> {
    let Some(kind) = branch.pipeline.whitening() else { return Ok(()) };
    let plan = session.dag().plan(branch, Node::Whitening)?;
    let dataset = session.dag().entry(branch, Node::Dataset)?;
    session.produce(&plan, |work| make(&dataset, kind, branch, work))?;
    Ok(())
}

fn make(dataset: &Entry, published: Whitening, branch: &Branch, work: &Work<'_>) -> Result<Made> {
    let DatasetFacts { mean, std, train_images, .. } = dataset.manifest.facts_as()?;
    let size = branch.pipeline.teacher.size;
    let normalization = published.normalization(Normalization { mean, std });
    let path = dataset.verified_file(TRAIN_FILE)?;
    let dimensions = 3 * size as usize * size as usize;
    let kind = space::kind(published).context("a whitening that is none is not made")?;
    let mut moments = Moments::new(kind, dimensions);
    let progress = Progress::of_branch("ingest whitening", train_images, "images", branch);
    let mut rows = DatasetReader::open(&path)?.rows();
    loop {
        let chunk = rows.by_ref().take(CHUNK).collect::<Result<Vec<ImageRow>, _>>()?;
        if chunk.is_empty() {
            break;
        }
        let mut pixels = vec![0.0; chunk.len() * dimensions];
        pixels.par_chunks_mut(dimensions).zip(&chunk).try_for_each(|(out, row)| {
            let image = RgbImage::decode(&row.bytes)
                .with_context(|| format!("{}, image {}", path.display(), row.image_id))?;
            to_normalized(&fit(&image, size).rgb, &normalization, out);
            anyhow::Ok(())
        })?;
        moments.add(&pixels);
        progress.advance(chunk.len() as u64)?;
    }
    progress.finish();
    let found = moments.finish().context(TRAIN_FILE)?;
    let provenance = work.provenance(&dataset.manifest.provenance.classes);
    let tensor = |name: &str, shape: &[usize], values| NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: TensorValues::F32(values),
    };
    let square = [dimensions, dimensions];
    let tensors = [
        tensor(MEAN, &[dimensions], found.mean),
        tensor(MATRIX, &square, found.matrix),
        tensor(INVERSE, &square, found.inverse),
    ];
    write_safetensors(work.out_dir().join(WHITENING_FILE), &tensors, Some(&provenance))?;
    let facts = WhiteningFacts { kind: published, images: train_images, size, normalization };
    let summary = format!("whitening of {train_images} training images at {size} px");
    Ok(Made { provenance, facts: serde_json::to_value(facts)?, summary })
}
