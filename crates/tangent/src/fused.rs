//! Blocks as one operation on the CPU, channels last: convolution, normalization, activation and pooling with their derivatives.

use burn::tensor::Tensor;
use delt_conv_norm::{Activation as Gate, BlockWeights, Geometry, Normalize, conv_block, conv_block_dual};

use crate::form::{Activation, KERNEL, Norm};
use crate::forward::Statistics;
use crate::layers::{Both, By, EPSILON};

/// Convolution weights of a block, and γ and β where it normalizes behind the convolution.
pub(crate) type Weights<'a> = (&'a (Tensor<4>, Tensor<1>), Option<&'a (Tensor<1>, Tensor<1>)>);

const GEOMETRY: Geometry = Geometry { kernel: KERNEL, stride: 1, padding: KERNEL / 2, groups: 1 };

/// W * x + b alone.
pub(crate) fn convolved(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let weights = BlockWeights { weight, bias, norm: None };
    conv_block(x, weights, GEOMETRY, Normalize::None, Gate::Identity, EPSILON)
}

/// A whole block.
pub(crate) fn block(
    x: Both,
    weights: Weights<'_>,
    direction: Option<Weights<'_>>,
    by: &By<'_>,
    activation: Activation,
) -> Both {
    let normalize = match by {
        By::Own(Norm::Instance) => Normalize::Instance,
        By::Own(Norm::Batch) => Normalize::Batch,
        _ => Normalize::None,
    };
    let gate = match activation {
        Activation::Relu => Gate::ReluAveragePool,
        Activation::Softplus { beta } => Gate::SoftplusAveragePool(beta as f32),
    };
    let own = of(weights, by);
    match direction {
        None => {
            let value = conv_block(x.value, own, GEOMETRY, normalize, gate, EPSILON);
            Both { value, dot: None }
        }
        Some(direction) => {
            let direction = of(direction, by);
            let (value, dot) =
                conv_block_dual(x.value, x.dot, own, direction, GEOMETRY, normalize, gate, EPSILON);
            Both { value, dot: Some(dot) }
        }
    }
}

/// The weights of a block; running statistics make (z − μ) r γ + β of it, which is linear in γ and β, as is its derivative.
fn of(((weight, bias), norm): Weights<'_>, by: &By<'_>) -> BlockWeights {
    let norm = norm.map(|(gamma, beta)| match by {
        By::Running(Statistics { mean, variance }) => {
            let gamma = gamma.clone() / (variance.clone() + EPSILON).sqrt();
            (gamma.clone(), beta.clone() - mean.clone() * gamma)
        }
        _ => (gamma.clone(), beta.clone()),
    });
    BlockWeights { weight: weight.clone(), bias: Some(bias.clone()), norm }
}
