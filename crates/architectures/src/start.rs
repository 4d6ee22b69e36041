//! How new weights start.

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// All values are this one.
    Constant(f32),
    /// Uniform in ±bound.
    Uniform(f64),
    /// Normal around 0 with this standard deviation.
    Normal(f64),
}

/// From the shape of a layer's weight, how this weight or the bias beside it starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Rule {
    /// PyTorch's default of convolutions and linear layers: uniform in ±1/√fan_in. Its kaiming_uniform(a = √5) for weights
    /// comes to the same bound as its default for biases.
    #[default]
    FanIn,
    /// `kaiming_normal_` by fan-out with gain √2.
    KaimingNormalFanOut,
    /// The same by fan-in.
    KaimingNormalFanIn,
    /// Uniform in ±√(x / fan_out) for this x.
    UniformFanOut(f64),
    /// `xavier_uniform_`.
    XavierUniform,
    /// Normal around 0 with this standard deviation.
    Normal(f64),
    /// Zeros.
    Zero,
}

impl Rule {
    /// `weight` is `[out, in / groups, kernel, kernel]` or `[out, in]`.
    pub(crate) fn start(self, weight: &[usize]) -> Start {
        let fan_in = weight[1..].iter().product::<usize>() as f64;
        let fan_out = (weight[0] * weight[2..].iter().product::<usize>()) as f64;
        match self {
            Self::FanIn => Start::Uniform(1.0 / fan_in.sqrt()),
            Self::KaimingNormalFanOut => Start::Normal((2.0 / fan_out).sqrt()),
            Self::KaimingNormalFanIn => Start::Normal((2.0 / fan_in).sqrt()),
            Self::UniformFanOut(factor) => Start::Uniform((factor / fan_out).sqrt()),
            Self::XavierUniform => Start::Uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Self::Normal(std) => Start::Normal(std),
            Self::Zero => Start::Constant(0.0),
        }
    }
}

/// The rules of a network, by default what PyTorch's layers do by themselves. BatchNorm starts as the identity in all of
/// them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) convolution: Rule,
    pub(crate) convolution_bias: Rule,
    pub(crate) linear: Rule,
    pub(crate) linear_bias: Rule,
    /// Queries, keys and values of attention, all of whose biases start at zero.
    pub(crate) attention_in: Rule,
    /// What leaves attention.
    pub(crate) attention_out: Rule,
    pub(crate) class_token: Start,
    pub(crate) embedding: Start,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            convolution: Rule::FanIn,
            convolution_bias: Rule::FanIn,
            linear: Rule::FanIn,
            linear_bias: Rule::FanIn,
            attention_in: Rule::FanIn,
            attention_out: Rule::FanIn,
            class_token: Start::Constant(0.0),
            embedding: Start::Constant(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, Stem, VitStart};

    #[test]
    fn every_kind_of_tensor_starts_as_in_pytorch() {
        let convnet = Architecture::convnet(3, 4);
        let resnet = Architecture::resnet18(Stem::Small);
        let mobilenet = Architecture::MobilenetV2 {};
        let deit = Architecture::DeitTiny { start: VitStart::Timm };
        let gvbsm = Architecture::MobilenetV2Gvbsm {};
        let (cifar, wide) = (Architecture::Resnet20Cifar {}, Architecture::Wrn16x2 {});
        let cases = [
            (convnet, "layers.conv.1.weight", Start::Uniform(1.0 / 6.0)),
            (convnet, "layers.conv.1.bias", Start::Uniform(1.0 / 6.0)),
            (convnet, "layers.norm.1.bias", Start::Constant(0.0)),
            (convnet, "classifier.bias", Start::Uniform(0.125)),
            (resnet, "conv1.weight", Start::Normal((2.0_f64 / (64.0 * 9.0)).sqrt())),
            (resnet, "layer1.0.bn1.weight", Start::Constant(1.0)),
            (resnet, "layer1.0.bn1.running_mean", Start::Constant(0.0)),
            (resnet, "layer1.0.bn1.running_var", Start::Constant(1.0)),
            (resnet, "fc.bias", Start::Uniform(1.0 / 512.0_f64.sqrt())),
            (mobilenet, "features.1.conv.0.0.weight", Start::Normal((2.0_f64 / (32.0 * 9.0)).sqrt())),
            (mobilenet, "classifier.1.weight", Start::Normal(0.01)),
            (cifar, "layer1.0.conv1.weight", Start::Normal((2.0_f64 / (16.0 * 9.0)).sqrt())),
            (cifar, "linear.weight", Start::Normal((2.0_f64 / 64.0).sqrt())),
            (cifar, "linear.bias", Start::Uniform(0.125)),
            (wide, "block1.layer.0.conv1.weight", Start::Normal((2.0_f64 / (32.0 * 9.0)).sqrt())),
            (wide, "fc.bias", Start::Constant(0.0)),
            (mobilenet, "classifier.1.bias", Start::Constant(0.0)),
            (gvbsm, "conv1.0.weight", Start::Normal((2.0_f64 / (16.0 * 9.0)).sqrt())),
            (gvbsm, "classifier.0.weight", Start::Normal(0.01)),
            (deit, "class_token", Start::Normal(1e-6)),
            (deit, "conv_proj.bias", Start::Uniform(1.0 / 768.0_f64.sqrt())),
            (deit, "encoder.layers.encoder_layer_0.self_attention.in_proj_weight", Start::Normal(0.02)),
            (deit, "heads.head.weight", Start::Normal(0.02)),
        ];
        for (architecture, name, start) in cases {
            let description = architecture.description(32, 10);
            let tensor = description.tensors().find(|tensor| tensor.name == name).expect(name);
            assert_eq!(tensor.start, start, "{architecture}: {name}");
        }
    }
}
