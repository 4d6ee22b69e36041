//! A `.pth` file in PyTorch's format from before 1.6, which is no zip archive: pickles one after another, then the bytes.
//!
//! `formats/tests/legacy.pth` was made by PyTorch 2.15 with
//!
//! ```python
//! from collections import OrderedDict
//! import torch
//!
//! def ramp(*shape):
//!     values = torch.arange(torch.Size(shape).numel(), dtype=torch.float32)
//!     return values.reshape(shape) / 8
//!
//! both = ramp(4) + 1
//! torch.save({"epoch": 3, "state_dict": OrderedDict([
//!     ("module.layers.conv.0.weight", ramp(2, 3, 3, 3)),
//!     ("module.layers.conv.0.bias", torch.nn.Parameter(ramp(2))),
//!     ("module.layers.norm.0.weight", both[:2]),
//!     ("module.layers.norm.0.bias", both[2:]),
//!     ("module.layers.norm.0.running_mean", ramp(2).double()),
//!     ("module.layers.norm.0.running_var", ramp(2).half() + 1),
//!     ("module.layers.norm.0.num_batches_tracked", torch.tensor(7)),
//!     ("module.classifier.weight", ramp(8, 2).t()),
//!     ("module.classifier.bias", ramp(2)),
//! ])}, "legacy.pth", _use_new_zipfile_serialization=False)
//! ```

use std::path::Path;

use burn::tensor::Device;
use delt_formats::{Architecture, NamedTensor, TensorValues};
use delt_guard::read_weights;
use delt_networks::{Network, NetworkError, checkpoint};

const ARCHITECTURE: Architecture = Architecture::convnet(1, 2);

fn read(top_level_key: Option<&str>) -> Result<Vec<NamedTensor>, NetworkError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guard/tests/legacy.pth");
    let tensors = read_weights(&path).expect("readable");
    Ok(checkpoint::find(&ARCHITECTURE, &tensors, top_level_key)?.tensors)
}

fn ramp(count: u8, first: f32) -> Vec<f32> {
    (0..count).map(|i| first + f32::from(i) / 8.0).collect()
}

/// The tensors of the script above, sorted by name.
fn expected() -> Vec<NamedTensor> {
    let float = |name: &str, shape: &[usize], values| NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: TensorValues::F32(values),
    };
    let transposed =
        (0..2).flat_map(|row| (0..8).map(move |i| (2.0 * i as f32 + row as f32) / 8.0)).collect();
    vec![
        float("classifier.bias", &[2], ramp(2, 0.0)),
        float("classifier.weight", &[2, 8], transposed),
        float("layers.conv.0.bias", &[2], ramp(2, 0.0)),
        float("layers.conv.0.weight", &[2, 3, 3, 3], ramp(54, 0.0)),
        float("layers.norm.0.bias", &[2], ramp(2, 1.25)),
        NamedTensor {
            name: "layers.norm.0.num_batches_tracked".to_owned(),
            shape: vec![],
            values: TensorValues::I64(vec![7]),
        },
        float("layers.norm.0.running_mean", &[2], ramp(2, 0.0)),
        float("layers.norm.0.running_var", &[2], ramp(2, 1.0)),
        float("layers.norm.0.weight", &[2], ramp(2, 1.0)),
    ]
}

#[test]
fn a_legacy_checkpoint_is_read_under_its_key_without_the_prefix() {
    assert_eq!(read(None).expect("readable"), expected());
    assert_eq!(read(Some("state_dict")).expect("readable"), expected());
}

#[test]
fn a_network_is_built_from_a_legacy_checkpoint() {
    let tensors = read(None).expect("readable");
    let network =
        Network::from_named(&ARCHITECTURE, 2, 4, tensors, &Device::flex()).expect("the weights fit");
    let mut back = network.named_tensors().expect("readable");
    back.sort_by(|a, b| a.name.cmp(&b.name));
    let counter = |tensor: &NamedTensor| tensor.name.ends_with("num_batches_tracked"); // which nothing here counts
    assert!(back.iter().filter(|t| !counter(t)).eq(expected().iter().filter(|t| !counter(t))), "{back:?}");
}

#[test]
fn a_wrong_key_of_a_legacy_checkpoint_is_answered_with_its_keys() {
    let error = read(Some("model")).expect_err("there is no such key");
    assert!(matches!(&error, NetworkError::NoTensors { keys, .. } if keys == "state_dict"), "{error}");
}
