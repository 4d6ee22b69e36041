//! What PyTorch's `state_dict` of a network holds, and in which order.

use delt_architectures::{Description, Layer, Operation, StateTensor, WindowAttention};
use delt_formats::{NamedTensor, TensorValues};

/// PyTorch counts the batches a normalization layer has seen under this name, and uses the count only where the momentum
/// is unset: written as 0, not read.
pub(crate) const BATCH_COUNT: &str = "num_batches_tracked";

/// An entry of the `state_dict`.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A weight, or running statistics.
    Tensor(StateTensor),
    /// What follows from the structure alone: written, and not read.
    Constant(NamedTensor),
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Tensor(tensor) => &tensor.name,
            Self::Constant(tensor) => &tensor.name,
        }
    }

    /// PyTorch lists what is trained before what is not.
    fn is_trained(&self) -> bool {
        matches!(self, Self::Tensor(StateTensor { is_trained: true, .. }))
    }
}

/// All entries in PyTorch's order: of each module first its own, then those of the modules in it, which come in forward order.
pub(crate) fn entries(description: &Description) -> Vec<Entry> {
    let mut ordered = Vec::new();
    let of_layer = |layer: &Layer| {
        let tensors = layer.tensors.iter().cloned().map(Entry::Tensor);
        tensors.chain(constants(layer).into_iter().map(Entry::Constant)).collect::<Vec<_>>()
    };
    order(description.layers.iter().flat_map(of_layer).collect(), 0, &mut ordered);
    ordered
}

/// Entries whose names are the same in the first `begin` bytes.
fn order(entries: Vec<Entry>, begin: usize, ordered: &mut Vec<Entry>) {
    let end_of_module = |entry: &Entry| entry.name()[begin..].find('.').map(|at| begin + at + 1);
    let (mut own, inner): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| end_of_module(entry).is_none());
    own.sort_by_key(|entry| !entry.is_trained());
    ordered.extend(own);
    let mut modules: Vec<Vec<Entry>> = Vec::new();
    for entry in inner {
        let end = end_of_module(&entry).expect("within a module");
        let is_beside = |module: &&mut Vec<Entry>| module[0].name().get(..end) == entry.name().get(..end);
        match modules.iter_mut().find(is_beside) {
            Some(module) => module.push(entry),
            None => modules.push(vec![entry]),
        }
    }
    for module in modules {
        let end = end_of_module(&module[0]).expect("within a module");
        order(module, end, ordered);
    }
}

fn constants(layer: &Layer) -> Vec<NamedTensor> {
    let constant =
        |leaf: &str, shape, values| NamedTensor { name: format!("{}.{leaf}", layer.name), shape, values };
    match layer.operation {
        Operation::BatchNorm => vec![constant(BATCH_COUNT, Vec::new(), TensorValues::I64(vec![0]))],
        Operation::WindowAttention(WindowAttention { window, is_v2, .. }) => {
            let side = 2 * window - 1;
            let table = || {
                let values = TensorValues::F32(relative_coordinates(window));
                constant("relative_coords_table", vec![1, side, side, 2], values)
            };
            let index = relative_positions(window);
            let shape = vec![index.len()];
            let index = constant("relative_position_index", shape, TensorValues::I64(index));
            is_v2.then(table).into_iter().chain([index]).collect()
        }
        _ => Vec::new(),
    }
}

/// For each two positions of a window, the place of their distance among all there are, row by row.
pub(crate) fn relative_positions(window: usize) -> Vec<i64> {
    let side = 2 * window - 1;
    let positions = window * window;
    let place = |pair: usize| {
        let (of, to) = (pair / positions, pair % positions);
        let apart = |of: usize, to: usize| of + window - 1 - to;
        (apart(of / window, to / window) * side + apart(of % window, to % window)) as i64
    };
    (0..positions * positions).map(place).collect()
}

/// Rows and columns of all distances within a window, on the logarithmic scale of Swin V2.
pub(crate) fn relative_coordinates(window: usize) -> Vec<f32> {
    let side = 2 * window - 1;
    let scaled = |at: usize| {
        let distance = (at as f64 - (window as f64 - 1.0)) / (window as f64 - 1.0) * 8.0;
        (distance.signum() * (distance.abs() + 1.0).log2() / 3.0) as f32
    };
    (0..side * side).flat_map(|at| [scaled(at / side), scaled(at % side)]).collect()
}
