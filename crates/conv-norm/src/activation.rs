//! What follows a convolution: scale and shift per channel, a gate, 2x2 average pooling, and the backward pass.

use rayon::prelude::*;

use crate::gates::Gate;
use crate::shape::ConvShape;
use crate::vectors::with_vectors;

/// Values whose gates a task passes back.
const PULLED_TOGETHER: usize = 1 << 14;

/// What is done to the normalized values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, ·); NaN stays NaN.
    Relu,
    /// min(max(0, ·), 6); NaN stays NaN.
    Relu6,
    /// a / (1 + e^{−a}), also called swish.
    Silu,
    /// a · Φ(a), Φ the normal distribution.
    Gelu,
    /// max(0, ·), then 2x2 average pooling of stride 2; an odd last row or column is left out.
    ReluAveragePool,
    /// Softplus, log(1 + e^{βa}) / β with this β, then the same pooling.
    SoftplusAveragePool(f32),
}

/// Runs an expression with the [`Gate`] of an activation.
macro_rules! with_gate {
    ($activation:expr, $gate:ident => $body:expr) => {
        match $activation {
            $crate::activation::Activation::Identity => {
                let $gate = $crate::gates::Linear;
                $body
            }
            $crate::activation::Activation::Relu | $crate::activation::Activation::ReluAveragePool => {
                let $gate = $crate::gates::Rectifier;
                $body
            }
            $crate::activation::Activation::Relu6 => {
                let $gate = $crate::gates::Rectifier6;
                $body
            }
            $crate::activation::Activation::Silu => {
                let $gate = $crate::gates::Silu;
                $body
            }
            $crate::activation::Activation::Gelu => {
                let $gate = $crate::gates::Gelu;
                $body
            }
            $crate::activation::Activation::SoftplusAveragePool(beta) => {
                let $gate = $crate::gates::Softplus { beta };
                $body
            }
        }
    };
}
pub(crate) use with_gate;

impl Activation {
    /// From the gradient of results that were a sum before this activation, without pooling, that of the sum, in its place. The
    /// results tell where gates are open.
    pub(crate) fn pull(self, results: &[f32], gradient: &mut [f32]) {
        let tasks = gradient.par_chunks_mut(PULLED_TOGETHER).zip(results.par_chunks(PULLED_TOGETHER));
        with_gate!(self, gate => tasks.for_each(|(gradient, results)| with_vectors!({
            for (gradient, result) in gradient.iter_mut().zip(results) {
                *gradient = gate.pull(*result, *gradient);
            }
        })));
    }

    /// Side of the squares that are averaged.
    pub(crate) fn pooled_side(self) -> usize {
        match self {
            Self::Identity | Self::Relu | Self::Relu6 | Self::Silu | Self::Gelu => 1,
            Self::ReluAveragePool | Self::SoftplusAveragePool(_) => 2,
        }
    }
}

/// Scale and shift per channel and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) activation: Activation,
}

/// An [`Affine`] without pooling, in the place of what a convolution has made.
#[derive(Clone, Copy)]
pub(crate) struct After<'a> {
    affine: &'a Affine,
    /// As many values as there are results, added before the activation; or none.
    residual: &'a [f32],
}

impl After<'_> {
    /// To the results of some pixels, which begin at `from`.
    #[inline(always)]
    pub(crate) fn apply(&self, from: usize, results: &mut [f32]) {
        let [scale, shift] = [&self.affine.scale[..], &self.affine.shift[..]];
        let values = results.len();
        let pixels = results.chunks_exact_mut(scale.len());
        with_gate!(self.affine.activation, gate => if self.residual.is_empty() {
            for results in pixels {
                for ((y, scale), shift) in results.iter_mut().zip(scale).zip(shift) {
                    *y = gate.value(*y * scale + shift);
                }
            }
        } else {
            let residual = self.residual[from..from + values].chunks_exact(scale.len());
            for (results, residual) in pixels.zip(residual) {
                for (((y, scale), shift), residual) in results.iter_mut().zip(scale).zip(shift).zip(residual) {
                    *y = gate.value(*y * scale + shift + residual);
                }
            }
        });
    }

    /// The same beside them: what was made of `z`.
    #[inline(always)]
    fn write(&self, z: &[f32], y: &mut [f32]) {
        let [scale, shift] = [&self.affine.scale[..], &self.affine.shift[..]];
        let channels = scale.len();
        let pixels = z.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
        with_gate!(self.affine.activation, gate => if self.residual.is_empty() {
            for (z, y) in pixels {
                for (((z, y), scale), shift) in z.iter().zip(y).zip(scale).zip(shift) {
                    *y = gate.value(z * scale + shift);
                }
            }
        } else {
            for ((z, y), residual) in pixels.zip(self.residual.chunks_exact(channels)) {
                for ((((z, y), scale), shift), residual) in z.iter().zip(y).zip(scale).zip(shift).zip(residual) {
                    *y = gate.value(z * scale + shift + residual);
                }
            }
        });
    }
}

