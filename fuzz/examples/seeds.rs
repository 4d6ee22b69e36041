//! Writes the files that fuzzing starts from, `seeds/TARGET/*`: made up here, or copied from the tests and the pipelines.
//!
//! `cd fuzz && cargo run --example seeds`. `images/no-dictionary` and `tables/footer-of-lists` are what fuzzing itself found.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use delt_formats::label_packing::{Keep, LabelPacking};
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::table::{Row, TableWriter};
use delt_formats::*;
use delt_pipeline::yaml;
use flate2::Compression;
use flate2::write::GzEncoder;
use half::f16;
use image::{ExtendedColorType as Color, ImageEncoder};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

fn main() {
    cifar();
    matlab();
    tables();
    labels();
    weights();
    pictures();
    pipelines();
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn of_workspace(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn cifar() {
    let archive = |members: &[(&str, usize)]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let content = if name.ends_with("txt") { b"cat\ndog\n".to_vec() } else { vec![0; *bytes] };
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, format!("c/{name}"), content.as_slice()).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let batches = (1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect::<Vec<_>>();
    let mut members: Vec<(&str, usize)> = batches.iter().map(|name| (name.as_str(), 3073)).collect();
    members.extend([("batches.meta.txt", 0), ("test_batch.bin", 3073)]);
    let ten = archive(&members);
    let hundred = archive(&[("fine_label_names.txt", 0), ("train.bin", 6148), ("test.bin", 3074)]);
    seed("cifar", "cifar10.tar", &[&[0], ten.as_slice()].concat());
    seed("cifar", "cifar100.tar", &[&[1], hundred.as_slice()].concat());
    let mut packed = GzEncoder::new(vec![3], Compression::best());
    packed.write_all(&hundred).unwrap();
    seed("cifar", "cifar100.tar.gz", &packed.finish().unwrap());
}

/// A structure with one field, a number.
fn matlab() {
    let element = |kind: u32, bytes: &[u8]| {
        let mut element = [kind.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
        element.extend(bytes);
        element.resize(element.len().next_multiple_of(8), 0);
        element
    };
    let array = |name: &[u8], class: u8, values: &[u8]| {
        let head = [element(6, &[class, 0, 0, 0, 0, 0, 0, 0]), element(5, &[1, 0, 0, 0, 1, 0, 0, 0])].concat();
        element(14, &[&head, &element(1, name), values].concat())
    };
    let number = array(b"", 6, &element(9, &1_f64.to_le_bytes()));
    let fields = [element(5, &[5, 0, 0, 0]), element(1, b"WNID\0"), number].concat();
    let header = [&[b' '; 124], &b"\0\x01IM"[..]].concat();
    seed("matlab", "structure", &[header, array(b"synsets", 2, &fields)].concat());
}

fn provenance(kind: ArtifactKind) -> Provenance {
    let classes = (0..10).map(|class| class.to_string()).collect();
    Provenance::new(kind, kind.stage(), 1, classes, serde_json::Value::Null, 0, BTreeMap::new())
}

fn picture() -> RgbImage {
    RgbImage { width: 8, height: 8, rgb: (0..192).collect() }
}

/// The file as the project writes it, and once more without compression, which changes get through more often.
fn table<R: Row>(kind: ArtifactKind, rows: &[R]) -> [(&'static str, Vec<u8>); 2] {
    let path = delt_fuzz::file("seed", b"");
    let mut writer = TableWriter::<R>::create(&path, &provenance(kind)).unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    writer.finish().unwrap();
    let packed = std::fs::read(&path).unwrap();
    let metadata = KeyValue::new("delt".to_owned(), provenance(kind).to_metadata());
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![metadata])).build();
    let batch = R::to_batch(rows, 1);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    [("packed", packed), ("plain", writer.into_inner().unwrap())]
}

fn tables() {
    let png = picture().encode_png().unwrap();
    let image = |id: u64| ImageRow {
        bytes: png.clone(),
        path: "a.png".to_owned(),
        label: id as u32 % 10,
        image_id: id,
    };
    let images = table(ArtifactKind::Dataset, &[0, 1, 2].map(image));
    for (name, bytes) in &images {
        seed("images", name, bytes);
    }
    let score = |id| ScoreRow { image_id: id, label: 1, probability: 0.5, loss: 0.7, rank: id as u32 };
    let initial = InitialRow { png: png.clone(), label: 1, slot: 0, image_id: 3, probability: 0.5 };
    let synthetic = SyntheticRow { png, label: 1, iterations: 40, ..SyntheticRow::default() };
    let trace = |iteration| TraceRow { batch: 0, iteration, lr: 0.1, ce: 2.0, bn: 1.0 };
    let history = HistoryRow { seed: 0, epoch: 0, lr: 0.1, loss: 2.0, top1: Some(50.0), top5: None };
    let all = [
        ("scores", table(ArtifactKind::Scores, &[0, 1, 2].map(score))),
        ("images", images),
        ("initial", table(ArtifactKind::Initial, &[initial])),
        ("synthetic", table(ArtifactKind::Synthetic, &[synthetic])),
        ("trace", table(ArtifactKind::Synthetic, &[0, 1].map(trace))),
        ("history", table(ArtifactKind::Evaluation, &[history])),
    ];
    for (content, files) in all {
        for (name, bytes) in files {
            seed("tables", &format!("{content}-{name}"), &bytes);
        }
    }
    seed("rankings", "csv", b"image_id,label,probability,loss,rank\n0,0,0.5,0.7,0\n");
}

/// Lists inside rows, in both layouts of stored views.
fn labels() {
    let mix = |id: u32| match id {
        0 => Mix::None,
        1 => Mix::Mixup { partner: 0, lambda: 0.5 },
        _ => Mix::Cutmix { partner: 0, lambda: 0.5, top: 1, left: 1, bottom: 4, right: 4 },
    };
    let op = AugmentOp {
        op: "Rotate".parse().unwrap(),
        argument: 9.0,
        interpolation: "bilinear".parse().unwrap(),
    };
    let view = |epoch: u32, image_id: u32| ViewRow {
        epoch,
        batch: image_id / 2,
        position: image_id % 2,
        image_id,
        patch_order: Vec::new(),
        randaugment: vec![op; image_id as usize],
        crop: CropBox { top: 0, left: 1, height: 6, width: 7 },
        flip: image_id == 1,
        mix: mix(image_id % 3),
        logits: (0..10_u8).map(|class| f16::from_f32(f32::from(class))).collect(),
    };
    let epoch = |epoch: u32| (0..4).map(|id| view(epoch, id)).collect::<Vec<_>>();
    for (name, bytes) in table(ArtifactKind::Labels, &epoch(0)) {
        seed("tables", &format!("labels-{name}"), &bytes);
    }
    let path = delt_fuzz::file("seed", b"");
    let packing = LabelPacking { keep: Keep::TopK(2), bits: 8 };
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), Some(packing)).unwrap();
    for number in 0..2 {
        let mut rows = epoch(number);
        rows.iter_mut().for_each(|row| row.patch_order = vec![3, 1, 0, 2]);
        writer.write_epoch(&rows).unwrap();
    }
    writer.finish().unwrap();
    seed("tables", "labels-top-k", &std::fs::read(&path).unwrap());
}

