//! Networks and curves taken elsewhere: torchvision loads the teacher, TensorBoard reads the event files.

use std::path::Path;

use delt_formats::history::HistoryReader;
use delt_interchange::EventWriter;
use serde_json::Value;

use crate::export::{Scene, python};

/// The teacher as torchvision has it, strictly, and the share of test images that it knows, percent.
const TEACHER: &str = r#"
import sys, json, io, torch, torchvision, pyarrow.parquet as pq
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor
folder, test = sys.argv[1:3]
about = json.load(open(f"{folder}/teacher.json"))
scope = {"torch": torch, "torchvision": torchvision}
exec(about["python"], scope)
model, state = scope["model"].eval(), torch.load(f"{folder}/teacher.pth", weights_only=True)
print(model.load_state_dict(state, strict=True))
content = open(f"{folder}/teacher.safetensors", "rb").read()
start = 8 + int.from_bytes(content[:8], "little")
header = json.loads(content[8:start])
assert set(header) == set(state), "two files, two networks"
for name, tensor in state.items():
    begin, end = header[name]["data_offsets"]
    assert content[start + begin:start + end] == tensor.numpy().tobytes() and header[name]["shape"] == list(tensor.shape), name
rows, size = pq.read_table(test).to_pylist(), about["size"]
views = [to_tensor(Image.open(io.BytesIO(row["image"]["bytes"])).resize((size, size), Image.BILINEAR)) for row in rows]
with torch.no_grad():
    guesses = model(normalize(torch.stack(views), about["mean"], about["std"])).argmax(1).tolist()
print(100 * sum(guess == row["label"] for guess, row in zip(guesses, rows)) / len(rows))
"#;

#[test]
fn torchvision_loads_the_teacher_and_finds_its_accuracy() {
    let more = [
        "--branch",
        "random",
        "--set",
        "teacher.network={name: resnet18, stem: small}",
        "--set",
        "teacher.size=16",
        "--set",
        "teacher.train.epochs=2",
    ];
    let scene = Scene::up_to("teacher-train", &more);
    let (folder, said) = scene.export("teacher", "teacher", &more);
    assert!(said.contains("teacher resnet18 (small stem), top-1 "), "{said}");
    let about: Value = serde_json::from_slice(&std::fs::read(folder.join("teacher.json")).unwrap()).unwrap();
    let top1 = about["test_top1"].as_f64().unwrap();
    let (dataset, _) = scene.run.pointed("tiny/random/dataset", "dataset");
    let test = dataset.join("test.parquet");
    let Some(said) = python("torch, torchvision, pyarrow", TEACHER, &[&folder, &test]) else { return };
    let (loaded, found) = said.trim().split_once('\n').unwrap();
    assert_eq!(loaded, "<All keys matched successfully>");
    // one of the 100 images may lie on the edge
    let found: f64 = found.parse().unwrap();
    assert!((found - top1).abs() <= 1.0, "{found} for {top1}");
}

/// Scalars as TensorBoard finds them in the event files below a folder: run, tag, step, value.
const EVENTS: &str = r#"
import sys, pathlib
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
root = pathlib.Path(sys.argv[1])
for run in sorted({path.parent for path in root.rglob("*tfevents*")}):
    events = EventAccumulator(str(run)).Reload()
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            print(run.relative_to(root), tag, event.step, event.value)
"#;

#[test]
fn tensorboard_shows_teacher_recovery_and_students() {
    let more = ["--branch", "delt"];
    let scene = Scene::up_to("delt-synthesize", &more);
    let (_, said) = scene.export("before", "tensorboard", &more);
    assert!(said.contains("students: not made yet"), "{said}");
    scene.run.stage("relabel", &more);
    scene.run.stage("evaluate", &more);
    let (folder, said) = scene.export("curves", "tensorboard", &more);
    assert!(said.contains("5 runs for `tensorboard --logdir`"), "{said}");
    let (evaluation, _) = scene.run.pointed("tiny/delt/evaluation", "evaluation");
    let history = HistoryReader::open(evaluation.join("history.parquet")).unwrap();
    let rows: Vec<_> = history.rows().map(Result::unwrap).filter(|row| row.seed == 3407).collect();
    let mut expected = Vec::new();
    let mut events = EventWriter::new(&mut expected).unwrap();
    for row in &rows {
        let mut scalars = vec![("lr", row.lr as f32), ("loss", row.loss as f32)];
        scalars.extend(row.top1.map(|top1| ("top1", top1 as f32)));
        scalars.extend(row.top5.map(|top5| ("top5", top5 as f32)));
        events.scalars(u64::from(row.epoch), &scalars).unwrap();
    }
    events.finish().unwrap();
    let file = folder.join("student-3407/events.out.tfevents.0.delt");
    assert_eq!(std::fs::read(file).unwrap(), expected);

    let Some(said) = python("tensorboard", EVENTS, &[Path::new(&folder)]) else { return };
    let student = said.lines().filter(|line| line.starts_with("student-3407 loss "));
    let losses: Vec<f32> = student.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(losses, rows.iter().map(|row| row.loss as f32).collect::<Vec<_>>());
    for start in ["teacher top1 ", "recovery/batch-0000 ce ", "recovery/batch-0001 bn ", "student-4663 lr "] {
        assert!(said.lines().any(|line| line.starts_with(start)), "{start}: {said}");
    }
}
