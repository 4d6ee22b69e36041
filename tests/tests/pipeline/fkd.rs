//! Labels in the layout of SRe2L, replayed as its loaders do it: torch's sampler, torchvision's crop and flip, the mix.

use std::path::Path;

use delt_augment::build_views;
use delt_formats::labels::LABELS_FILE;
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{LabelsReader, Normalization, RgbImage, SyntheticReader};

use crate::export::{Scene, python};

/// Writes pixels (before normalization, in 0..1) and logits of all views to `views` and `logits`, as 32-bit floats.
const REPLAY: &str = r#"
import sys, torch, torchvision.transforms.functional as tf
from torchvision.datasets import ImageFolder
export, seed, epochs, batch, mix, out = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:7]
images = ImageFolder(f"{export}/train")
generator = torch.Generator()
generator.manual_seed(42)
sampler = torch.utils.data.RandomSampler(images, generator=generator)
pixels, logits = open(f"{out}/views", "wb"), open(f"{out}/logits", "wb")
for epoch in range(epochs):
    batches = list(torch.utils.data.BatchSampler(sampler, batch, drop_last=False))
    for index, ids in enumerate(batches):
        path = f"{export}/fkd-{seed}/epoch_{epoch}/batch_{index}.tar"
        coords, flips, partners, lam, box, soft = torch.load(path, weights_only=True)
        assert len(coords) == len(flips) == len(soft) == len(ids), path
        assert (coords.dtype, flips.dtype, partners.dtype, soft.dtype) == (torch.float32, torch.bool, torch.int64, torch.float16)
        views = []
        for (top, left, height, width), flip, image_id in zip(coords.tolist(), flips.tolist(), ids, strict=True):
            image = images[image_id][0]
            w, h = image.size
            view = tf.resized_crop(image, top * h, left * w, height * h, width * w, [h, w])
            views.append(tf.to_tensor(tf.hflip(view) if flip else view))
        views = torch.stack(views)
        if mix == "mixup":
            views = lam * views + (1 - lam) * views[partners]
        else:
            top, left, bottom, right = box
            views[:, :, top:bottom, left:right] = views[partners, :, top:bottom, left:right]
        pixels.write(views.numpy().tobytes())
        logits.write(soft.float().numpy().tobytes())
print(epochs * len(images))
"#;

/// Views as they are stored, before normalization, and their logits.
fn stored(scene: &Scene) -> (Vec<f32>, Vec<f32>) {
    let (labels, _) = scene.run.pointed("tiny/delt/torch-labels-3407", "labels");
    let (images, _) = scene.run.pointed("tiny/delt/synthetic", "synthetic");
    let images: Vec<RgbImage> = SyntheticReader::open(images.join(SYNTHETIC_FILE))
        .unwrap()
        .rows()
        .map(|row| RgbImage::decode(&row.unwrap().png).unwrap())
        .collect();
    let plain = Normalization { mean: [0.0; 3], std: [1.0; 3] };
    let reader = LabelsReader::open(labels.join(LABELS_FILE)).unwrap();
    let (mut views, mut logits) = (Vec::new(), Vec::new());
    for epoch in reader.epochs() {
        for rows in reader.epoch(epoch).unwrap().chunk_by(|a, b| a.batch == b.batch) {
            views.extend(build_views(&images, rows, images[0].width, &plain).unwrap());
            logits.extend(rows.iter().flat_map(|row| &row.logits).map(|logit| logit.to_f32()));
        }
    }
    (views, logits)
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn loaders_of_the_fkd_layout_replay_our_views_and_labels() {
    let base = ["--branch", "delt", "--set", "relabel.seeds=[3407]", "--set", "relabel.randaugment=null"];
    let scene = Scene::up_to("relabel", &base);
    let (_, own) = scene.run.pointed("tiny/delt/labels-3407", "labels");
    for (name, mix) in [
        ("cutmix", "relabel.mix={kind: cutmix, alpha: 1.0}"),
        ("mixup", "relabel.mix={kind: mixup, alpha: 0.8}"),
        // 30 images: the last batch is short
        ("none", "relabel.mix={kind: none}"),
    ] {
        let more = [
            &base[..],
            &["--set", "relabel.order=torch", "--set", "relabel.flip=true", "--set", mix],
            &["--set", "relabel.batch=8", "--set", "relabel.min_crop_scale=0.3"],
        ]
        .concat();
        scene.run.stage("relabel", &more);
        let (_, still) = scene.run.pointed("tiny/delt/labels-3407", "labels");
        assert_eq!(still.key, own.key, "labels for others take the name of those that students have");
        let (folder, said) = scene.export(name, "fkd", &more);
        assert!(said.contains("--fkd-path fkd-3407/ (with the slash) --batch-size 8 --epochs 3"), "{said}");
        let out = scene.work.path().join(format!("{name}-replayed"));
        std::fs::create_dir(&out).unwrap();
        let words = [folder.as_path(), "3407".as_ref(), "3".as_ref(), "8".as_ref(), name.as_ref(), &out];
        let Some(said) = python("torch, torchvision", REPLAY, &words) else { return };
        assert_eq!(said.trim(), "90");
        let (views, logits) = stored(&scene);
        assert_eq!(floats(&out.join("logits")), logits);
        let replayed = floats(&out.join("views"));
        assert_eq!(replayed.len(), views.len());
        // Pillow rounds to 8 bits after each of its two passes
        let apart = |(theirs, ours): (&f32, &f32)| (theirs - ours).abs() * 255.0;
        let worst = replayed.iter().zip(&views).map(apart).fold(0.0, f32::max);
        assert!(worst < 1.001, "{name}: {worst} of 255 apart");
        assert!(worst > 0.1, "{name}: images of 8 bits cannot be equal to floats");
    }
}
