//! Networks with fewer channels: which layers can lose some, and what is left of a network that has.
//!
//! A layer of batch normalization can lose channels where it alone reads a convolution, and what it leaves goes through layers that
//! treat each channel by itself into convolutions or linear layers, and nowhere else: a sum, a gate or a concatenation needs them all.

use std::collections::BTreeMap;

use crate::graph::{Convolution, Description, Operation, StateTensor};

/// What is left of a network.
#[derive(Clone, Debug)]
pub struct Narrowed {
    /// Its layers.
    pub description: Description,
    /// Of each tensor that may have lost values, the places that are kept along its first two dimensions; the second is empty where
    /// it has one.
    pub kept: BTreeMap<String, [Vec<usize>; 2]>,
}

impl Description {
    /// Places of the layers of batch normalization that can lose channels.
    pub fn prunable(&self) -> Vec<usize> {
        (0..self.layers.len()).filter(|at| self.is_prunable(*at)).collect()
    }

    fn readers(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.layers.len()).filter(move |reader| self.layers[*reader].reads.contains(&at))
    }

    fn is_prunable(&self, norm: usize) -> bool {
        let layer = &self.layers[norm];
        let is_alone = |convolution: usize| {
            takes_all(self.layers[convolution].operation) && self.readers(convolution).eq([norm])
        };
        layer.operation == Operation::BatchNorm && is_alone(layer.reads[0]) && self.ends_in_weights(norm)
    }

    /// Whether all that is made of a layer's channels goes into weights for each of them.
    fn ends_in_weights(&self, at: usize) -> bool {
        self.readers(at).next().is_some()
            && self.readers(at).all(|reader| match self.layers[reader].operation {
                Operation::Linear { .. } => true,
                operation if takes_all(operation) => true,
                operation => is_channelwise(operation) && self.ends_in_weights(reader),
            })
    }

    /// The network with only these channels of some layers of batch normalization.
    #[must_use]
    pub fn narrowed(&self, of_norms: &BTreeMap<usize, Vec<usize>>) -> Narrowed {
        let mut narrow = Narrowed { description: self.clone(), kept: BTreeMap::new() };
        let mut leaving: Vec<Vec<usize>> = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let entering = layer.reads.first().map_or_else(Vec::new, |read| leaving[*read].clone());
            let all = || (0..layer.output.channels).collect::<Vec<_>>();
            let norm = || self.readers(at).find_map(|reader| of_norms.get(&reader));
            let kept = match layer.operation {
                operation if takes_all(operation) => norm().cloned().unwrap_or_else(all),
                Operation::Flatten => {
                    let positions = layer.input.positions();
                    entering.iter().flat_map(|c| c * positions..(c + 1) * positions).collect()
                }
                Operation::BatchNorm => entering.clone(),
                operation if is_channelwise(operation) => entering.clone(),
                _ => all(),
            };
            let is_matrix = takes_all(layer.operation) || matches!(layer.operation, Operation::Linear { .. });
            let own = &mut narrow.description.layers[at];
            own.output.channels = kept.len();
            if !layer.reads.is_empty() {
                own.input.channels = entering.len();
            }
            if is_matrix || layer.operation == Operation::BatchNorm {
                for StateTensor { name, shape, .. } in &mut own.tensors {
                    let inner = if shape.len() > 1 { entering.clone() } else { Vec::new() };
                    shape[0] = kept.len();
                    shape.iter_mut().skip(1).take(1).for_each(|side| *side = inner.len());
                    narrow.kept.insert(name.clone(), [kept.clone(), inner]);
                }
            }
            leaving.push(kept);
        }
        narrow
    }
}

/// Whether each output channel of this layer sees all input channels.
fn takes_all(operation: Operation) -> bool {
    matches!(operation, Operation::Convolution(Convolution { groups: 1, .. }))
}

/// Whether what leaves a channel follows from that channel alone, without weights.
fn is_channelwise(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Activation(_)
            | Operation::MaxPool(_)
            | Operation::AveragePool(_)
            | Operation::AdaptiveAveragePool { .. }
            | Operation::Mean
            | Operation::Flatten
            | Operation::Subsample { .. }
            | Operation::Dropout { .. }
    )
}

