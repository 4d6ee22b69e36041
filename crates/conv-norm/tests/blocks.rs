//! Blocks and dual blocks against the same formulas written with Burn's own operations, with all their gradients, and
//! derivatives against finite differences.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::tensor::activation::{gelu, relu, relu6, sigmoid, silu, softplus};
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Device, Tensor, TensorData};
use delt_conv_norm::{
    Activation, BlockWeights, Geometry, Normalize, channels_first, channels_last, conv_block, conv_block_dual,
};

const EPSILON: f64 = 1e-5;

const GEOMETRY: Geometry = Geometry { kernel: 3, stride: 1, padding: 1, groups: 1 };

/// Values in −1..1 from a small linear congruential generator.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u32 << 23) as f32) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values(shape.iter().product(), seed), shape), device)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_data().expect("data").try_into_vec().expect("f32")
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    if size == 0.0 { difference.sqrt() } else { (difference / size).sqrt() }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    size: [usize; 2],
    inputs: usize,
    outputs: usize,
    has_bias: bool,
    has_norm: bool,
    normalize: Normalize,
    activation: Activation,
}

/// All normalizations and activations, one image and ten, sides that pooling cuts, narrow blocks and those in tiles.
fn cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu6, ReluAveragePool, Silu, SoftplusAveragePool};
    let sizes = [
        (1, [4, 4], [3, 8]),
        (10, [8, 8], [3, 8]),
        (10, [7, 5], [8, 16]),
        (1, [16, 16], [16, 32]),
        (10, [9, 6], [32, 16]),
        (10, [4, 4], [16, 16]),
    ];
    let mut cases = Vec::new();
    for (images, size, [inputs, outputs]) in sizes {
        for normalize in [Normalize::None, Normalize::Batch, Normalize::Instance] {
            for activation in [ReluAveragePool, SoftplusAveragePool(60.0)] {
                let (has_bias, has_norm) = (true, normalize != Normalize::None);
                let case = Case { images, size, inputs, outputs, has_bias, has_norm, normalize, activation };
                cases.push(case);
                if images == 10 {
                    let activation = match size[0] {
                        8 => Gelu,
                        7 => Silu,
                        9 => Relu6,
                        _ => Identity,
                    };
                    cases.push(Case { has_bias: false, has_norm: !has_norm, activation, ..case });
                }
            }
        }
    }
    cases
}

/// What a block takes, channels first, and what gradients can be asked of.
#[derive(Clone)]
struct Operands {
    x: Tensor<4>,
    x_dot: Option<Tensor<4>>,
    weights: BlockWeights,
}

impl Operands {
    /// Leaves of a graph.
    fn leaves(self) -> Self {
        let leaf = |x: Tensor<4>| x.autodiff().require_grad();
        let vector = |x: Tensor<1>| x.autodiff().require_grad();
        let BlockWeights { weight, bias, norm } = self.weights;
        let norm = norm.map(|(gamma, beta)| (vector(gamma), vector(beta)));
        let weights = BlockWeights { weight: leaf(weight), bias: bias.map(vector), norm };
        Self { x: leaf(self.x), x_dot: self.x_dot.map(leaf), weights }
    }

    /// All gradients of a loss; zeros of what it does not depend on.
    fn gradients(&self, loss: Tensor<1>) -> Vec<(&'static str, Vec<f32>)> {
        let gradients = loss.backward();
        let of = |x: &Tensor<4>| host(x.grad(&gradients).unwrap_or(x.clone().inner().zeros_like()));
        let of_vector = |x: &Tensor<1>| host(x.grad(&gradients).unwrap_or(x.clone().inner().zeros_like()));
        let BlockWeights { weight, bias, norm } = &self.weights;
        let mut found = vec![("x", of(&self.x)), ("weight", of(weight))];
        found.extend(self.x_dot.iter().map(|x| ("x_dot", of(x))));
        found.extend(bias.iter().map(|bias| ("bias", of_vector(bias))));
        if let Some((gamma, beta)) = norm {
            found.extend([("gamma", of_vector(gamma)), ("beta", of_vector(beta))]);
        }
        found
    }
}

