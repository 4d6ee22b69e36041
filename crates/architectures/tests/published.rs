//! Each network against what PyTorch says of it: parameters, multiplications, tensors by name, shape and order, how they start.
//!
//! The figures are those of `networks/NAME` in `DELT_GOLDEN` or `../shared/golden`; without them the test says so and passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use delt_architectures::{
    Architecture, BnMomentum, Conv1Start, Norm, Operation, Start, StateTensor, Stem, VitStart,
};
use serde_json::{Value, from_slice, from_str};

#[path = "published/networks.rs"]
mod networks;
use networks::{STARTS_OTHERWISE, for_all_networks};

/// File and network.
fn networks() -> Vec<(&'static str, Architecture)> {
    macro_rules! rows {
        (fast { $($name:ident: $network:expr;)* } slow { $($slow:ident: $slow_network:expr;)* }) => {
            vec![$((stringify!($name), $network),)* $((stringify!($slow), $slow_network)),*]
        };
    }
    for_all_networks!(rows)
}

fn convnet(norm: Norm) -> Architecture {
    Architecture::ConvNet { depth: 3, width: 32, norm, norm_before_conv: false, doubling: false }
}

#[test]
fn networks_are_those_of_the_published_code() {
    let Some(folder) = folder() else {
        eprintln!("skipped: no figures of networks in DELT_GOLDEN or ../shared/golden");
        return;
    };
    for (name, architecture) in networks() {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect(name);
        let published: Value = from_str(&text).expect(name);
        check_size(name, architecture, &published);
        check_tensors(name, architecture, &published);
        if !STARTS_OTHERWISE.contains(&name) {
            check_start(name, architecture, &published, &folder);
        }
    }
}

fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let folder = std::env::var_os("DELT_GOLDEN").map_or_else(beside, PathBuf::from).join("networks");
    folder.is_dir().then_some(folder)
}

fn check_size(name: &str, architecture: Architecture, published: &Value) {
    let (size, own_classes) = (whole(&published["size"]), whole(&published["classes"]));
    for (classes, key) in [(own_classes, "parameters"), (1000, "parameters_1000_classes")] {
        let ours = architecture.description(size, classes).parameters();
        assert_eq!(ours, whole(&published[key]), "{name}: {key}");
    }
    for (side, millions) in published["mega_multiply_adds"].as_object().expect(name) {
        let description = architecture.description(side.parse().expect(name), own_classes);
        let (ours, published) = (description.multiplications() / 1e6, millions.as_f64().expect(name));
        // rounded to a tenth there
        let is_close = (ours - published).abs() < 0.051 + published * 1e-3;
        assert!(is_close, "{name}, {side} px: {ours} million multiplications, not {published}");
    }
}

fn check_tensors(name: &str, architecture: Architecture, published: &Value) {
    let description = architecture.description(whole(&published["size"]), whole(&published["classes"]));
    let mut ours: Vec<_> =
        description.tensors().map(|tensor| (tensor.name.as_str(), tensor.shape.clone())).collect();
    let mut theirs = state_dict(name, published);
    // ours are in forward order, as theirs but for RDED's ConvNets, class tokens and the norms of Swin
    if ["convnet", "vit", "deit", "swin"].iter().any(|other| name.starts_with(other)) {
        ours.sort();
        theirs.sort();
    }
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{name}: names and shapes");
    }
    assert_eq!(ours.len(), theirs.len(), "{name}: number of tensors");
    let layers = description.layers.iter().filter(|layer| layer.operation == Operation::BatchNorm);
    let ours: Vec<_> = layers.map(|layer| layer.name.as_str()).collect();
    let theirs = published["bn_layers"].as_array().expect(name).iter();
    assert_eq!(ours, theirs.map(|layer| layer.as_str().expect(name)).collect::<Vec<_>>(), "{name}: order");
}

/// Names and shapes in PyTorch's order, without what is no weight and no statistic.
fn state_dict<'a>(name: &str, published: &'a Value) -> Vec<(&'a str, Vec<usize>)> {
    let pairs = published["state_dict"].as_array().expect(name).iter().map(|pair| {
        let shape = pair[1].as_array().expect(name).iter().map(whole).collect();
        (pair[0].as_str().expect(name), shape)
    });
    let constants = ["num_batches_tracked", "relative_position_index", "relative_coords_table"];
    pairs.filter(|(tensor, _)| !constants.iter().any(|leaf| tensor.ends_with(leaf))).collect()
}

/// Mean and standard deviation of one draw of PyTorch's, within five standard errors.
fn check_start(name: &str, architecture: Architecture, published: &Value, folder: &Path) {
    let description = architecture.description(whole(&published["size"]), whole(&published["classes"]));
    let by_name: BTreeMap<&str, &StateTensor> =
        description.tensors().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let state_dict = state_dict(name, published);
    let trained: Vec<_> =
        state_dict.iter().map(|(tensor, _)| by_name[tensor]).filter(|tensor| tensor.is_trained).collect();
    let [means, stds] = moments(&folder.join(format!("{name}.safetensors")));
    assert_eq!((trained.len(), trained.len()), (means.len(), stds.len()), "{name}");
    for (tensor, (mean, std)) in trained.into_iter().zip(means.into_iter().zip(stds)) {
        let n = tensor.count() as f64;
        let (expected_mean, expected_std) = match tensor.start {
            Start::Constant(value) => (f64::from(value), 0.0),
            Start::Uniform(bound) => (0.0, bound / 3.0_f64.sqrt()),
            Start::Normal(std) => (0.0, std),
        };
        let what = format!("{name}: {} ({:?})", tensor.name, tensor.start);
        let allowed = 1e-5 + (5.0 / (2.0 * n).sqrt()).max(0.02) * expected_std;
        assert!(
            (std - expected_std).abs() <= allowed,
            "{what} starts with deviation {expected_std}, not {std}"
        );
        let allowed = 1e-5 + 5.0 * expected_std / n.sqrt();
        assert!((mean - expected_mean).abs() <= allowed, "{what} starts around {expected_mean}, not {mean}");
    }
}

/// `init_mean` and `init_std` of a safetensors file.
fn moments(path: &Path) -> [Vec<f64>; 2] {
    let bytes = std::fs::read(path).expect("a safetensors file");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let (header, values) = rest.split_at(usize::try_from(length).expect("a small header"));
    let header: Value = from_slice(header).expect("a header");
    ["init_mean", "init_std"].map(|key| {
        let place = &header[key]["data_offsets"];
        let values = values[whole(&place[0])..whole(&place[1])].chunks_exact(4);
        values.map(|value| f64::from(f32::from_le_bytes(value.try_into().expect("four bytes")))).collect()
    })
}

fn whole(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a whole number")).expect("a small number")
}
