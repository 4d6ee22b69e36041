//! What names of students stand for.

use delt_formats::teacher::{Architecture, Norm};

use crate::near::near_names;

/// Least side in px from which networks have the stem and the form of large images.
const LARGE_PX: u32 = 112;
/// Least side for networks that leave nothing of smaller images.
const MEDIUM_PX: u32 = 32;

/// Students of published cross-architecture tables: DELT's table 5; of CIFAR and Tiny-ImageNet; of smaller images.
const LARGE: &[&str] = &["resnet18", "efficientnet_b0", "mobilenet_v2", "mnasnet1_3", "regnet_y_8gf"];
const MEDIUM: &[&str] =
    &["convnet3", "resnet18", "mobilenet_v2_modified", "shufflenet_v2_x0_5_small", "wrn_16_2", "dc_vgg11_bn"];
const SMALL: &[&str] = &["convnet2", "dc_alexnet", "mobilenet_v2_modified", "wrn_16_2"];

/// Students of published cross-architecture tables for images of this size.
pub(super) fn usual(size: u32) -> &'static [&'static str] {
    match size {
        LARGE_PX.. => LARGE,
        MEDIUM_PX.. => MEDIUM,
        _ => SMALL,
    }
}

/// Endings of names that say by what a network normalizes.
const NORMS: &[(&str, Norm)] = &[
    ("_bn", Norm::Batch),
    ("_instance", Norm::Instance),
    ("_group", Norm::Group),
    ("_layer", Norm::Layer),
    ("_none", Norm::None),
];

/// Width of ConvNets that are called by their depth.
const CONVNET_WIDTH: u32 = 128;

/// The network that a name stands for at this size, of those that need no more than one.
pub(super) fn named(name: &str, size: u32) -> Option<Architecture> {
    let is_large = size >= LARGE_PX;
    let (stem, start) = if is_large { ("standard", "kaiming") } else { ("small", "default") };
    if let Some(depth) = name.strip_prefix("convnet").and_then(|depth| depth.parse().ok()) {
        return Some(Architecture::convnet(depth, CONVNET_WIDTH));
    }
    let ending = NORMS.iter().find_map(|(ending, norm)| Some((name.strip_suffix(ending)?, *norm)));
    // DC's tables say nothing of AlexNet, which has no normalization there, and of the others, which have that of instances
    let usual = if name == "dc_alexnet" { Norm::None } else { Norm::Instance };
    let (base, norm) = ending.unwrap_or((name, usual));
    let forms = [
        serde_json::json!({ "name": name }),
        serde_json::json!({ "name": name, "stem": stem, "conv1_start": start }),
        serde_json::json!({ "name": base, "norm": norm }),
    ];
    forms.into_iter().find_map(|form| serde_json::from_value(form).ok())
}

/// Names that may stand for a network, the shortest first.
pub(super) fn short_names(network: Architecture) -> Vec<String> {
    let (whole, name) = (network.to_string(), network.name());
    // `convnet` alone says too little
    let short = whole.split_once("-w").map_or(name, |(with_depth, _)| with_depth).to_owned();
    std::iter::once(short).chain(NORMS.iter().map(|(ending, _)| format!("{name}{ending}"))).collect()
}

/// What is said of a name that stands for no network.
pub(super) fn unknown(name: &str) -> String {
    let depths = (1..=5).map(|depth| format!("convnet{depth}"));
    let names = Architecture::NAMES.iter().map(|known| (*known).to_owned()).chain(depths);
    let known: Vec<String> = names.filter(|known| named(known, LARGE_PX).is_some()).collect();
    let near = near_names(name, known.iter().map(String::as_str));
    let near = near.first().map_or_else(String::new, |near| format!(", or did you mean `{near}`?"));
    format!(
        "`{name}` stands for no network by itself; write it with its fields, e.g. {{name: convnet, depth: 3, width: 128}} \
         (docs/networks.md){near}"
    )
}
