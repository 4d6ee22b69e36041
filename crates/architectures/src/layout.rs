//! How published code calls the tensors of a network: its own names for ours.

/// The names of one published code.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Whose they are.
    pub origin: &'static str,
    /// Its name of a tensor of ours.
    pub name: fn(&str) -> String,
}

impl Layout {
    /// Our own names: those of torchvision, and of RDED and DELT for ConvNets.
    pub const OWN: Self = Self { origin: "torchvision's or RDED's", name: str::to_owned };
}

/// ConvNets of DC, DM, MTT and what builds on them: one `Sequential` of convolution, normalization, ReLU and pooling.
pub(crate) const FEATURES: Layout = Layout { origin: FEATURES_ORIGIN, name: |ours| features(ours, 4) };

/// The same without normalization.
pub(crate) const FEATURES_WITHOUT_NORM: Layout =
    Layout { origin: FEATURES_ORIGIN, name: |ours| features(ours, 3) };

const FEATURES_ORIGIN: &str = "DC's and MTT's (features.N)";

/// Our name by the place in the `Sequential`, where so many layers make a block.
fn features(ours: &str, layers_of_a_block: usize) -> String {
    let place = |rest: &str, after: usize| {
        let (block, leaf) = rest.split_once('.')?;
        Some(format!("features.{}.{leaf}", block.parse::<usize>().ok()? * layers_of_a_block + after))
    };
    let convolution = ours.strip_prefix("layers.conv.").and_then(|rest| place(rest, 0));
    let norm = || ours.strip_prefix("layers.norm.").and_then(|rest| place(rest, 1));
    convolution.or_else(norm).unwrap_or_else(|| ours.to_owned())
}

/// Vision transformers of timm, among them DeiT.
pub(crate) const TIMM: Layout = Layout {
    origin: "timm's (blocks.N, attn.qkv)",
    name: |ours| {
        let layer = ours.strip_prefix("encoder.layers.encoder_layer_").map(|rest| format!("blocks.{rest}"));
        let parts = [
            ("class_token", "cls_token"),
            ("conv_proj.", "patch_embed.proj."),
            ("encoder.pos_embedding", "pos_embed"),
            ("encoder.ln.", "norm."),
            ("heads.head.", "head."),
            (".ln_1.", ".norm1."),
            (".self_attention.in_proj_", ".attn.qkv."),
            (".self_attention.out_proj.", ".attn.proj."),
            (".ln_2.", ".norm2."),
            (".mlp.0.", ".mlp.fc1."),
            (".mlp.3.", ".mlp.fc2."),
        ];
        renamed(layer.as_deref().unwrap_or(ours), &parts)
    },
};

/// ResNets of kuangliu/pytorch-cifar and its many copies.
pub(crate) const SHORTCUT_LINEAR: Layout = Layout {
    origin: "pytorch-cifar's (shortcut, linear)",
    name: |ours| renamed(ours, &[(".downsample.", ".shortcut."), ("fc.", "linear.")]),
};

/// ResNets of DC and MTT, which are those of pytorch-cifar with another classifier.
pub(crate) const SHORTCUT_CLASSIFIER: Layout = Layout {
    origin: "DC's and MTT's (shortcut, classifier)",
    name: |ours| renamed(ours, &[(".downsample.", ".shortcut."), ("fc.", "classifier.")]),
};

/// ResNets of weiaicunzai/pytorch-cifar100.
pub(crate) const RESIDUAL_FUNCTION: Layout = Layout {
    origin: "pytorch-cifar100's (convN_x, residual_function)",
    name: |ours| {
        let group = ours.strip_prefix("layer").and_then(|rest| {
            let (group, rest) = rest.split_once('.')?;
            Some(format!("conv{}_x.{rest}", group.parse::<usize>().ok()? + 1))
        });
        match group {
            None => renamed(ours, &[("conv1.", "conv1.0."), ("bn1.", "conv1.1.")]),
            Some(inside) => {
                let parts = [
                    (".conv1.", ".residual_function.0."),
                    (".bn1.", ".residual_function.1."),
                    (".conv2.", ".residual_function.3."),
                    (".bn2.", ".residual_function.4."),
                    (".conv3.", ".residual_function.6."),
                    (".bn3.", ".residual_function.7."),
                    (".downsample.", ".shortcut."),
                ];
                renamed(&inside, &parts)
            }
        }
    },
};