/// The channels of each layer that are left when the given share of all is removed, those of the smallest absolute scales: one
/// threshold for all layers, but a layer keeps at least its largest.
pub fn kept_channels(scales: &[Vec<f32>], share: f64) -> Vec<Vec<usize>> {
    let size = |(layer, channel): &(usize, usize)| scales[*layer][*channel].abs();
    let of_layer = |layer: usize| (0..scales[layer].len()).map(move |channel| (layer, channel));
    let mut channels: Vec<(usize, usize)> = (0..scales.len()).flat_map(of_layer).collect();
    channels.sort_by(|a, b| size(a).total_cmp(&size(b)).then(a.cmp(b)));
    let removed = (share * channels.len() as f64).round() as usize;
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); scales.len()];
    channels[removed..].iter().for_each(|(layer, channel)| kept[*layer].push(*channel));
    for (layer, kept) in kept.iter_mut().enumerate() {
        if kept.is_empty() {
            kept.extend(channels.iter().rev().find(|(of, _)| *of == layer).map(|(_, channel)| *channel));
        }
        kept.sort_unstable();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, Norm, Stem};

    fn prunable(network: Architecture, size: usize) -> Vec<String> {
        let description = network.description(size, 10);
        description.prunable().into_iter().map(|at| description.layers[at].name.clone()).collect()
    }

    #[test]
    fn chains_can_lose_channels_everywhere_and_residual_blocks_inside() {
        assert_eq!(prunable(Architecture::DcVgg11 { norm: Norm::Batch }, 32).len(), 8);
        assert_eq!(prunable(Architecture::Vgg11Bn {}, 32).len(), 8);
        assert_eq!(
            prunable(Architecture::convnet(3, 8), 32),
            ["layers.norm.0", "layers.norm.1", "layers.norm.2"]
        );
        let resnet = prunable(Architecture::resnet18(Stem::Small), 32);
        assert_eq!(resnet.len(), 8, "{resnet:?}");
        assert!(resnet.iter().all(|name| name.ends_with(".bn1") && name.starts_with("layer")), "{resnet:?}");
        assert!(prunable(Architecture::DcVgg11 { norm: Norm::Instance }, 32).is_empty());
    }

    #[test]
    fn a_channel_goes_with_its_filter_its_statistics_and_what_reads_it() {
        let description = Architecture::DcVgg11 { norm: Norm::Batch }.description(32, 10);
        let norms = description.prunable();
        let narrow =
            description.narrowed(&BTreeMap::from([(norms[0], vec![1, 5]), (norms[7], vec![0, 2, 511])]));
        let shape = |name: &str| {
            let tensor = narrow.description.tensors().find(|tensor| tensor.name == name);
            tensor.expect("described").shape.clone()
        };
        assert_eq!(shape("features.0.weight"), [2, 3, 3, 3]);
        assert_eq!(shape("features.0.bias"), [2]);
        assert_eq!(shape("features.1.running_var"), [2]);
        assert_eq!(shape("features.4.weight"), [128, 2, 3, 3]);
        assert_eq!(shape("classifier.weight"), [10, 3]);
        assert_eq!(narrow.kept["features.4.weight"][1], [1, 5]);
        assert_eq!(narrow.kept["classifier.weight"][1], [0, 2, 511]);
        assert!(narrow.description.parameters() < description.parameters());
        assert!(narrow.description.multiplications() < description.multiplications());
    }

    #[test]
    fn flattened_maps_lose_all_positions_of_a_channel() {
        let description = Architecture::Vgg11Bn {}.description(32, 10);
        let last = *description.prunable().last().expect("one");
        let narrow = description.narrowed(&BTreeMap::from([(last, vec![1])]));
        assert_eq!(narrow.kept["classifier.0.weight"][1], (49..98).collect::<Vec<_>>());
    }

    #[test]
    fn one_threshold_holds_for_all_layers_and_none_vanishes() {
        let scales = [vec![0.5, -0.1, 0.9, 0.2], vec![0.01, -0.03], vec![1.0, 2.0]];
        assert_eq!(kept_channels(&scales, 0.5), [vec![0, 2], vec![1], vec![0, 1]]);
        assert_eq!(kept_channels(&scales, 0.125), [vec![0, 1, 2, 3], vec![1], vec![0, 1]]);
    }
}
