//! What DD-Ranking gets: its configuration and the teacher are opened as it opens them, and data sets that it lacks are refused.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::export::{Scene, python};

#[test]
fn classes_that_ddranking_does_not_have_are_refused_as_soon_as_they_are_read() {
    let scene = Scene::up_to("delt-synthesize", &["--branch", "random"]);
    let (pictures, _) = scene.export("pictures", "imagefolder", &["--branch", "random"]);
    let source = format!(
        "ingest.source={{kind: image_folder, path: '{}', test_fraction: 0.34, split_seed: 0}}",
        pictures.display()
    );
    let settings = ["--branch", "random", "--set", &source, "--set", "teacher.network.width=128"];
    let settings =
        [&settings[..], &["--set", "teacher.size=32", "--set", "evaluate.student.width=128"]].concat();
    let asked = [&settings[..], &["--dry-run", "--format", "ddranking", "--output", "never"]].concat();
    let unread = String::from_utf8(scene.run.output("export", &asked).stdout).unwrap();
    assert!(unread.contains("would be written"), "{unread}");
    scene.run.stage("ingest", &settings);
    let output = scene.run.output("export", &asked);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && said.contains("found 10 classes, the first `00000`"),
        "{said}"
    );
}

/// CIFAR-10's archive, made small: for each class so many images of one color each.
fn small_cifar10(folder: &Path, per_class: u8) -> String {
    let names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let records = |images: u8| -> Vec<u8> {
        let image = |class: u8, image: u8| {
            [vec![class], vec![class * 25; 1024], vec![image * 20; 1024], vec![200 - class * 20; 1024]]
                .concat()
        };
        (0..images).flat_map(|i| (0..10).flat_map(move |class| image(class, i))).collect()
    };
    let mut members = vec![("batches.meta.txt".to_owned(), names.join("\n").into_bytes())];
    members.extend((1..=5).map(|batch| (format!("data_batch_{batch}.bin"), records(per_class / 5))));
    members.push(("test_batch.bin".to_owned(), records(2)));
    let path = folder.join("cifar-10-binary.tar.gz");
    let file = std::fs::File::create(&path).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    let sum: String =
        Sha256::digest(std::fs::read(&path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ingest.source={{kind: cifar10, path: '{}', sha256: '{sum}'}}", path.display())
}

/// The ConvNet of DD-Ranking (that of DC) takes the teacher's weights, and what its `Config` reads of the YAML is there.
const DDRANKING: &str = r#"
import sys, os, yaml, torch, torchvision
from torch import nn
os.chdir(sys.argv[1])
config = yaml.safe_load(open("ddranking.yaml"))
assert config["dataset"] == "CIFAR10" and config["model_name"] == "ConvNet-2-BN", config
layers, channels = [], 3
for block in range(2):
    layers += [nn.Conv2d(channels, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.AvgPool2d(2)]
    channels = 128
model = nn.Module()
model.features, model.classifier = nn.Sequential(*layers), nn.Linear(128 * 8 * 8, 10)
[name] = config["teacher_model_names"]
path = os.path.join(config["teacher_dir"], config["dataset"], name, "ckpt_best.pt")
print(model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)))
for section in ("custom_train_trans", "custom_val_trans"):
    steps = [getattr(torchvision.transforms, step["name"])(**step["args"]) for step in config[section]]
images = torchvision.datasets.ImageFolder("images", transform=torchvision.transforms.Compose(steps))
print(len(images), images[0][0].shape)
"#;

#[test]
fn ddranking_finds_its_configuration_and_builds_the_teacher() {
    let work = tempfile::tempdir().unwrap();
    let settings = [
        small_cifar10(work.path(), 10),
        "ingest.max_train_per_class=null".to_owned(),
        "teacher.size=32".to_owned(),
        "teacher.network.width=128".to_owned(),
        "evaluate.student.width=128".to_owned(),
        "teacher.train.epochs=1".to_owned(),
        "synthesize.max_iterations=4".to_owned(),
        "synthesize.round_iterations=2".to_owned(),
    ];
    let mut arguments = vec!["--branch", "delt"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let scene = Scene::up_to("delt-synthesize", &arguments);
    let (folder, said) = scene.export("out", "ddranking", &arguments);
    assert!(
        said.contains("note: DD-Ranking knows no accuracy of CIFAR10-ConvNet-2-BN on all real images"),
        "{said}"
    );
    let Some(said) = python("torchvision, yaml", DDRANKING, &[&folder]) else { return };
    assert_eq!(said, "<All keys matched successfully>\n30 torch.Size([3, 32, 32])\n");
}