fn weights() {
    seed("pth", "legacy", &of_workspace("crates/guard/tests/legacy.pth"));
    seed("pth", "zip", &of_workspace("tests/golden/conv3_w16.weights.pth"));
    seed("pth", "plain", b"\x80\x02}q\0X\x05\0\0\0epochq\x01K\x03s.");
    seed("safetensors", "kl_t20", &of_workspace("tests/golden/kl_t20.safetensors"));
    let path = delt_fuzz::file("seed", b"");
    let tensor = |name: &str, values| NamedTensor { name: name.to_owned(), shape: vec![2], values };
    let tensors = [
        tensor("state_dict.module.w", TensorValues::F32(vec![0.5, 1.0])),
        tensor("state_dict.module.n", TensorValues::I64(vec![1, 2])),
    ];
    write_safetensors(&path, &tensors, None).unwrap();
    seed("safetensors", "nested", &std::fs::read(&path).unwrap());
}

fn pictures() {
    seed("image", "rgb.png", &picture().encode_png().unwrap());
    for (name, color, bytes) in [("gray.png", Color::L8, 64), ("alpha16.png", Color::Rgba16, 512)] {
        let mut png = Vec::new();
        let pixels: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        image::codecs::png::PngEncoder::new(&mut png).write_image(&pixels, 8, 8, color).unwrap();
        seed("image", name, &png);
    }
    for (name, color, bytes) in [("rgb.jpg", Color::Rgb8, 192), ("gray.jpg", Color::L8, 64)] {
        let mut jpeg = Vec::new();
        let pixels: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).write_image(&pixels, 8, 8, color).unwrap();
        seed("image", name, &jpeg);
    }
}

fn pipelines() {
    for name in ["demo", "cifar100-ipc10", "trashnet-ipc10", "imagenet1k-ipc10"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../pipelines/{name}.yaml"));
        let whole = serde_json::to_string(&yaml::load(&path).unwrap()).unwrap();
        let settings = "select.ipc=5\nrelabel.mix={kind: mixup, alpha: 0.8}\nevaluate.lr=null";
        seed("pipeline", name, format!("{whole}\n===\n{settings}").as_bytes());
    }
}
