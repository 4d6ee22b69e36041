//! Normalization of every position by its channels (layer normalization), softmax, and a factor for each channel of an image
//! (squeeze-excitation), with their backward passes: rows and images in parallel.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::filters::LANES;
use crate::gates::exp_negative;
use crate::operation::{Tracked, Values, contiguous, from_values, lifted, shape4, slice};
use crate::statistics::column_sums;
use crate::vectors::with_vectors;

/// Rows of a task. It depends on nothing, so that sums do not either.
const ROWS_PER_TASK: usize = 32;

/// What the backward pass needs besides the rows: mean and 1 / sqrt(variance + ε) of each.
type RowMoments = Vec<[f32; 2]>;

/// `y = γ · (x − mean) / sqrt(variance + ε) + β` over the last dimension.
///
/// # Shapes
/// `x` and `y`: `[n, h, w, c]`; γ and β: `[c]`.
pub fn normalize_rows(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<4> {
    let is_plain = [x.device(), gamma.device(), beta.device()].iter().all(|device| !device.is_autodiff());
    let (x, parameters) = (lifted(x), [lifted(gamma), lifted(beta)]);
    let nodes = [x.node(), parameters[0].node(), parameters[1].node()];
    let x = contiguous(x.into_primitive());
    let [gamma, beta] = parameters.map(|tensor| contiguous(tensor.into_primitive()));
    let (y, moments) = forward(slice(&x), [slice(&gamma), slice(&beta)], epsilon as f32);
    let y = from_values(y, shape4(&x));
    if is_plain {
        return Tensor::from_primitive::<Flex>(y);
    }
    let y: Tracked = match RowsBackward.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((x, gamma, moments), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(y)
}

/// The sum over a row of what is made of its values and others beside them, by lanes.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(*a, *b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum();
    lanes.iter().sum::<f32>() + rest
}

fn forward(x: &[f32], [gamma, beta]: [&[f32]; 2], epsilon: f32) -> (Vec<f32>, RowMoments) {
    let channels = gamma.len();
    let share = 1.0 / channels as f32;
    let mut y = vec![0.0; x.len()];
    let mut moments = vec![[0.0; 2]; x.len() / channels];
    let of_task = ROWS_PER_TASK * channels;
    let tasks = y.par_chunks_mut(of_task).zip(moments.par_chunks_mut(ROWS_PER_TASK));
    tasks.zip(x.par_chunks(of_task)).for_each(|((y, moments), x)| {
        with_vectors!({
            let rows = y.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
            for ((y, x), moments) in rows.zip(moments.iter_mut()) {
                let mean = share * sum(x, x, |x, _| x);
                let variance = share * sum(x, x, |x, _| (x - mean) * (x - mean));
                let inverse = 1.0 / (variance + epsilon).sqrt();
                *moments = [mean, inverse];
                for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                    *y = (x - mean) * inverse * gamma + beta;
                }
            }
        });
    });
    (y, moments)
}

/// Gradients of x, γ and β. With g = γ · dy and x̂ the normalized row, dx = inverse · (g − mean(g) − x̂ · mean(g · x̂)).
fn backward(x: &[f32], gamma: &[f32], moments: &RowMoments, dy: &[f32]) -> [Vec<f32>; 3] {
    let channels = gamma.len();
    let share = 1.0 / channels as f32;
    let mut dx = vec![0.0; x.len()];
    let of_task = ROWS_PER_TASK * channels;
    let tasks = x.par_chunks(of_task).zip(dy.par_chunks(of_task)).zip(moments.par_chunks(ROWS_PER_TASK));
    let sums: Vec<[Vec<f32>; 2]> = dx
        .par_chunks_mut(of_task)
        .zip(tasks)
        .map(|(dx, ((x, dy), moments))| {
            let mut sums = [vec![0.0; channels], vec![0.0; channels]];
            let [of_gamma, of_beta] = sums.each_mut().map(Vec::as_mut_slice);
            with_vectors!({
                let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
                for ((dx, (x, dy)), [mean, inverse]) in dx.chunks_exact_mut(channels).zip(rows).zip(moments) {
                    for ((dx, dy), gamma) in dx.iter_mut().zip(dy).zip(gamma) {
                        *dx = dy * gamma;
                    }
                    let plain = share * sum(dx, x, |g, _| g);
                    let weighted = share * sum(dx, x, |g, x| g * ((x - mean) * inverse));
                    for (at, dx) in dx.iter_mut().enumerate() {
                        let normalized = (x[at] - mean) * inverse;
                        *dx = inverse * (*dx - plain - normalized * weighted);
                        of_gamma[at] += dy[at] * normalized;
                        of_beta[at] += dy[at];
                    }
                }
            });
            sums
        })
        .collect();
    let (of_gamma, of_beta): (Vec<_>, Vec<_>) = sums.into_iter().map(|[gamma, beta]| (gamma, beta)).unzip();
    let joined = |rows: &[Vec<f32>]| column_sums(rows, channels).into_iter().map(|sum| sum as f32).collect();
    [dx, joined(&of_gamma), joined(&of_beta)]
}

