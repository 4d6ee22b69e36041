//! Results taken elsewhere: every format is opened by a reader that is not ours. Without Python or its packages a test says so and
//! checks the rest.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use delt_formats::{LabelsReader, RgbImage, SyntheticReader, SyntheticRow, TeacherFacts};
use delt_tests::binaries::{Run, published};
use serde_json::Value;

use crate::package::torch_python;

/// A pipeline up to a stage, and a folder to export to.
pub(crate) struct Scene {
    pub(crate) run: Run,
    pub(crate) work: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn up_to(stage: &str, arguments: &[&str]) -> Self {
        let run = Run::new();
        run.up_to(stage, arguments);
        Self { run, work: tempfile::tempdir().unwrap() }
    }

    /// Exports to a folder of this name; the folder, and what was said.
    pub(crate) fn export(&self, name: &str, format: &str, more: &[&str]) -> (PathBuf, String) {
        let folder = self.work.path().join(name);
        let output = folder.to_str().unwrap();
        let said = self.run.stage("export", &[&["--format", format, "--output", output], more].concat());
        (folder, said)
    }

    /// Rows of the synthetic images of a branch.
    fn rows(&self, branch: &str) -> Vec<SyntheticRow> {
        let (folder, _) = self.run.pointed(&format!("tiny/{branch}/synthetic"), "synthetic");
        let reader = SyntheticReader::open(folder.join("synthetic.parquet")).unwrap();
        reader.rows().collect::<Result<_, _>>().unwrap()
    }
}

/// The record of an export.
fn record(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("delt-export.json")).unwrap()).unwrap()
}