impl Case {
    fn weights(&self, seed: u64, device: &Device) -> BlockWeights {
        let scale = ((self.inputs * 9) as f64).sqrt().recip();
        let weight = random([self.outputs, self.inputs, 3, 3], seed, device).mul_scalar(scale);
        let vector = |at| random([self.outputs], seed + at, device);
        let bias = self.has_bias.then(|| vector(1));
        let norm = self.has_norm.then(|| (vector(2).add_scalar(1.1), vector(3)));
        BlockWeights { weight, bias, norm }
    }

    fn operands(&self, has_dot: bool) -> Operands {
        let device = Device::flex();
        let shape = [self.images, self.inputs, self.size[0], self.size[1]];
        let x_dot = has_dot.then(|| random(shape, 8, &device));
        Operands { x: random(shape, 7, &device), x_dot, weights: self.weights(1, &device) }
    }

    /// Mean over what is normalized together.
    fn mean(&self, x: Tensor<4>) -> Tensor<4> {
        let means = x.mean_dim(3).mean_dim(2);
        if self.normalize == Normalize::Batch { means.mean_dim(0) } else { means }
    }

    fn pool(&self, x: Tensor<4>) -> Tensor<4> {
        match self.activation {
            Activation::ReluAveragePool | Activation::SoftplusAveragePool(_) => {
                avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]))
            }
            _ => x,
        }
    }

    /// Value and derivative by Burn's own operations.
    fn plain(&self, operands: &Operands, direction: &BlockWeights) -> (Tensor<4>, Tensor<4>) {
        let Operands { x, x_dot, weights } = operands.clone();
        let convolve = |x, weight, bias| conv2d(x, weight, bias, ConvOptions::new([1; 2], [1; 2], [1; 2], 1));
        let spread = |values: Tensor<1>| values.reshape([1, self.outputs, 1, 1]);
        let mut a = convolve(x.clone(), weights.weight.clone(), weights.bias);
        let mut a_dot = convolve(x, direction.weight.clone(), direction.bias.clone());
        if let Some(x_dot) = x_dot {
            a_dot = a_dot + convolve(x_dot, weights.weight, None);
        }
        if self.normalize != Normalize::None {
            let centered = a.clone() - self.mean(a);
            let inverse = self.mean(centered.clone().square()).add_scalar(EPSILON).sqrt().recip();
            let unit = centered * inverse.clone();
            let centered_dot = a_dot.clone() - self.mean(a_dot);
            let skew = self.mean(unit.clone() * centered_dot.clone());
            a_dot = inverse * (centered_dot - unit.clone() * skew);
            a = unit;
        }
        if let (Some((gamma, beta)), Some((gamma_dot, beta_dot))) = (weights.norm, direction.norm.clone()) {
            a_dot = a_dot * spread(gamma.clone()) + a.clone() * spread(gamma_dot) + spread(beta_dot);
            a = a * spread(gamma) + spread(beta);
        }
        let (y, y_dot) = match self.activation {
            Activation::Identity => (a, a_dot),
            Activation::Relu | Activation::ReluAveragePool => {
                let is_off = a.clone().lower_equal_elem(0.0);
                (relu(a), a_dot.mask_fill(is_off, 0.0))
            }
            Activation::Relu6 => {
                let is_off = a.clone().lower_equal_elem(0.0).bool_or(a.clone().greater_equal_elem(6.0));
                (relu6(a), a_dot.mask_fill(is_off, 0.0))
            }
            Activation::Silu => {
                let open = sigmoid(a.clone());
                let slope = open.clone() * (a.clone() * (open.neg() + 1.0) + 1.0);
                (silu(a), slope * a_dot)
            }
            Activation::Gelu => {
                let share = ((a.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
                let bell = (a.clone().square() * -0.5).exp() * (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5);
                (gelu(a.clone()), (share + a * bell) * a_dot)
            }
            Activation::SoftplusAveragePool(beta) => {
                (softplus(a.clone(), beta.into()), sigmoid(a.mul_scalar(beta)) * a_dot)
            }
        };
        (self.pool(y), self.pool(y_dot))
    }

    fn single(&self, Operands { x, weights, .. }: &Operands) -> Tensor<4> {
        let x = channels_last(x.clone());
        channels_first(conv_block(x, weights.clone(), GEOMETRY, self.normalize, self.activation, EPSILON))
    }

    fn dual(&self, operands: &Operands, direction: &BlockWeights) -> (Tensor<4>, Tensor<4>) {
        let Operands { x, x_dot, weights } = operands.clone();
        let (x, x_dot) = (channels_last(x), x_dot.map(channels_last));
        let (weights, direction) = (weights, direction.clone());
        let (normalize, activation) = (self.normalize, self.activation);
        let (y, y_dot) =
            conv_block_dual(x, x_dot, weights, direction, GEOMETRY, normalize, activation, EPSILON);
        (channels_first(y), channels_first(y_dot))
    }

    fn assert_close(&self, what: &str, found: &[f32], expected: &[f32]) {
        // a bias before a normalization has gradient 0 up to rounding
        let is_zero = what == "bias" && self.normalize != Normalize::None;
        let error =
            if is_zero { relative(found, &vec![0.0; found.len()]) } else { relative(found, expected) };
        // the slope of a sharp softplus changes by β for each of its values' rounding errors
        let tolerance =
            if matches!(self.activation, Activation::SoftplusAveragePool(_)) { 5e-5 } else { 1e-5 };
        assert!(error < tolerance, "{what} of {self:?}: relative error {error:e}");
    }
}

/// A loss with a different slope at every output.
fn weighted_sum(y: Tensor<4>, seed: u64) -> Tensor<1> {
    let weights = random(y.dims(), seed, &y.device().without_autodiff());
    (y * weights).sum()
}

#[test]
fn blocks_agree_with_plain_operations() {
    for case in cases() {
        let operands = case.operands(false).leaves();
        let (y, _) = case.plain(&operands, &case.weights(20, &Device::flex()));
        let expected = (host(y.clone()), operands.gradients(weighted_sum(y, 11)));
        let operands = case.operands(false).leaves();
        let y = case.single(&operands);
        case.assert_close("output", &host(y.clone()), &expected.0);
        case.assert_close("plain output", &host(case.single(&case.operands(false))), &host(y.clone()));
        for ((what, found), (_, expected)) in operands.gradients(weighted_sum(y, 11)).iter().zip(&expected.1)
        {
            case.assert_close(what, found, expected);
        }
    }
}

#[test]
fn dual_blocks_agree_with_plain_operations() {
    let loss = |(y, y_dot): (Tensor<4>, Tensor<4>)| weighted_sum(y, 11) + weighted_sum(y_dot, 12);
    for case in cases() {
        let direction = case.weights(20, &Device::flex());
        for has_dot in [false, true] {
            let operands = case.operands(has_dot).leaves();
            let pair = case.plain(&operands, &direction);
            let expected = (pair.clone(), operands.gradients(loss(pair)));
            let operands = case.operands(has_dot).leaves();
            let pair = case.dual(&operands, &direction);
            case.assert_close("value", &host(pair.0.clone()), &host(expected.0.0));
            case.assert_close("derivative", &host(pair.1.clone()), &host(expected.0.1));
            for ((what, found), (_, expected)) in operands.gradients(loss(pair)).iter().zip(&expected.1) {
                case.assert_close(what, found, expected);
            }
        }
    }
}

#[test]
fn a_loss_of_the_derivative_alone_has_its_gradients() {
    for case in cases() {
        let direction = case.weights(20, &Device::flex());
        let operands = case.operands(true).leaves();
        let expected = operands.gradients(weighted_sum(case.plain(&operands, &direction).1, 12));
        let operands = case.operands(true).leaves();
        let found = operands.gradients(weighted_sum(case.dual(&operands, &direction).1, 12));
        for ((what, found), (_, expected)) in found.iter().zip(&expected) {
            case.assert_close(what, found, expected);
        }
    }
}

#[test]
fn derivatives_agree_with_finite_differences() {
    for case in cases() {
        let case = Case { activation: Activation::SoftplusAveragePool(4.0), ..case };
        let direction = case.weights(20, &Device::flex());
        let operands = case.operands(true);
        let (_, y_dot) = case.dual(&operands, &direction);
        let moved = |step: f64| {
            let Operands { x, x_dot, weights } = operands.clone();
            let add = |a: Tensor<1>, b: Tensor<1>| a + b.mul_scalar(step);
            let norm = weights.norm.zip(direction.norm.clone());
            let weights = BlockWeights {
                weight: weights.weight + direction.weight.clone().mul_scalar(step),
                bias: weights.bias.zip(direction.bias.clone()).map(|(a, b)| add(a, b)),
                norm: norm.map(|((gamma, beta), (a, b))| (add(gamma, a), add(beta, b))),
            };
            let x = x + x_dot.expect("moves").mul_scalar(step);
            case.single(&Operands { x, x_dot: None, weights })
        };
        let slope = (moved(5e-3) - moved(-5e-3)).div_scalar(1e-2);
        let error = relative(&host(slope), &host(y_dot));
        assert!(error < 2e-3, "{case:?}: relative error {error:e}");
    }
}

#[test]
fn constants_of_the_graph_have_no_gradient_and_do_not_hinder_the_others() {
    for case in cases() {
        let direction = case.weights(20, &Device::flex());
        let all = case.operands(true).leaves();
        let expected = all.gradients(weighted_sum(case.dual(&all, &direction).1, 12));
        // pixels alone
        let mut pixels = case.operands(true);
        pixels.x = pixels.x.autodiff().require_grad();
        let (y, y_dot) = case.dual(&pixels, &direction);
        let gradients = (weighted_sum(y_dot, 12) + y.sum().mul_scalar(0.0)).backward();
        case.assert_close("x", &host(pixels.x.grad(&gradients).expect("gradient")), &expected[0].1);
        // weights alone
        let mut weights = case.operands(true);
        weights.weights = all.weights.clone();
        let gradients = weighted_sum(case.dual(&weights, &direction).1, 12).backward();
        let found = host(weights.weights.weight.grad(&gradients).expect("gradient"));
        case.assert_close("weight", &found, &expected[1].1);
    }
}

#[test]
fn a_value_that_is_no_number_is_not_hidden() {
    for case in cases() {
        let mut operands = case.operands(true);
        operands.x = operands.x.slice_fill([0..1, 0..1, 0..1, 0..1], f32::NAN);
        let operands = operands.leaves();
        let (y, y_dot) = case.dual(&operands, &case.weights(20, &Device::flex()));
        for y in [y.clone(), y_dot.clone()] {
            assert!(host(y).iter().any(|y| y.is_nan()), "{case:?}");
        }
        let gradients = operands.gradients(weighted_sum(y, 11) + weighted_sum(y_dot, 12));
        assert!(gradients[0].1.iter().any(|g| g.is_nan()), "{case:?}");
    }
}

#[test]
fn bytes_of_blocks_do_not_depend_on_the_number_of_threads() {
    for case in cases() {
        let direction = case.weights(20, &Device::flex());
        let run = || {
            let operands = case.operands(true).leaves();
            let (y, y_dot) = case.dual(&operands, &direction);
            let out = (host(y.clone()), host(y_dot.clone()));
            let dual = operands.gradients(weighted_sum(y, 11) + weighted_sum(y_dot, 12));
            let operands = case.operands(false).leaves();
            (out, dual, operands.gradients(weighted_sum(case.single(&operands), 11)))
        };
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        assert_eq!(pool(2).install(run), pool(1).install(run), "{case:?}");
    }
}
