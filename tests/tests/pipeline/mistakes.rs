//! What users get wrong, each with the exact message and exit code: `mistakes.txt`.
//!
//! A mistake is three lines: what the user did; the command, after `$`; exit code and message. `@` stands for the folder that
//! [`scene`] fills, `HERE` in messages for the working folder; pipeline and store are those of the scene where the command names none. Where a stage said more before it
//! failed, the last line counts, and the first paragraph of what clap prints.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use delt_formats::{DatasetReader, NamedTensor, RgbImage, TensorValues, read_safetensors, write_safetensors};
use delt_tests::binaries::{Run, STAGES, program};
use delt_tests::workspace;
use flate2::write::GzEncoder;

const MISTAKES: &str = include_str!("mistakes.txt");

/// Stages that run before all mistakes, on the branch `delt`.
const MADE: [&str; 3] = ["ingest", "teacher-train", "init-select"];

#[test]
fn each_mistake_is_answered_with_its_message() {
    let folder = tempfile::tempdir().unwrap();
    scene(folder.path());
    let mut wrong = String::new();
    let mut count = 0;
    for mistake in MISTAKES.split("\n\n").filter(|mistake| !mistake.starts_with("//")) {
        let [what, command, expected] =
            mistake.trim().lines().collect::<Vec<_>>().try_into().expect("three lines");
        let command = command.strip_prefix("$ ").expect("a command");
        let found = said(folder.path(), command);
        if found != expected {
            wrong += &format!("{what}\n$ {command}\n{found}\n\n");
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "other messages than expected:\n\n{wrong}");
    assert!(count >= 60, "only {count} mistakes");
}

/// Runs a command in the scene: its exit code and the line that tells what was wrong.
fn said(folder: &Path, command: &str) -> String {
    let here = folder.display().to_string();
    let words: Vec<String> = words(command).into_iter().map(|word| word.replace('@', &here)).collect();
    let (name, arguments) = words.split_first().expect("a program");
    let mut run = program(name);
    run.args(arguments).env_remove("DATA").env_remove("DELT_STORE").env_remove("DEVICE");
    let is_stage = STAGES.contains(&name.as_str()) || ["report", "export"].contains(&name.as_str());
    let is_given = |option: &str| arguments.iter().any(|argument| argument == option);
    if is_stage && !is_given("--pipeline") {
        run.args(["--pipeline", "tests/pipelines/tiny.yaml"]);
    }
    if !is_given("--store") {
        run.args(["--store", &format!("{here}/store")]);
    }
    let output = run.output().unwrap();
    let root = workspace().canonicalize().unwrap().display().to_string();
    let stderr = String::from_utf8_lossy(&output.stderr).replace(&here, "@").replace(&root, "HERE");
    let usage = stderr.strip_prefix("error: ").and_then(|usage| usage.split("\n\n").next());
    let usage = usage.map(|usage| usage.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = usage.unwrap_or_else(|| stderr.lines().last().unwrap_or_default().to_owned());
    format!("{}: {line}", output.status.code().unwrap_or(-1))
}

/// Words of a command, as a shell splits them; single quotes keep spaces.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut is_quoted) = (vec![String::new()], false);
    for sign in command.chars() {
        match sign {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            sign => words.last_mut().expect("a word").push(sign),
        }
    }
    words
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn png(width: u32, height: u32, value: u8) -> Vec<u8> {
    RgbImage { width, height, rgb: vec![value; (width * height * 3) as usize] }.encode_png().unwrap()
}

/// Files as users have them, and a store with a teacher and initial images.
fn scene(folder: &Path) {
    let tiny = Run::of("tests/pipelines/tiny.yaml", &folder.join("store"), "flex");
    for stage in MADE {
        tiny.stage(stage, &["--branch", "delt"]);
    }
    put(folder, "notes.txt", b"some notes\n");
    put(folder, "labels.csv", b"file;label\na.png;cat\n");
    std::fs::create_dir(folder.join("empty")).unwrap();
    pipelines(folder);
    pictures(folder);
    archives(folder);
    let dataset = tiny.pointed("tiny/delt/dataset", "dataset").0.join("train.parquet");
    tables(folder, &dataset, &tiny.pointed("tiny/delt/scores", "scores").0);
    weights(folder, &tiny.pointed("tiny/delt/teacher", "teacher").0.join("weights.safetensors"));
}

fn pipelines(folder: &Path) {
    put(folder, "list.yaml", b"- select\n- relabel\n");
    put(folder, "tabs.yaml", b"select:\n\tipc: 10\n");
    put(folder, "circle.yaml", b"extends: circle.yaml\n");
    put(folder, "orphan.yaml", b"extends: gone.yaml\n");
    put(folder, "incomplete.yaml", b"description: too little\nseed: 0\n");
    put(folder, "sweeps/s.yaml", b"{description: d, pipelines: [gone]}\n");
    for (name, source) in [
        ("folder", "{kind: image_folder, path: images}"),
        ("split", "{kind: image_folder, path: images, test_fraction: 0.5, split_seed: 0}"),
        ("cifar", "{kind: cifar10, path: archive}"),
        (
            "table",
            "{kind: huggingface_parquet, path: table, image_column: image, label_column: label, test_fraction: 0.5, split_seed: 0}",
        ),
        ("tiny-imagenet", "{kind: tiny_imagenet, path: images}"),
        ("csv", "{kind: csv, path: labels.csv}"),
        ("idx", "{kind: idx, path: mnist}"),
        ("shards", "{kind: webdataset, path: shards}"),
    ] {
        let root = workspace().join("tests/pipelines/tiny.yaml").canonicalize().unwrap();
        let text = format!("extends: {}\ningest:\n  source: {source}\n", root.display());
        put(folder, &format!("{name}.yaml"), text.as_bytes());
    }
}

/// Folders of images, and images that are none.
fn pictures(folder: &Path) {
    let gray = png(8, 8, 100);
    put(folder, "flat/a.png", &gray);
    put(folder, "single/train/cat/a.png", &gray);
    put(folder, "single/val/cat/a.png", &gray);
    put(folder, "nested/photos/train/cat/a.png", &gray);
    for (tree, file, bytes) in [
        ("text", "c.png", b"no image".to_vec()),
        ("tiff", "c.png", b"II*\0\x08\0\0\0".to_vec()),
        ("pointer", "c.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec()),
        ("cut", "c.png", gray[..gray.len() - 20].to_vec()),
        ("long", "c.png", png(600, 2, 0)),
        ("bomb", "c.png", claiming(60_000, 60_000)),
        ("uniform", "c.png", gray.clone()),
    ] {
        for (class, name) in [("cat", "a.png"), ("cat", "b.png"), ("dog", "a.png"), ("dog", "b.png")] {
            put(folder, &format!("{tree}/train/{class}/{name}"), &gray);
        }
        put(folder, &format!("{tree}/train/cat/{file}"), &bytes);
        put(folder, &format!("{tree}/val/cat/a.png"), &gray);
        put(folder, &format!("{tree}/val/dog/a.png"), &gray);
    }
    put(folder, "strangers/train/cat/a.png", &gray);
    put(folder, "strangers/train/dog/a.png", &gray);
    put(folder, "strangers/val/horse/a.png", &gray);
    for split in ["fold1", "fold2"] {
        put(folder, &format!("folds/{split}/cat/a.png"), &gray);
        put(folder, &format!("folds/{split}/dog/a.png"), &gray);
        put(folder, &format!("tests/val/{split}/a.png"), &gray);
    }
    put(folder, "few/cat/a.png", &gray);
    put(folder, "few/dog/a.png", &gray);
    put(folder, "few/dog/b.png", &gray);
    for class in 0..10 {
        for image in 0..=u32::from(class == 4) {
            put(folder, &format!("theirs/new{class:03}/{image}.png"), &gray);
        }
    }
    put(folder, "theirs/data/train.parquet", b"");
    put(folder, "strange/zero/0.png", &gray);
    put(folder, "unreadable/00000/0.png", b"no image");
}

/// A gray PNG whose header claims other sides.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1, 1, 0);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut sum = flate2::Crc::new();
    sum.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    bytes
}

fn archives(folder: &Path) {
    let write = |name: &str, fill: &dyn Fn(&mut tar::Builder<GzEncoder<File>>)| {
        let file = File::create(folder.join(name)).unwrap();
        let mut archive = tar::Builder::new(GzEncoder::new(file, flate2::Compression::fast()));
        fill(&mut archive);
        archive.into_inner().unwrap().finish().unwrap();
    };
    let add = |archive: &mut tar::Builder<GzEncoder<File>>, name: &str, kind, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_entry_type(kind);
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    };
    let file = tar::EntryType::Regular;
    write("photos.tar.gz", &|archive| add(archive, "photos/cat.png", file, b"no image"));
    write("link.tar.gz", &|archive| add(archive, "c/test_batch.bin", tar::EntryType::Symlink, b""));
    write("device.tar.gz", &|archive| add(archive, "c/test_batch.bin", tar::EntryType::Char, b""));
    write("outside.tar.gz", &|archive| add(archive, "../../test_batch.bin", file, b""));
    write("absolute.tar.gz", &|archive| add(archive, "/etc/test_batch.bin", file, b""));
    write("twice.tar.gz", &|archive| (0..2).for_each(|_| add(archive, "c/test_batch.bin", file, b"")));
    write("names.tar.gz", &|archive| add(archive, "c/batches.meta.txt", file, &[b'n'; 100_000]));
    write("short.tar.gz", &|archive| {
        add(archive, "c/batches.meta.txt", file, b"cat\ndog\n");
        for member in [
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ] {
            add(archive, member, file, &[0; 3072]);
        }
    });
    let whole = std::fs::read(folder.join("short.tar.gz")).unwrap();
    put(folder, "cut.tar.gz", &whole[..whole.len() / 2]);
    put(folder, "text.tar.gz", b"<html>404 Not Found</html>\n");
}

/// Parquet files and rankings.
fn tables(folder: &Path, dataset: &Path, scores: &Path) {
    let whole = std::fs::read(dataset).unwrap();
    put(folder, "whole.parquet", &whole);
    put(folder, "cut.parquet", &whole[..whole.len() / 2]);
    put(folder, "text.parquet", b"image,label\n");
    put(folder, "empty.parquet", b"");
    put(
        folder,
        "pointer.parquet",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    );
    // found by fuzzing: data pages that refer to a dictionary which is not there made the Parquet library panic
    put(folder, "dictionary.parquet", include_bytes!("no-dictionary.parquet"));
    put(folder, "scores.parquet", &std::fs::read(scores.join("scores.parquet")).unwrap());
    let mut rows: Vec<String> =
        std::fs::read_to_string(scores.join("scores.csv")).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(rows.len() as u64, DatasetReader::open(dataset).unwrap().len() + 1);
    let mut ranking = |name: &str, line: usize, text: &str| {
        let before = std::mem::replace(&mut rows[line], text.to_owned());
        put(folder, name, (rows.join("\n") + "\n").as_bytes());
        rows[line] = before;
    };
    ranking("header.csv", 0, "id,score");
    ranking("words.csv", 3, "2,cat,0.5,0.7,0");
    ranking("twice.csv", 3, "1,1,0.5,0.7,0");
    ranking("beyond.csv", 3, "400,1,0.5,0.7,0");
    ranking("label.csv", 1, "0,9,0.5,0.7,0");
    ranking("nan.csv", 1, "0,2,NaN,0.7,0");
    put(folder, "few.csv", b"image_id,label,probability,loss,rank\n0,0,0.5,0.7,0\n");
    put(folder, "blank.csv", b"");
}

/// Weights that are none, or another network's.
fn weights(folder: &Path, teacher: &Path) {
    let (tensors, _) = read_safetensors(teacher).unwrap();
    let write =
        |name: &str, tensors: &[NamedTensor]| write_safetensors(folder.join(name), tensors, None).unwrap();
    let changed = |change: &dyn Fn(&mut NamedTensor)| {
        let mut tensors = tensors.clone();
        tensors.iter_mut().for_each(change);
        tensors
    };
    write("whole.safetensors", &tensors);
    write("nested.safetensors", &changed(&|tensor| tensor.name = tensor.name.replace("classifier", "head")));
    write(
        "five.safetensors",
        &changed(&|tensor| {
            if let (true, TensorValues::F32(values)) =
                (tensor.name.starts_with("classifier"), &mut tensor.values)
            {
                values.truncate(values.len() / 2);
                tensor.shape[0] /= 2;
            }
        }),
    );
    write(
        "nan.safetensors",
        &changed(&|tensor| {
            if let TensorValues::F32(values) = &mut tensor.values {
                values.fill(f32::NAN);
            }
        }),
    );
    let bytes = std::fs::read(teacher).unwrap();
    put(folder, "cut.safetensors", &bytes[..bytes.len() / 2]);
    let pth = std::fs::read(workspace().join("tests/golden/conv3_w16.weights.pth")).unwrap();
    put(folder, "other.pth", &pth);
    put(folder, "cut.pth", &pth[..pth.len() / 2]);
    put(folder, "text.pth", b"weights, one might think\n");
    put(folder, "names.json", b"{\"labels\": []}");
    let mut archive = zip::ZipWriter::new(File::create(folder.join("bomb.pth")).unwrap());
    archive.start_file("m/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&vec![b'N'; 5_000_000]).unwrap();
    archive.finish().unwrap();
}