impl Affine {
    /// What follows a convolution that leaves so many values, where there is no pooling.
    pub(crate) fn after<'a>(&'a self, residual: &'a [f32]) -> Option<After<'a>> {
        (self.activation.pooled_side() == 1).then_some(After { affine: self, residual })
    }

    /// Shape of the result, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self, shape: &ConvShape) -> [usize; 4] {
        let side = self.activation.pooled_side();
        [shape.images, shape.out_height / side, shape.out_width / side, shape.outputs]
    }

    /// Values of one image after it.
    pub(crate) fn out_values(&self, shape: &ConvShape) -> usize {
        self.out_shape(shape)[1..].iter().product()
    }

    /// `y = activation(scale · z + shift + residual)` for whole images, channels last; only without pooling can there be a
    /// residual.
    pub(crate) fn forward(&self, shape: &ConvShape, z: &[f32], residual: &[f32], y: &mut [f32]) {
        let Some(after) = self.after(residual) else {
            return with_gate!(self.activation, gate => self.forward_pooled(gate, shape, z, y));
        };
        with_vectors!({ after.write(z, y) });
    }

    fn forward_pooled(&self, gate: impl Gate, shape: &ConvShape, z: &[f32], y: &mut [f32]) {
        with_vectors!({
            let (scale, shift, channels) = (self.scale.as_slice(), self.shift.as_slice(), shape.outputs);
            let (row, pooled_row) = (shape.out_row(), shape.out_width / 2 * channels);
            let images = z.chunks_exact(shape.output_values());
            for (z, y) in images.zip(y.chunks_exact_mut(self.out_values(shape).max(1))) {
                for (pair, y) in z.chunks_exact(2 * row).zip(y.chunks_exact_mut(pooled_row)) {
                    let (above, below) = pair.split_at(row);
                    let pairs = above.chunks_exact(2 * channels).zip(below.chunks_exact(2 * channels));
                    for ((above, below), y) in pairs.zip(y.chunks_exact_mut(channels)) {
                        let (a, b) = above.split_at(channels);
                        let (c, d) = below.split_at(channels);
                        for channel in 0..channels {
                            let on = |z: &[f32]| gate.value(z[channel] * scale[channel] + shift[channel]);
                            y[channel] = 0.25 * (on(a) + on(b) + on(c) + on(d));
                        }
                    }
                }
            }
        });
    }

    /// The gradient of `scale · z + shift` at a row of an image, from the row of `z` and the image's gradient `dy` of the
    /// output: a part of `dy`, or `masked`, which must be zeros or come from here.
    #[inline(always)]
    pub(crate) fn gradient_of_row<'a>(
        &self,
        shape: &ConvShape,
        row: usize,
        z: &[f32],
        dy: &'a [f32],
        masked: &'a mut [f32],
    ) -> &'a [f32] {
        let (channels, length) = (shape.outputs, z.len());
        let affine = [self.scale.as_slice(), self.shift.as_slice()];
        if self.activation == Activation::Identity {
            return &dy[row * length..][..length];
        }
        with_gate!(self.activation, gate => match self.activation.pooled_side() {
            1 => {
                let dy = &dy[row * length..][..length];
                let pixels = z.chunks_exact(channels).zip(dy.chunks_exact(channels));
                for ((z, dy), masked) in pixels.zip(masked.chunks_exact_mut(channels)) {
                    mask(gate, masked, dy, 1.0, z, affine);
                }
            }
            _ if row / 2 < shape.out_height / 2 => {
                let pooled = shape.out_width / 2 * channels;
                let dy = &dy[row / 2 * pooled..][..pooled];
                let pairs = z.chunks_exact(2 * channels).zip(dy.chunks_exact(channels));
                // an odd last column stays 0
                for ((z, dy), masked) in pairs.zip(masked.chunks_exact_mut(2 * channels)) {
                    let ((left, right), (z_left, z_right)) =
                        (masked.split_at_mut(channels), z.split_at(channels));
                    mask(gate, left, dy, 0.25, z_left, affine);
                    mask(gate, right, dy, 0.25, z_right, affine);
                }
            }
            _ => masked.fill(0.0),
        });
        masked
    }
}

/// The gradient of a pixel before its gate, times `factor`.
#[inline(always)]
fn mask(
    gate: impl Gate,
    masked: &mut [f32],
    dy: &[f32],
    factor: f32,
    z: &[f32],
    [scale, shift]: [&[f32]; 2],
) {
    for ((((masked, dy), z), scale), shift) in masked.iter_mut().zip(dy).zip(z).zip(scale).zip(shift) {
        *masked = gate.pull(z * scale + shift, factor * dy);
    }
}
