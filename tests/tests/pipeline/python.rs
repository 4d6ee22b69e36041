//! Artifacts opened by the tools of the field: pyarrow and Hugging Face `datasets`, from PyPI, in a virtual environment
//! under the target folder; and PyTorch, in the environment of `make bench-torch` or that of `DELT_TORCH_PYTHON`. Without
//! Python or without its packages a test says so and is skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use delt_formats::LabelsReader;
use delt_tests::binaries::Run;
use delt_tests::workspace;

const SCRIPT: &str = r#"
import sys, json, datasets, pyarrow.parquet as pq
datasets.disable_progress_bars()
train, test, synthetic = sys.argv[1:4]
table = pq.read_table(synthetic)
assert table.num_rows == 30, table.num_rows
assert set(table.column_names) >= {"image", "label", "slot", "round", "iterations"}, table.column_names
assert "delt" in {k.decode() for k in table.schema.metadata}, table.schema.metadata
for split, path, rows in (("train", train, 400), ("test", test, 100), ("synthetic", synthetic, 30)):
    d = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=sys.argv[4])
    assert len(d) == rows, (split, len(d))
    assert isinstance(d.features["image"], datasets.Image), d.features
    assert d.features["label"].names == [str(i) for i in range(10)], d.features["label"]
    picture = d[0]["image"]
    assert picture.size == (8, 8) and picture.mode == "RGB", picture
    print(split, len(d), picture.size, d.features["label"].int2str(d[0]["label"]))
"#;

/// A Python with `datasets`, or why there is none.
pub(crate) fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-datasets");
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{} {arguments:?}: {stderr}", program.display()))
        }
    };
    if run(&python, &["-c", "import datasets, PIL"]).is_err() {
        run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()])?;
        run(&python, &["-m", "pip", "install", "--quiet", "datasets>=3,<5", "pillow"])?;
    }
    Ok(python)
}

#[test]
fn pyarrow_and_datasets_see_pictures_and_class_names() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "skipped: no Python with pyarrow and datasets: {reason}");
            return;
        }
    };
    let run = Run::new();
    run.up_to("delt-synthesize", &["--branch", "delt"]);
    let (dataset, _) = run.pointed("tiny/delt/dataset", "dataset");
    let (synthetic, _) = run.pointed("tiny/delt/synthetic", "synthetic");
    let cache = run.store().join("hf-cache");
    let output = Command::new(python)
        .arg("-c")
        .arg(SCRIPT)
        .arg(dataset.join("train.parquet"))
        .arg(dataset.join("test.parquet"))
        .arg(synthetic.join("synthetic.parquet"))
        .arg(cache)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
}

/// The function of README.md that unpacks labels.
fn unpacking() -> String {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let start = readme.find("def logits(row, classes):").unwrap();
    let end = readme[start..].find("return whole").unwrap();
    readme[start..start + end].to_owned() + "return whole\n"
}

#[test]
fn the_python_of_the_readme_unpacks_labels_as_evaluate_does() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "skipped: no Python with pyarrow: {reason}");
            return;
        }
    };
    for packing in ["{keep: {top_k: 3}, bits: 8}", "{keep: full, bits: 8}", "{keep: {top_k: 4}, bits: 16}"] {
        let run = Run::new();
        let set = format!("relabel.labels={packing}");
        run.up_to(
            "relabel",
            &[
                "--branch",
                "random",
                "--set",
                "relabel.seeds=[3407]",
                "--set",
                &set,
                "--set",
                "relabel.epochs=1",
            ],
        );
        let (labels, _) = run.pointed("tiny/random/labels-3407", "labels");
        let file = labels.join("labels.parquet");
        let script = format!(
            "import sys, numpy as np, pyarrow.parquet as pq\n{}\nfor row in pq.read_table(sys.argv[1]).to_pylist():\n    \
             print(*logits(row, 10))\n",
            unpacking()
        );
        let output = Command::new(&python).arg("-c").arg(script).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let rows = LabelsReader::open(&file).unwrap().epoch(0).unwrap();
        assert_eq!(said.lines().count(), rows.len());
        for (line, row) in said.lines().zip(rows) {
            let values: Vec<f32> = line.split(' ').map(|value| value.parse().unwrap()).collect();
            assert_eq!(values.len(), row.logits.len());
            for (python, ours) in values.iter().zip(&row.logits) {
                // ours are rounded to half precision
                assert!(
                    (python - ours.to_f32()).abs() <= 1e-3 * (1.0 + python.abs()),
                    "{packing}: {python}, {ours}"
                );
            }
        }
    }
}