/// Runs a script with the packages that it names; what it prints, or none, with the reason printed, without them.
pub(crate) fn python(packages: &str, script: &str, arguments: &[&Path]) -> Option<String> {
    let found = torch_python().and_then(|python| {
        let check = Command::new(&python).arg("-c").arg(format!("import {packages}")).output();
        let check = check.map_err(|error| error.to_string())?;
        let stderr = String::from_utf8_lossy(&check.stderr).into_owned();
        if check.status.success() { Ok(python) } else { Err(stderr) }
    });
    let python = match found {
        Ok(python) => python,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "skipped: no Python with {packages}: {reason}");
            return None;
        }
    };
    let mut command = Command::new(python);
    command.arg("-c").arg(script).args(arguments).env("OMP_NUM_THREADS", "1").env("HF_HUB_OFFLINE", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Label and pixels of an image, as the scripts print them.
fn shown(row: &SyntheticRow) -> String {
    let pixels = RgbImage::decode(&row.png).unwrap().rgb;
    let pixels: Vec<String> = pixels.iter().map(ToString::to_string).collect();
    format!("{} {}", row.label, pixels.join(" "))
}

/// Labels and pixels as torchvision finds them, one image a line.
const IMAGE_FOLDER: &str = r#"
import sys, torchvision
for path, label in torchvision.datasets.ImageFolder(sys.argv[1]).samples:
    image = torchvision.datasets.folder.default_loader(path)
    print(label, *image.tobytes())
"#;

#[test]
fn torchvision_opens_the_image_folder_with_our_labels_and_pixels() {
    let scene = Scene::up_to("delt-synthesize", &["--branch", "delt"]);
    let before = published(&scene.run.store(), &["synthetic", "teacher"]);
    let (folder, said) = scene.export("out", "imagefolder", &["--branch", "delt"]);
    assert!(said.contains("export: tiny/delt 30 images of 10 classes, "), "{said}");
    assert!(said.contains("note: these are images with classes: the soft labels"), "{said}");
    let rows = scene.rows("delt");
    for row in &rows {
        let file = folder.join(format!("{:05}/{:05}.png", row.label, row.slot));
        assert_eq!(std::fs::read(file).unwrap(), row.png);
    }
    let record = record(&folder);
    assert_eq!(record["files"], 31);
    assert!(record["notes"][0].as_str().unwrap().contains("FORMAT=fkd has both"), "{record}");
    assert_eq!(record["branch"], "delt");
    assert_eq!(record["image_classes"].as_object().unwrap().len(), 30);
    assert_eq!(record["recipe"]["select"]["ipc"], 3);
    let (_, manifest) = scene.run.pointed("tiny/delt/synthetic", "synthetic");
    assert_eq!(record["made_from"]["synthetic"], manifest.digest.to_string());
    assert_eq!(published(&scene.run.store(), &["synthetic", "teacher"]), before, "the store stays as it is");

    if let Some(said) = python("torchvision", IMAGE_FOLDER, &[&folder]) {
        assert_eq!(said.lines().collect::<Vec<_>>(), rows.iter().map(shown).collect::<Vec<_>>());
    }
}

#[test]
fn folders_of_class_names_state_the_labels_that_torchvision_gives_them() {
    let order = "ingest.classes=[\"7\", \"3\", \"5\"]";
    let arguments = ["--branch", "delt", "--set", order];
    let scene = Scene::up_to("delt-synthesize", &arguments);
    let (folder, said) = scene.export("out", "imagefolder-names", &arguments);
    let record = record(&folder);
    let classes: Vec<&str> =
        record["classes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(record["folders"], record["classes"]);
    let mut sorted = classes.clone();
    sorted.sort_unstable();
    let labels: Vec<usize> =
        classes.iter().map(|name| sorted.iter().position(|other| other == name).unwrap()).collect();
    assert_eq!(record["imagefolder_labels"], serde_json::json!(labels));
    assert_eq!(said.contains("not in our order"), classes != sorted, "{said}");
    let script = "import sys, torchvision\nprint(*torchvision.datasets.ImageFolder(sys.argv[1]).classes)";
    if let Some(said) = python("torchvision", script, &[&folder]) {
        assert_eq!(said.trim(), sorted.join(" "));
    }
}

#[test]
fn several_branches_go_into_folders_of_their_own_and_an_export_is_replaced_whole() {
    let scene = Scene::up_to("delt-synthesize", &[]);
    let (folder, said) = scene.export("all", "imagefolder", &[]);
    let closing = format!("open a branch by its own folder: {0}/random, {0}/delt\n", folder.display());
    assert!(said.ends_with(&closing), "{said}");
    let branches = record(&folder)["branches"].clone();
    let branches: Vec<&str> =
        branches.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(branches, ["random", "delt"]);
    assert_eq!(record(&folder)["files"], 2 * 31 + 1);
    for name in branches {
        assert_eq!(record(&folder.join(name))["branch"], name);
        assert!(folder.join(name).join("00009/00002.png").exists());
    }
    let (real, said) = scene.export("real", "huggingface", &["--branch", "random"]);
    assert!(std::fs::read_to_string(real.join("README.md")).unwrap().contains("30 real images, selected"));
    assert!(said.contains("note: these are real images of the source"), "{said}");
    std::fs::remove_dir_all(real).unwrap();
    scene.export("all", "imagefolder", &["--branch", "delt"]);
    assert!(folder.join("00009/00002.png").exists() && !folder.join("random").exists());
    let left = std::fs::read_dir(scene.work.path()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside the folder");
}

/// Images and labels as `datasets` finds them.
const DATASETS: &str = r#"
import sys, datasets
datasets.disable_progress_bars()
images = datasets.load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
print(*images.features["label"].names)
for row in images:
    print(row["label"], *row["image"].tobytes())
"#;

/// What `datasets` says of a folder of several branches, then the number of images of each of its configurations.
const CONFIGURATIONS: &str = r#"
import sys, datasets
datasets.disable_progress_bars()
try:
    datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
except ValueError as error:
    print(str(error).splitlines()[0])
for name in datasets.get_dataset_config_names(sys.argv[1]):
    images = datasets.load_dataset(sys.argv[1], name, split="train", cache_dir=sys.argv[2])
    print(name, len(images), len(images.features["label"].names))
"#;

#[test]
fn datasets_opens_each_of_several_branches_by_its_name_and_not_all_as_one() {
    let scene = Scene::up_to("evaluate", &["--set", "relabel.seeds=[3407]"]);
    let (folder, _) = scene.export("out", "huggingface", &["--set", "relabel.seeds=[3407]"]);
    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for expected in
        ["license: cc-by-4.0", "pretty_name: tiny (distilled by delt)", "own folder: random, delt."]
    {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    let card = std::fs::read_to_string(folder.join("delt/README.md")).unwrap();
    let accuracy = card.lines().find(|line| line.starts_with("| after the last epoch")).unwrap();
    assert!(accuracy.ends_with(" |  | 1 |"), "one student has no standard deviation: {accuracy}");
    let cache = scene.work.path().join("cache");
    let Some(said) = python("datasets", CONFIGURATIONS, &[&folder, &cache]) else { return };
    let [asked, random, delt] = said.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(asked.starts_with("Config name is missing"), "{asked}");
    assert_eq!([random, delt], ["random 30 10", "delt 30 10"]);
}

#[test]
fn datasets_opens_the_folder_with_class_names_and_the_card_says_what_it_is() {
    let arguments = ["--branch", "delt"];
    let scene = Scene::up_to("evaluate", &arguments);
    let (folder, said) = scene.export("out", "huggingface", &arguments);
    assert!(said.contains("note: these are images with classes: the soft labels"), "{said}");
    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let (evaluation, _) = scene.run.pointed("tiny/delt/evaluation", "evaluation");
    let summary = delt_formats::Summary::read(evaluation.join("summary.json")).unwrap();
    let accuracy =
        format!("| after the last epoch | {:.2} | {:.2} | 2 |", summary.last_mean, summary.last_std);
    for expected in [
        "license: cc-by-4.0",
        "- n<1K",
        "num_examples: 30",
        "@inproceedings{delt,",
        "Shen, Zhiqiang",
        "- evaluation: 2 of 2 students are no better than guessing",
        &accuracy,
    ] {
        assert!(card.contains(expected), "{expected}: {card}");
    }
    assert!(card.contains("30 distilled images, of 10 classes"), "{card}");
    let Some(said) = python("datasets", DATASETS, &[&folder, &scene.work.path().join("cache")]) else {
        return;
    };
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("0 1 2 3 4 5 6 7 8 9"));
    assert_eq!(lines.collect::<Vec<_>>(), scene.rows("delt").iter().map(shown).collect::<Vec<_>>());
}

/// Prints the images that the file's own line of Python gives back, and what else it holds.
const TORCH: &str = r#"
import sys, json, torch
d = torch.load(sys.argv[1] + "/synthetic.pt", weights_only=True)
assert d["images"].dtype == torch.float32 and d["labels"].dtype == torch.int64
pixels = eval(json.load(open(sys.argv[1] + "/delt-export.json"))["invert"])
for label, image in zip(d["labels"].tolist(), pixels):
    print(label, *image.permute(1, 2, 0).flatten().tolist())
print(*d["classes"])
print(*d["mean"].tolist(), *d["std"].tolist())
if "soft_labels" in d:
    for row in d["soft_labels"]:
        print(*row.tolist())
"#;

#[test]
fn torch_loads_the_tensors_and_their_line_of_python_gives_the_images_back() {
    // views that are the images themselves: then their logits are labels of the images
    let plain = [
        "relabel.min_crop_scale=1",
        "relabel.flip=false",
        "relabel.randaugment=null",
        "relabel.mix={kind: none}",
    ];
    let plain: Vec<&str> = plain.iter().flat_map(|setting| ["--set", setting]).collect();
    let scene = Scene::up_to("relabel", &["--branch", "delt"]);
    let (augmented, said) = scene.export("augmented", "torch", &["--branch", "delt"]);
    assert!(said.contains("note: no soft labels: those in the store are of augmented views"), "{said}");
    let plain = [&["--branch", "delt"][..], &plain].concat();
    scene.run.stage("relabel", &plain);
    let (folder, _) = scene.export("plain", "torch", &plain);
    let Some(said) = python("torch", TORCH, &[&augmented]) else { return };
    let rows = scene.rows("delt");
    let images: Vec<String> = rows.iter().map(shown).collect();
    assert_eq!(said.lines().take(30).collect::<Vec<_>>(), images);
    assert_eq!(said.lines().count(), 32);
    let said = python("torch", TORCH, &[&folder]).unwrap();
    let mut lines = said.lines().skip(30);
    assert_eq!(lines.next(), Some("0 1 2 3 4 5 6 7 8 9"));
    let (_, teacher) = scene.run.pointed("tiny/delt/teacher", "teacher");
    let normalization = teacher.facts_as::<TeacherFacts>().unwrap().normalization;
    let expected = [normalization.mean, normalization.std].concat();
    assert_eq!(floats(lines.next().unwrap()), expected);
    let (labels, _) = scene.run.pointed("tiny/delt/labels-3407", "labels");
    let mut views = LabelsReader::open(labels.join("labels.parquet")).unwrap().epoch(0).unwrap();
    views.sort_by_key(|view| view.image_id);
    let logits = views.iter().map(|view| view.logits.iter().map(|logit| logit.to_f32()).collect::<Vec<_>>());
    assert_eq!(lines.map(floats).collect::<Vec<_>>(), logits.collect::<Vec<_>>());
}

fn floats(line: &str) -> Vec<f32> {
    line.split(' ').map(|value| value.parse().unwrap()).collect()
}

#[test]
fn what_was_exported_comes_back_under_the_names_of_its_classes() {
    let three = ["--branch", "random", "--set", r#"ingest.classes=["3", "5", "7"]"#];
    let scene = Scene::up_to("delt-synthesize", &three);
    let pixels = |row: &SyntheticRow| RgbImage::decode(&row.png).unwrap().rgb;
    let named = |row: &SyntheticRow| (["3", "5", "7"][row.label as usize].parse().unwrap(), pixels(row));
    let expected: Vec<(u32, Vec<u8>)> = scene.rows("random").iter().map(named).collect();
    // a teacher of all ten digits, to which 0, 1 and 2 are others
    let run = Run::new();
    run.up_to("teacher-train", &["--branch", "random"]);
    let all = Scene { run, work: tempfile::tempdir().unwrap() };
    for format in ["torch", "imagefolder"] {
        let (folder, _) = scene.export(format, format, &three);
        let import = format!("synthesize.import={}", folder.display());
        all.run.stage("delt-synthesize", &["--branch", "random", "--set", &import]);
        let found: Vec<(u32, Vec<u8>)> =
            all.rows("random").iter().map(|row| (row.label, pixels(row))).collect();
        assert!(found == expected, "{format}");
    }
}
