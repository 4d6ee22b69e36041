//! Weights to PyTorch and back: torchvision loads ours strictly and computes the same logits, and what PyTorch then saves is
//! imported again, as old files are and under names of other code.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use delt_formats::{Architecture, Conv1Start, NamedTensor, Norm, Stem, TensorValues};
use delt_interchange::pth::{self, Tensor as Saved, Value};
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::teacher::{ClassOrder, Import};
use teacher_train::import;

use crate::export::python;

const CLASSES: usize = 10;
const SIZE: usize = 64;

/// Loads NAME.pth into torchvision's network of that name, where there is one, and prints what it makes of an image. Saves
/// NAME.th as scripts of before PyTorch 1.6 did from a GPU, and NAME-other.pt with numbers in the place of names.
const SCRIPT: &str = r#"
import sys, torch, torchvision
folder = sys.argv[1]
for name in sys.argv[2:]:
    state = torch.load(f"{folder}/{name}.pth", weights_only=True)
    if hasattr(torchvision.models, name):
        model = getattr(torchvision.models, name)(num_classes=10).eval()
        model.load_state_dict(state, strict=True)
        state = model.state_dict()
        with torch.no_grad():
            print(name, *model(torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))[0].tolist())
    wrapped = {"epoch": 7, "best_prec1": torch.tensor(91.78), "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(wrapped, f"{folder}/{name}.th", _use_new_zipfile_serialization=False)
    content = open(f"{folder}/{name}.th", "rb").read()
    assert b"X\x03\0\0\0cpu" in content
    open(f"{folder}/{name}.th", "wb").write(content.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"))
    other = {f"backbone.{i}.{k.split('.')[-1]}": v for i, (k, v) in enumerate(state.items())}
    torch.save({"model": other, "optimizer": {"state": {0: torch.ones(3)}}}, f"{folder}/{name}-other.pt")
"#;

/// File and network; the names of torchvision's are theirs.
fn networks() -> Vec<(&'static str, Architecture)> {
    vec![
        ("resnet18", Architecture::resnet18(Stem::Standard)),
        ("resnet50", Architecture::Resnet50 { stem: Stem::Standard, conv1_start: Conv1Start::Kaiming }),
        ("densenet121", Architecture::Densenet121 {}),
        ("mobilenet_v2", Architecture::MobilenetV2 {}),
        ("shufflenet_v2_x0_5", Architecture::ShufflenetV2X05 {}),
        ("efficientnet_b0", Architecture::EfficientnetB0 {}),
        ("mnasnet1_3", Architecture::Mnasnet13 { bn_momentum: Default::default() }),
        ("resnet20_cifar", Architecture::Resnet20Cifar {}),
        ("wrn_16_2", Architecture::Wrn16x2 {}),
        ("dc_vgg11_bn", Architecture::DcVgg11 { norm: Norm::Batch }),
    ]
}

fn save(path: &Path, tensors: &[NamedTensor]) {
    let members = tensors.iter().map(|NamedTensor { name, shape, values }| {
        let tensor = match values {
            TensorValues::F32(values) => Saved::f32(shape.clone(), values),
            TensorValues::I64(values) => Saved::i64(shape.clone(), values),
        };
        (name.clone(), Value::Tensor(tensor))
    });
    // MnasNet asks for the version
    let members = members.collect();
    pth::write(path, Value::StateDict { members, version: 2 }).unwrap();
}

/// The tensors that a file holds of a network, and what is said of them.
fn imported(path: &Path, architecture: &Architecture) -> (Vec<NamedTensor>, String) {
    let source = Import {
        path: path.to_owned(),
        classes: ClassOrder::Named("dataset".to_owned()),
        top_level_key: None,
        expected_top1: None,
        normalization: None,
    };
    let found = import::find(&source, architecture, SIZE as u32, CLASSES).unwrap();
    (weights(found.tensors), found.said.unwrap_or_default())
}

/// Without counts of batches and constants, sorted by name.
fn weights(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.retain(|tensor| matches!(tensor.values, TensorValues::F32(_)));
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

/// Logits of the image of the script.
fn logits(network: Network) -> Vec<f32> {
    let pixels = 3 * SIZE * SIZE;
    let values: Vec<f32> = (0..pixels).map(|i| -1.0 + 2.0 * i as f32 / (pixels - 1) as f32).collect();
    let image = Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape([1, 3, SIZE, SIZE]);
    FrozenNetwork::new(network, &Device::flex()).forward(image).try_into_vec_as::<f32>().unwrap()
}

#[test]
fn pytorch_takes_the_weights_of_networks_and_what_it_saves_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for (name, architecture) in networks() {
        let network = Network::initialize(&architecture, CLASSES, SIZE, 5, &Device::flex()).unwrap();
        save(&folder.path().join(format!("{name}.pth")), &network.named_tensors().unwrap());
        made.push((name, architecture, network));
    }
    let mut arguments = vec![folder.path()];
    arguments.extend(made.iter().map(|(name, ..)| Path::new(*name)));
    let Some(said) = python("torch, torchvision", SCRIPT, &arguments) else { return };
    for (name, architecture, network) in made {
        let written = weights(network.named_tensors().unwrap());
        let (old, said_of_old) = imported(&folder.path().join(format!("{name}.th")), &architecture);
        assert_eq!(old, written, "{name}");
        assert_eq!(
            said_of_old,
            "reads the tensors under `state_dict.module`, leaves out `best_prec1` (1 tensor)"
        );
        let (other, said_of_other) = imported(&folder.path().join(format!("{name}-other.pt")), &architecture);
        assert_eq!(other, written, "{name}");
        assert!(
            said_of_other.starts_with("reads the tensors under `model.backbone` by their order"),
            "{said_of_other}"
        );
        let theirs = said.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let Some(theirs) = theirs else { continue };
        let theirs: Vec<f32> = theirs.split(' ').map(|logit| logit.parse().unwrap()).collect();
        let ours = logits(network);
        let largest = theirs.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours - theirs).abs() <= 1e-4 * largest, "{name}: {ours} for {theirs}");
        }
    }
}