/// Follows the example of docs/artifacts.md: the teacher looks at the views that it built, and must say what is stored.
const TEACHER: &str = r#"
content = (teacher_folder / "weights.safetensors").read_bytes()
start = 8 + int.from_bytes(content[:8], "little")
header = json.loads(content[8:start])

def tensor(name):
    begin, end = header[name]["data_offsets"]
    return torch.frombuffer(bytearray(content[start + begin:start + end]), dtype=torch.float32).view(header[name]["shape"])

def answer(values):
    for block in range(facts["architecture"]["depth"]):
        conv, norm = f"layers.conv.{block}.", f"layers.norm.{block}."
        values = F.conv2d(values, tensor(conv + "weight"), tensor(conv + "bias"), padding=1)
        statistics = (tensor(norm + name) for name in ("running_mean", "running_var", "weight", "bias"))
        values = F.avg_pool2d(F.relu(F.batch_norm(values, *statistics)), 2)
    return F.linear(values.flatten(1), tensor("classifier.weight"), tensor("classifier.bias"))

for epoch in range(table.num_row_groups):
    for views, soft in batches(epoch):
        for row in torch.stack([answer(views), soft], 2).flatten(0, 1).tolist():
            print(*row)
"#;

/// The Python of docs/artifacts.md.
fn documented() -> String {
    let page = std::fs::read_to_string(workspace().join("docs/artifacts.md")).unwrap();
    let blocks: Vec<&str> = page.split("```python\n").skip(1).collect();
    assert_eq!(blocks.len(), 1, "docs/artifacts.md has one example");
    blocks[0].split_once("```\n").unwrap().0.to_owned()
}

/// A Python with PyTorch, Pillow and pyarrow, or why there is none.
pub(crate) fn torch_python() -> Result<PathBuf, String> {
    let made = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("torch-venv").join("bin/python");
    let python = std::env::var_os("DELT_TORCH_PYTHON").map_or_else(made, PathBuf::from);
    let output = Command::new(&python)
        .args(["-c", "import torch, PIL, pyarrow"])
        .output()
        .map_err(|e| format!("{}: {e}; `make bench-torch` makes one", python.display()))?;
    if output.status.success() {
        Ok(python)
    } else {
        Err(format!("{}: {}", python.display(), String::from_utf8_lossy(&output.stderr)))
    }
}

#[test]
fn the_python_of_the_documentation_builds_the_views_that_the_teacher_labeled_and_trains_on_them() {
    let python = match torch_python() {
        Ok(python) => python,
        Err(reason) => {
            let _ =
                writeln!(std::io::stderr(), "skipped: no Python with PyTorch, Pillow and pyarrow: {reason}");
            return;
        }
    };
    let run = Run::new();
    let mut arguments = vec!["--branch", "delt", "--set", "relabel.seeds=[3407]"];
    run.up_to("relabel", &arguments);
    check_documented(&python, &run);
    // everything else that a view can be made of, in the other layout
    for set in [
        "relabel.randaugment={magnitude: 5, layers: 4, std: 1.0}",
        "relabel.shuffle_patches=2",
        "relabel.flip=true",
        "relabel.mix={kind: mixup, alpha: 1.0}",
    ] {
        arguments.extend(["--set", set]);
    }
    run.stage("relabel", &arguments);
    check_documented(&python, &run);
}

/// Three epochs of thirty images; the example trains on the first.
fn check_documented(python: &Path, run: &Run) {
    let output = Command::new(python)
        .arg("-c")
        .arg(documented() + TEACHER)
        .arg(run.store())
        .args(["tiny/delt", "3407"])
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (first, logits) = said.split_once('\n').unwrap();
    let loss = first.strip_prefix("30 views of 30 images, mean loss ").expect(first);
    let loss: f64 = loss.parse().unwrap();
    assert!(loss.is_finite() && loss > 0.0, "{first}");
    assert_eq!(logits.lines().count(), 3 * 30 * 10);
    for line in logits.lines() {
        let (python, stored) = line.split_once(' ').unwrap();
        let (python, stored): (f64, f64) = (python.parse().unwrap(), stored.parse().unwrap());
        // half a step of half precision, and what rounding in the network may add
        let allowed = stored.abs() / 2048.0 + 1e-4;
        assert!((python - stored).abs() <= allowed, "logit {python} of the view in Python, stored {stored}");
    }
}
