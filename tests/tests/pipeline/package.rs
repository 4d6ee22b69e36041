//! The Python package (`python/`) over what the binaries made: views and labels equal to delt's own, pytest, the example of
//! docs/artifacts.md. With PyTorch in the environment of `make bench-torch` or that of `DELT_TORCH_PYTHON`, else without in that
//! of `python.rs`; what then cannot run says so and is skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use delt_augment::build_views;
use delt_formats::{LabelsReader, RgbImage, SyntheticReader, TeacherFacts};
use delt_tests::binaries::{Run, program};
use delt_tests::workspace;

use super::python::python;

/// A Python with PyTorch, torchvision, Pillow, pyarrow and pytest, or why there is none.
pub(crate) fn torch_python() -> Result<PathBuf, String> {
    let made = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("torch-venv").join("bin/python");
    let python = std::env::var_os("DELT_TORCH_PYTHON").map_or_else(made, PathBuf::from);
    let output = Command::new(&python)
        .args(["-c", "import torch, torchvision, PIL, pyarrow, pytest"])
        .output()
        .map_err(|e| format!("{}: {e}; `make torch-venv` makes one", python.display()))?;
    if output.status.success() {
        Ok(python)
    } else {
        Err(format!("{}: {}", python.display(), String::from_utf8_lossy(&output.stderr)))
    }
}

/// A Python that sees the package, with PyTorch where there is one; `None`, with the reason printed, where there is none at all.
fn package() -> Option<Command> {
    let python = torch_python().or_else(|_| python());
    let python =
        python.inspect_err(|reason| skipped(&format!("no Python with pyarrow and pytest: {reason}"))).ok()?;
    Some(of_package(&python))
}

fn of_package(python: &Path) -> Command {
    let mut command = Command::new(python);
    let binaries = program("relabel").get_program().to_owned();
    command
        .current_dir(workspace().join("python"))
        .env("PYTHONPATH", workspace().join("python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DELT_BIN", Path::new(&binaries).parent().unwrap())
        .env("OMP_NUM_THREADS", "1");
    command
}

fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// What a command says; it must succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn the_tests_of_the_package_pass() {
    let Some(mut python) = package() else { return };
    let said = said(python.args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests"]));
    // pytest's reasons, in the form in which continuous integration counts them
    said.lines().filter(|line| line.starts_with("SKIPPED")).for_each(skipped);
    assert!(said.contains(" passed"), "{said}");
}

/// Writes views of all batches as they lie in memory, then the logits.
const DUMP: &str = r#"
import sys, delt
views = delt.StoredViews(delt.open(sys.argv[1])["tiny/delt"])
batches = [views.arrays(at) for at in range(len(views))]
for name in ("views", "logits"):
    with open(f"{sys.argv[2]}/{name}", "wb") as file:
        for batch in batches:
            file.write(getattr(batch, name).astype("<f4").tobytes())
"#;

/// Views and logits of the labels of a run's only seed: delt's, then the package's.
fn both(mut python: Command, run: &Run) -> [[Vec<f32>; 2]; 2] {
    let (_, teacher) = run.pointed("tiny/delt/teacher", "teacher");
    let facts: TeacherFacts = teacher.facts_as().unwrap();
    let (synthetic, _) = run.pointed("tiny/delt/synthetic", "synthetic");
    let reader = SyntheticReader::open(synthetic.join("synthetic.parquet")).unwrap();
    let images: Vec<RgbImage> =
        reader.rows().map(|row| RgbImage::decode(&row.unwrap().png).unwrap()).collect();
    let (labels, _) = run.pointed("tiny/delt/labels-3407", "labels");
    let labels = LabelsReader::open(labels.join("labels.parquet")).unwrap();
    let (mut views, mut logits) = (Vec::new(), Vec::new());
    for epoch in labels.epochs() {
        let rows = labels.epoch(epoch).unwrap();
        for batch in rows.chunk_by(|a, b| a.batch == b.batch) {
            views.extend(build_views(&images, batch, facts.size, &facts.normalization).unwrap());
        }
        logits.extend(rows.iter().flat_map(|row| &row.logits).map(|logit| logit.to_f32()));
    }
    let folder = tempfile::tempdir().unwrap();
    said(python.args(["-c", DUMP]).arg(run.store()).arg(folder.path()));
    let read = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    [[views, logits], [read("views"), read("logits")]]
}

#[test]
fn views_and_labels_of_the_package_are_those_of_delt_to_the_bit() {
    let run = Run::new();
    let mut arguments = vec!["--branch", "delt", "--set", "relabel.seeds=[3407]"];
    run.up_to("delt-synthesize", &arguments);
    // every way to mix, to shuffle and to pack
    for more in [
        &[][..],
        &["relabel.flip=true", "relabel.mix={kind: mixup, alpha: 1.0}", "relabel.labels.keep={top_k: 3}"],
        &["relabel.shuffle_patches=2", "relabel.min_crop_scale=0.1", "relabel.labels.bits=8"],
    ] {
        arguments.extend(more.iter().flat_map(|set| ["--set", set]));
        run.stage("relabel", &arguments);
        let Some(python) = package() else { return };
        let [ours, theirs] = both(python, &run);
        assert_eq!(ours[0].len(), 3 * 30 * 3 * 8 * 8);
        assert!(ours == theirs, "other views or labels with {arguments:?}");
    }
}

#[test]
fn views_of_the_package_with_randaugment_are_those_of_delt_but_for_single_pixels() {
    let Some(python) = package() else { return };
    let run = Run::new();
    let mut arguments = vec!["--branch", "delt", "--set", "relabel.seeds=[3407]"];
    arguments.extend(["--set", "relabel.randaugment={magnitude: 5, layers: 4, std: 1.0}"]);
    run.up_to("relabel", &arguments);
    let [[ours, _], [theirs, _]] = both(python, &run);
    let other = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
    assert!(other <= ours.len() / 5000, "{other} of {} values differ", ours.len());
}

/// The Python of docs/artifacts.md.
fn documented() -> String {
    let page = std::fs::read_to_string(workspace().join("docs/artifacts.md")).unwrap();
    let blocks: Vec<&str> = page.split("```python\n").skip(1).collect();
    assert_eq!(blocks.len(), 1, "docs/artifacts.md has one example");
    blocks[0].split_once("```\n").unwrap().0.to_owned()
}

#[test]
fn the_example_of_the_documentation_trains_on_stored_views() {
    let python = match torch_python() {
        Ok(python) => python,
        Err(reason) => return skipped(&format!("no Python with PyTorch, torchvision and pytest: {reason}")),
    };
    let run = Run::new();
    run.up_to("relabel", &["--branch", "delt", "--set", "relabel.seeds=[3407]"]);
    let mut command = of_package(&python);
    let said = said(command.arg("-c").arg(documented()).arg(run.store()).args(["tiny/delt", "3407"]));
    let loss = said.trim().strip_prefix("30 views of 30 images, mean loss ").expect(&said);
    assert!(loss.parse::<f64>().unwrap() > 0.0, "{said}");
}
