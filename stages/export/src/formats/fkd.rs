//! `fkd`: soft labels in the layout that the scripts of SRe2L write and read, as do CDA, CV-DD and FADRM, beside the images as an
//! `ImageFolder`.
//!
//! A file `epoch_E/batch_B.tar` is no archive but a list that `torch.save` writes: crop boxes as shares of the image, flips, each
//! image's partner, λ and box of the mix, logits. It names no image: `ImageFolder_FKD_MIX` knows them by the order of torch's
//! sampler, in which `relabel.order: torch` labels.

use std::path::Path;

use anyhow::{Result, ensure};
use delt_augment::Order;
use delt_formats::labels::LABELS_FILE;
use delt_formats::teacher::Normalization;
use delt_formats::{LabelsFacts, LabelsReader, Mix, TeacherFacts, ViewRow};
use delt_harness::interrupt;
use delt_interchange::pth::{self, Dtype, Tensor, Value};
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::config::{Branch, Invalid};
use delt_pipeline::dag::Node;

use super::{Written, image_folder};
use crate::results::Results;

/// The images, beside the labels: who counts epochs counts all that lies in the folder of the labels.
const IMAGES: &str = "train";
/// The side in px that stands in the scripts, beside ImageNet's mean and standard deviation.
const THEIR_SIZE: u32 = 224;

/// Refuses labels in another order. With this one the configuration refuses what the layout has no place for.
pub(super) fn check(branch: &Branch, _: Option<&[String]>) -> Result<()> {
    let problem = "found given, and without labels there is nothing for this layout; use another format";
    ensure!(!branch.pipeline.relabel.is_given(), Invalid::new("relabel.source", problem));
    let problem = "expected `torch`, the order in which loaders of this layout look for labels; `make P/export FORMAT=fkd` sets \
        it, as --set relabel.order=torch does";
    ensure!(branch.pipeline.relabel.order == Order::Torch, Invalid::new("relabel.order", problem));
    Ok(())
}

/// Images in `train`, labels in `fkd-SEED` for each seed that has labels of its own.
pub(super) fn write(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let relabel = &results.branch.pipeline.relabel;
    fs_err::create_dir(folder.join(IMAGES))?;
    let mut written = image_folder::images_by_number(results, &folder.join(IMAGES))?;
    let teacher = results.teacher()?;
    let (mut bytes, mut epochs, mut batch) = (0, 0, 0);
    let mut mix = "";
    for seed in relabel.label_seeds() {
        let entry = results.entry(Node::Labels(*seed))?;
        LabelsFacts { epochs, batch, .. } = entry.manifest.facts_as()?;
        let reader = LabelsReader::open(entry.verified_file(LABELS_FILE)?)?;
        for epoch in 0..epochs {
            let place = folder.join(format!("fkd-{seed}/epoch_{epoch}"));
            fs_err::create_dir_all(&place)?;
            for views in reader.epoch(epoch)?.chunk_by(|a, b| a.batch == b.batch) {
                interrupt::check()?;
                mix = views[0].mix.kind();
                let file = place.join(format!("batch_{}.tar", views[0].batch));
                pth::write(&file, saved(views, teacher.size)?)?;
                bytes += fs_err::metadata(file)?.len();
            }
        }
    }
    written.summary = format!("{}; labels of {epochs} epochs, {}", written.summary, human_bytes(bytes));
    written.notes.extend(advice(&teacher, relabel.label_seeds(), epochs, batch, mix));
    Ok(written)
}

/// What a batch is saved as: coordinates, flips, partners, λ, box, logits.
fn saved(views: &[ViewRow], size: u32) -> Result<Value<'static>> {
    let first = views[0].mix;
    let shares = |mix: Mix| (mix.kind(), mix.lambda(), mix_box(mix));
    let fits = |view: &ViewRow| {
        view.randaugment.is_empty() && view.patch_order.is_empty() && shares(view.mix) == shares(first)
    };
    ensure!(
        views.iter().all(fits),
        "epoch {}, batch {}: other views than crops, flips and one mix a batch; relabel again",
        views[0].epoch,
        views[0].batch
    );
    let share = |px: u32| (f64::from(px) / f64::from(size)) as f32;
    let coords = views.iter().flat_map(|view| {
        let crop = view.crop;
        [crop.top, crop.left, crop.height, crop.width].map(|px| share(px).to_le_bytes()).concat()
    });
    let flips = views.iter().map(|view| u8::from(view.flip));
    // unmixed: every image is its own partner, which no kind of mix changes
    let partner = |view: &ViewRow| i64::from(view.mix.partner().unwrap_or(view.position));
    let partners = views.iter().flat_map(|view| partner(view).to_le_bytes());
    let logits = views.iter().flat_map(|view| &view.logits).flat_map(|logit| logit.to_le_bytes());
    let (n, classes) = (views.len(), views[0].logits.len());
    let mix_box = match first {
        Mix::Mixup { .. } => Value::None,
        _ => Value::List(mix_box(first).map(|px| Value::Int(i64::from(px))).into()),
    };
    Ok(Value::List(vec![
        tensor(Dtype::F32, [n, 4], coords),
        tensor(Dtype::Bool, [n], flips),
        tensor(Dtype::I64, [n], partners),
        Value::Float(first.lambda().map_or(1.0, f64::from)),
        mix_box,
        tensor(Dtype::F16, [n, classes], logits),
    ]))
}

fn tensor(dtype: Dtype, shape: impl Into<Vec<usize>>, bytes: impl Iterator<Item = u8>) -> Value<'static> {
    let bytes: Vec<u8> = bytes.collect();
    Value::Tensor(Tensor::new(dtype, shape, move |out| out.write_all(&bytes)))
}

/// First row, first column, the row and the column after the last, as the scripts index `[batch, 3, height, width]`.
fn mix_box(mix: Mix) -> [u32; 4] {
    match mix {
        Mix::Cutmix { top, left, bottom, right, .. } => [top, left, bottom, right],
        _ => [0; 4],
    }
}

/// How the scripts are called, and what stands in them that is otherwise here.
fn advice(teacher: &TeacherFacts, seeds: &[u64], epochs: u32, batch: u32, mix: &str) -> Vec<String> {
    let mix = if mix == "none" { String::new() } else { format!(" --mix-type {mix}") };
    let folders: Vec<String> = seeds.iter().map(|seed| format!("fkd-{seed}/")).collect();
    let others = match &folders[1..] {
        [] => String::new(),
        others => format!("; labels of further students: {}", others.join(", ")),
    };
    let mut notes = vec![format!(
        "SRe2L's train_FKD.py (PyTorch 2) reads it with --train-dir {IMAGES} --fkd-path {} (with the slash) --batch-size {batch} \
         --epochs {epochs}{mix}{others}",
        folders[0]
    )];
    notes.push(
        "these labels are in torch's order of batches, beside those that students have in their own; SET=relabel.order=torch evaluates \
         students on them"
            .to_owned(),
    );
    let own = teacher.normalization;
    if own != Normalization::IMAGENET {
        notes.push(format!(
            "the script normalizes by ImageNet's mean and std, the teacher by mean {:?} and std {:?}: write these into its \
             transforms.Normalize, or students see other images than were labeled",
            own.mean, own.std
        ));
    }
    if teacher.size != THEIR_SIZE {
        notes.push(format!(
            "the script crops to {THEIR_SIZE} px, the images have {0}: write size={0} into its RandomResizedCropWithCoords",
            teacher.size
        ));
    }
    notes
}
