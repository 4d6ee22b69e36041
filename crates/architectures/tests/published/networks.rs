//! The networks of whose figures PyTorch has made files `networks/NAME`: for the tests of descriptions, and for those of tensors
//! (`tests/golden`).

/// Hands all rows to a macro: the name of the files and the network; `slow` ones have so many weights that tensors take minutes.
macro_rules! for_all_networks {
    ($each:ident) => {
        $each! {
            fast {
                convnet3_w32_batch: convnet(Norm::Batch);
                convnet3_w32_group: convnet(Norm::Group);
                convnet3_w32_instance: convnet(Norm::Instance);
                convnet3_w32_layer: convnet(Norm::Layer);
                convnet3_w32_none: convnet(Norm::None);
                convnet4_w128_batch: Architecture::convnet(4, 128);
                resnet18_small: Architecture::Resnet18 { stem: Stem::Small, conv1_start: Conv1Start::Default };
                resnet50: Architecture::Resnet50 { stem: Stem::Standard, conv1_start: Conv1Start::Kaiming };
                resnet50_small: Architecture::Resnet50 { stem: Stem::Small, conv1_start: Conv1Start::Default };
                resnet101: Architecture::Resnet101 { stem: Stem::Standard, conv1_start: Conv1Start::Kaiming };
                resnet101_small: Architecture::Resnet101 { stem: Stem::Small, conv1_start: Conv1Start::Default };
                resnet20_cifar: Architecture::Resnet20Cifar {};
                resnet32_cifar: Architecture::Resnet32Cifar {};
                resnet44_cifar: Architecture::Resnet44Cifar {};
                resnet56_cifar: Architecture::Resnet56Cifar {};
                wrn_16_2: Architecture::Wrn16x2 {};
                densenet121: Architecture::Densenet121 {};
                densenet121_cvdd: Architecture::Densenet121Cvdd {};
                dc_resnet18_instance: Architecture::DcResnet18 { norm: Norm::Instance };
                dc_resnet18_ap_instance: Architecture::DcResnet18Ap { norm: Norm::Instance };
                dc_alexnet: Architecture::DcAlexnet { norm: Norm::None };
                dc_alexnet_bn: Architecture::DcAlexnet { norm: Norm::Batch };
                dc_vgg11_instance: Architecture::DcVgg11 { norm: Norm::Instance };
                dc_vgg11_bn: Architecture::DcVgg11 { norm: Norm::Batch };
                mobilenet_v2: Architecture::MobilenetV2 {};
                mobilenet_v2_modified: Architecture::MobilenetV2Modified {};
                mobilenet_v2_modified_64px: Architecture::MobilenetV2Modified {};
                mobilenet_v2_cvdd: Architecture::MobilenetV2Cvdd {};
                mobilenet_v2_gvbsm: Architecture::MobilenetV2Gvbsm {};
                shufflenet_v2_x0_5: Architecture::ShufflenetV2X05 {};
                shufflenet_v2_x1_0: Architecture::ShufflenetV2X10 {};
                shufflenet_v2_x0_5_small: Architecture::ShufflenetV2X05Small {};
                shufflenet_v2_x0_5_pointwise: Architecture::ShufflenetV2X05Pointwise {};
                mnasnet1_3: Architecture::Mnasnet13 { bn_momentum: BnMomentum::Own };
                efficientnet_b0: Architecture::EfficientnetB0 {};
                regnet_y_8gf: Architecture::RegnetY8gf {};
                deit_tiny: Architecture::DeitTiny { start: VitStart::Torchvision };
                deit_tiny_64px: Architecture::DeitTiny { start: VitStart::Torchvision };
                swin_t: Architecture::SwinT {};
                swin_v2_t: Architecture::SwinV2T {};
                swin_v2_t_224px: Architecture::SwinV2T {};
            }
            slow {
                vgg11: Architecture::Vgg11 {};
                vgg11_bn: Architecture::Vgg11Bn {};
                vgg16_bn: Architecture::Vgg16Bn {};
                alexnet: Architecture::Alexnet {};
                vit_b_16_64px: Architecture::VitB16 {};
            }
        }
    };
}
pub(crate) use for_all_networks;

/// Networks of whose figures the start is PyTorch's default and not that of the published code, which is ours: Kaiming's by
/// fan-in (akamaster/pytorch_resnet_cifar10), by fan-out (CRD's wrn.py and mobilenetv2.py).
pub(crate) const STARTS_OTHERWISE: [&str; 6] = [
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet44_cifar",
    "resnet56_cifar",
    "wrn_16_2",
    "mobilenet_v2_gvbsm",
];
