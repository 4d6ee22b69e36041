//! Results taken elsewhere: every format is opened by a reader that is not ours. Without Python or its packages a test says so and
//! checks the rest.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use delt_formats::{SyntheticReader, SyntheticRow};
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

/// Labels and pixels as torchvision finds them, one image a line, with the place that the store has it at.
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
    let rows = scene.rows("delt");
    for row in &rows {
        let file = folder.join(format!("{:05}/{:05}.png", row.label, row.slot));
        assert_eq!(std::fs::read(file).unwrap(), row.png);
    }
    let record = record(&folder);
    assert_eq!(record["files"], 31);
    assert_eq!(record["branch"], "delt");
    assert_eq!(record["image_classes"].as_object().unwrap().len(), 30);
    assert_eq!(record["recipe"]["select"]["ipc"], 3);
    let (_, manifest) = scene.run.pointed("tiny/delt/synthetic", "synthetic");
    assert_eq!(record["made_from"]["synthetic"], manifest.digest.to_string());
    assert_eq!(published(&scene.run.store(), &["synthetic", "teacher"]), before, "the store stays as it is");

    if let Some(said) = python("torchvision", IMAGE_FOLDER, &[&folder]) {
        let expected = rows.iter().map(|row| {
            let pixels = delt_formats::RgbImage::decode(&row.png).unwrap().rgb;
            let pixels: Vec<String> = pixels.iter().map(ToString::to_string).collect();
            format!("{} {}", row.label, pixels.join(" "))
        });
        assert_eq!(said.lines().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
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
    let (folder, _) = scene.export("all", "imagefolder", &[]);
    let branches = record(&folder)["branches"].clone();
    let branches: Vec<&str> =
        branches.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(branches, ["random", "delt"]);
    assert_eq!(record(&folder)["files"], 2 * 31 + 1);
    for name in branches {
        assert_eq!(record(&folder.join(name))["branch"], name);
        assert!(folder.join(name).join("00009/00002.png").exists());
    }
    scene.export("all", "imagefolder", &["--branch", "delt"]);
    assert!(folder.join("00009/00002.png").exists() && !folder.join("random").exists());
    let left = std::fs::read_dir(scene.work.path()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside the folder");
}
