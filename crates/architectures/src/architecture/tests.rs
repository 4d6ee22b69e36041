//! What the table promises.

use super::*;
use serde_json::{from_value, json, to_value};

fn convnet(norm: Norm, norm_before_conv: bool, doubling: bool) -> Architecture {
    Architecture::ConvNet { depth: 3, width: 128, norm, norm_before_conv, doubling }
}

#[test]
fn architectures_are_named_and_shown_as_the_field_does() {
    let cases = [
        (
            Architecture::convnet(3, 128),
            json!({"name": "convnet", "depth": 3, "width": 128}),
            "convnet3-w128",
        ),
        (
            convnet(Norm::Instance, false, false),
            json!({"name": "convnet", "depth": 3, "width": 128, "norm": "instance"}),
            "convnet3-w128-instance",
        ),
        (
            convnet(Norm::Batch, true, true),
            json!({"name": "convnet", "depth": 3, "width": 128, "norm_before_conv": true, "doubling": true}),
            "convnet3-w128-pre-doubling",
        ),
        (
            Architecture::resnet18(Stem::Small),
            json!({"name": "resnet18", "stem": "small"}),
            "resnet18 (small stem)",
        ),
        (
            Architecture::resnet34(Stem::Standard),
            json!({"name": "resnet34", "stem": "standard"}),
            "resnet34 (standard stem)",
        ),
        (
            Architecture::Resnet50 { stem: Stem::Small, conv1_start: Conv1Start::Default },
            json!({"name": "resnet50", "stem": "small", "conv1_start": "default"}),
            "resnet50 (small stem, conv1 from PyTorch's default)",
        ),
        (
            Architecture::DcVgg11 { norm: Norm::Instance },
            json!({"name": "dc_vgg11", "norm": "instance"}),
            "dc_vgg11-instance",
        ),
        (Architecture::MobilenetV2 {}, json!({"name": "mobilenet_v2"}), "mobilenet_v2"),
        (
            Architecture::Mnasnet13 { bn_momentum: BnMomentum::Recipe },
            json!({"name": "mnasnet1_3", "bn_momentum": "recipe"}),
            "mnasnet1_3 (bn_momentum of the recipe)",
        ),
        (
            Architecture::DeitTiny { start: VitStart::Timm },
            json!({"name": "deit_tiny", "start": "timm"}),
            "deit_tiny (timm's start)",
        ),
    ];
    for (architecture, value, shown) in cases {
        assert_eq!(to_value(architecture).unwrap(), value);
        assert_eq!(from_value::<Architecture>(value).unwrap(), architecture);
        assert_eq!(architecture.to_string(), shown);
    }
}

#[test]
fn unknown_fields_of_an_architecture_are_refused() {
    for value in [
        json!({"name": "mobilenet_v2", "width": 2}),
        json!({"name": "convnet", "depth": 3, "width": 1, "stem": "small"}),
        json!({"name": "convnet", "depth": 3, "width": 1, "norm": "weight"}),
    ] {
        assert!(from_value::<Architecture>(value).is_err());
    }
}

#[test]
fn a_convnet_that_names_the_defaults_is_the_one_that_leaves_them_out() {
    let all = json!({"name": "convnet", "depth": 3, "width": 128, "norm": "batch", "norm_before_conv": false, "doubling": false});
    assert_eq!(from_value::<Architecture>(all).unwrap(), Architecture::convnet(3, 128));
}

#[test]
fn networks_with_running_statistics_say_so() {
    assert!(Architecture::convnet(3, 8).has_batch_norm());
    assert!(convnet(Norm::Batch, true, false).has_batch_norm());
    for norm in [Norm::Instance, Norm::Group, Norm::Layer, Norm::None] {
        assert!(!convnet(norm, false, false).has_batch_norm());
    }
}

#[test]
fn the_running_statistics_of_mnasnet_move_as_torchvisions_unless_said_otherwise() {
    let shares = [BnMomentum::Own, BnMomentum::Recipe]
        .map(|bn_momentum| Architecture::Mnasnet13 { bn_momentum }.bn_momentum(0.1));
    assert_eq!(shares, [3e-4, 0.1]);
    assert_eq!(Architecture::EfficientnetB0 {}.bn_momentum(0.19), 0.19);
}

#[test]
fn images_that_are_no_whole_number_of_patches_are_refused() {
    assert_eq!(Architecture::DeitTiny { start: VitStart::Timm }.misfit(64), None);
    assert_eq!(
        Architecture::DeitTiny { start: VitStart::Timm }.misfit(72).as_deref(),
        Some(
            "72 px is not a whole number of this network's patches of 16 px; expected a multiple of 16; change teacher.size"
        )
    );
    assert_eq!(Architecture::SwinT {}.misfit(70), None);
}

#[test]
fn convnets_whose_fields_make_no_sense_together_are_refused() {
    let said = |depth, width, norm, norm_before_conv, doubling| {
        Architecture::ConvNet { depth, width, norm, norm_before_conv, doubling }.misfit(32)
    };
    let refusals = [
        (
            said(3, 6, Norm::Group, false, false),
            "norm: group makes 4 groups of channels, which a width of 6 does not fill; set a multiple of 4",
        ),
        (
            said(3, 8, Norm::None, true, false),
            "norm_before_conv: true has nothing to move with norm: none; leave it out",
        ),
        (
            said(1, 8, Norm::Batch, true, false),
            "norm_before_conv: true leaves a network of depth 1 without norm; leave it out, or say norm: none",
        ),
        (said(1, 8, Norm::Batch, false, true), "doubling: true changes nothing at depth 1; leave it out"),
    ];
    for (found, expected) in refusals {
        assert_eq!(found.as_deref(), Some(expected));
    }
    assert_eq!(said(3, 8, Norm::Group, true, true), None);
}

#[test]
fn a_start_that_stands_beside_no_small_stem_is_refused() {
    let resnet = |stem| Architecture::Resnet50 { stem, conv1_start: Conv1Start::Default };
    assert_eq!(resnet(Stem::Small).misfit(32), None);
    assert_eq!(
        resnet(Stem::Standard).misfit(224).as_deref(),
        Some(
            "conv1_start: default is how published code starts the conv1 of stem: small, found stem: standard; leave it out"
        )
    );
}

#[test]
fn the_last_width_of_a_doubling_convnet_is_bounded() {
    let bound = convnet(Norm::Batch, false, true).bounds()[0];
    assert_eq!((bound.value, bound.most), (128, 2048));
    assert_eq!(Architecture::convnet(3, 128).bounds()[0].most, 8192);
}
