//! Artifacts opened by the tools of the field: pyarrow and Hugging Face `datasets`, from PyPI, in a virtual environment
//! under the target folder. Without Python or without its packages a test says so and is skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use delt_tests::binaries::Run;

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

/// A Python with `datasets` and pytest, or why there is none.
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
    if run(&python, &["-c", "import datasets, PIL, pytest"]).is_err() {
        run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()])?;
        run(&python, &["-m", "pip", "install", "--quiet", "datasets>=3,<5", "pillow", "pytest"])?;
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
