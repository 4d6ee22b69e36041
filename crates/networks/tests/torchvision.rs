//! The tensors that we write are those of torchvision's `state_dict`, name by name and shape by shape, so that
//! `load_state_dict` (strict) takes them.
//!
//! `torchvision_names.txt` was made by torchvision 0.26 (PyTorch 2.11) with
//!
//! ```python
//! for n in ["resnet18", "resnet34", "mobilenet_v2"]:
//!     for k, v in getattr(torchvision.models, n)(num_classes=10).state_dict().items():
//!         print(n, k, "x".join(map(str, v.shape)))
//! ```

use std::collections::BTreeSet;

use delt_formats::{Architecture, Stem};
use delt_networks::Network;

const NAMES: &str = include_str!("torchvision_names.txt");

fn expected(network: &str) -> BTreeSet<String> {
    let lines = NAMES.lines().filter_map(|line| line.strip_prefix(network)?.strip_prefix(' '));
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn written_tensors_have_the_names_and_shapes_of_torchvision() {
    let device = delt_device::open("flex").expect("the CPU").device;
    let networks = [
        ("resnet18", Architecture::resnet18(Stem::Standard)),
        ("resnet34", Architecture::resnet34(Stem::Standard)),
        ("mobilenet_v2", Architecture::MobilenetV2 {}),
    ];
    for (name, architecture) in networks {
        let network = Network::initialize(&architecture, 10, 64, 1, &device).expect("a network");
        let tensors = network.named_tensors().expect("tensors");
        let written: BTreeSet<String> = tensors
            .iter()
            .map(|tensor| {
                let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
                format!("{} {}", tensor.name, shape.join("x")).trim_end().to_owned()
            })
            .collect();
        assert_eq!(written.len(), tensors.len(), "{name} writes a tensor twice");
        assert_eq!(written, expected(name), "{name}");
    }
}