/// torchvision's files of DenseNets, which are older than its names.
pub(crate) const DENSE_LAYERS_WITH_DOTS: Layout = Layout {
    origin: "those of torchvision's files (norm.1, conv.2)",
    name: |ours| match ours.contains(".denselayer") {
        true => renamed(ours, &[(".norm", ".norm."), (".conv", ".conv.")]),
        false => ours.to_owned(),
    },
};

/// A name with the first of these parts that it has replaced; a part that does not begin with a dot only at its beginning.
fn renamed(name: &str, parts: &[(&str, &str)]) -> String {
    let one = parts.iter().find_map(|(ours, theirs)| match name.strip_prefix(ours) {
        Some(rest) => Some(format!("{theirs}{rest}")),
        None if ours.starts_with('.') && name.contains(ours) => Some(name.replacen(ours, theirs, 1)),
        None => None,
    });
    one.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_published_code() {
        let cases = [
            (FEATURES, "layers.conv.2.bias", "features.8.bias"),
            (FEATURES, "layers.norm.2.running_var", "features.9.running_var"),
            (FEATURES, "classifier.weight", "classifier.weight"),
            (FEATURES_WITHOUT_NORM, "layers.conv.2.bias", "features.6.bias"),
            (TIMM, "class_token", "cls_token"),
            (TIMM, "encoder.pos_embedding", "pos_embed"),
            (
                TIMM,
                "encoder.layers.encoder_layer_11.self_attention.in_proj_weight",
                "blocks.11.attn.qkv.weight",
            ),
            (TIMM, "encoder.layers.encoder_layer_0.self_attention.in_proj_bias", "blocks.0.attn.qkv.bias"),
            (TIMM, "encoder.layers.encoder_layer_0.self_attention.out_proj.bias", "blocks.0.attn.proj.bias"),
            (TIMM, "encoder.layers.encoder_layer_3.mlp.3.weight", "blocks.3.mlp.fc2.weight"),
            (TIMM, "encoder.ln.bias", "norm.bias"),
            (TIMM, "heads.head.weight", "head.weight"),
            (SHORTCUT_LINEAR, "layer2.0.downsample.1.running_mean", "layer2.0.shortcut.1.running_mean"),
            (SHORTCUT_LINEAR, "layer2.0.conv1.weight", "layer2.0.conv1.weight"),
            (SHORTCUT_LINEAR, "fc.bias", "linear.bias"),
            (SHORTCUT_CLASSIFIER, "fc.bias", "classifier.bias"),
            (RESIDUAL_FUNCTION, "conv1.weight", "conv1.0.weight"),
            (RESIDUAL_FUNCTION, "bn1.running_var", "conv1.1.running_var"),
            (RESIDUAL_FUNCTION, "layer1.1.conv2.weight", "conv2_x.1.residual_function.3.weight"),
            (RESIDUAL_FUNCTION, "layer4.0.bn2.bias", "conv5_x.0.residual_function.4.bias"),
            (RESIDUAL_FUNCTION, "layer3.0.downsample.0.weight", "conv4_x.0.shortcut.0.weight"),
            (RESIDUAL_FUNCTION, "layer4.0.bn3.bias", "conv5_x.0.residual_function.7.bias"),
            (RESIDUAL_FUNCTION, "fc.weight", "fc.weight"),
            (
                DENSE_LAYERS_WITH_DOTS,
                "features.denseblock2.denselayer11.norm2.bias",
                "features.denseblock2.denselayer11.norm.2.bias",
            ),
            (DENSE_LAYERS_WITH_DOTS, "features.norm0.bias", "features.norm0.bias"),
        ];
        for (layout, ours, theirs) in cases {
            assert_eq!((layout.name)(ours), theirs, "{}", layout.origin);
        }
    }
}