/// Of x, γ and β.
#[derive(Debug)]
struct RowsBackward;

impl Backward<Flex, 3> for RowsBackward {
    type State = (Values, Values, RowMoments);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, gamma, moments) = ops.state;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [dx, of_gamma, of_beta] = backward(slice(&x), slice(&gamma), &moments, slice(&dy));
        let vector = |values: Vec<f32>| {
            let count = values.len();
            from_values(values, [count])
        };
        let gradients = [from_values(dx, shape4(&x)), vector(of_gamma), vector(of_beta)];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// `y = e^x / Σ e^x` over the last dimension.
///
/// # Shapes
/// Both `[a, b, c, columns]`.
pub fn softmax_rows(x: Tensor<4>) -> Tensor<4> {
    let is_plain = !x.device().is_autodiff();
    let x = lifted(x);
    let node = x.node();
    let x = contiguous(x.into_primitive());
    let shape = shape4(&x);
    let mut y = vec![0.0; slice(&x).len()];
    let of_task = ROWS_PER_TASK * shape[3];
    y.par_chunks_mut(of_task).zip(slice(&x).par_chunks(of_task)).for_each(|(y, x)| {
        with_vectors!({
            for (y, x) in y.chunks_exact_mut(shape[3]).zip(x.chunks_exact(shape[3])) {
                let largest = x.iter().fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
                for (y, x) in y.iter_mut().zip(x) {
                    *y = exp_negative(largest - x);
                }
                let share = 1.0 / sum(y, y, |y, _| y);
                y.iter_mut().for_each(|y| *y *= share);
            }
        });
    });
    let y = from_values(y, shape);
    if is_plain {
        return Tensor::from_primitive::<Flex>(y);
    }
    let y: Tracked = match SoftmaxBackward.prepare::<NoCheckpointing>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(y)
}

/// dx = y · (dy − Σ dy · y).
#[derive(Debug)]
struct SoftmaxBackward;

impl Backward<Flex, 1> for SoftmaxBackward {
    type State = Values;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let y = ops.state;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let shape @ [.., columns] = shape4(&y);
        let mut dx = vec![0.0; slice(&y).len()];
        let of_task = ROWS_PER_TASK * columns;
        let tasks = slice(&y).par_chunks(of_task).zip(slice(&dy).par_chunks(of_task));
        dx.par_chunks_mut(of_task).zip(tasks).for_each(|(dx, (y, dy))| {
            with_vectors!({
                let rows = y.chunks_exact(columns).zip(dy.chunks_exact(columns));
                for (dx, (y, dy)) in dx.chunks_exact_mut(columns).zip(rows) {
                    let all = sum(dy, y, |dy, y| dy * y);
                    for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                        *dx = y * (dy - all);
                    }
                }
            });
        });
        grads.register::<Flex>(parent.id, from_values(dx, shape));
    }
}

/// `y = x · factor`, a factor for each channel of each image.
///
/// # Shapes
/// `x` and `y`: `[n, h, w, c]`; factors: `[n, 1, 1, c]`.
pub fn scale_channels(x: Tensor<4>, factors: Tensor<4>) -> Tensor<4> {
    let is_plain = !(x.device().is_autodiff() || factors.device().is_autodiff());
    let (x, factors) = (lifted(x), lifted(factors));
    let nodes = [x.node(), factors.node()];
    let [x, factors] = [x, factors].map(|tensor| contiguous(tensor.into_primitive()));
    let y = from_values(scaled(slice(&x), slice(&factors), shape4(&x)), shape4(&x));
    if is_plain {
        return Tensor::from_primitive::<Flex>(y);
    }
    let y: Tracked = match ScaleBackward.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((x, factors), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(y)
}

fn scaled(x: &[f32], factors: &[f32], [_, height, width, channels]: [usize; 4]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let of_image = height * width * channels;
    let images = x.par_chunks(of_image).zip(factors.par_chunks(channels));
    y.par_chunks_mut(of_image).zip(images).for_each(|(y, (x, factors))| {
        with_vectors!({
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
                    *y = x * factor;
                }
            }
        });
    });
    y
}

/// Of x and the factors.
#[derive(Debug)]
struct ScaleBackward;

impl Backward<Flex, 2> for ScaleBackward {
    type State = (Values, Values);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, factors) = ops.state;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let shape @ [_, height, width, channels] = shape4(&x);
        let [of_x, of_factors] = ops.parents;
        if let Some(parent) = of_factors {
            let mut sums = vec![0.0; slice(&factors).len()];
            let of_image = height * width * channels;
            let images = slice(&x).par_chunks(of_image).zip(slice(&dy).par_chunks(of_image));
            sums.par_chunks_mut(channels).zip(images).for_each(|(sums, (x, dy))| {
                with_vectors!({
                    for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
                        for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                            *sum += x * dy;
                        }
                    }
                });
            });
            grads.register::<Flex>(parent.id, from_values(sums, shape4(&factors)));
        }
        if let Some(parent) = of_x {
            let dx = scaled(slice(&dy), slice(&factors), shape);
            grads.register::<Flex>(parent.id, from_values(dx, shape));
        }
    }
}
