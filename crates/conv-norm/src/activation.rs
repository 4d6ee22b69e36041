//! What follows a convolution: scale and shift per channel, ReLU, 2x2 average pooling, and the backward pass.

use crate::shape::ConvShape;
use crate::vectors::with_vectors;

/// What is done to the normalized values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, ·); NaN stays NaN.
    Relu,
    /// max(0, ·), then 2x2 average pooling of stride 2; an odd last row or column is left out.
    ReluAveragePool,
}

/// Scale and shift per channel and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) activation: Activation,
}

/// max(floor, x), but NaN stays NaN (`f32::max` would hide it): a broken network must be seen in the loss.
#[inline(always)]
fn at_least(floor: f32, x: f32) -> f32 {
    if x < floor { floor } else { x }
}

impl Affine {
    /// Shape of the result, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self, shape: &ConvShape) -> [usize; 4] {
        let side = match self.activation {
            Activation::Identity | Activation::Relu => 1,
            Activation::ReluAveragePool => 2,
        };
        [shape.images, shape.out_height / side, shape.out_width / side, shape.outputs]
    }

    /// Values of one image after it.
    pub(crate) fn out_values(&self, shape: &ConvShape) -> usize {
        self.out_shape(shape)[1..].iter().product()
    }

    /// `y = activation(scale · z + shift)` for whole images, channels last.
    pub(crate) fn forward(&self, shape: &ConvShape, z: &[f32], y: &mut [f32]) {
        if self.activation == Activation::ReluAveragePool {
            return self.forward_pooled(shape, z, y);
        }
        with_vectors!({
            let (scale, shift, channels) = (self.scale.as_slice(), self.shift.as_slice(), shape.outputs);
            let floor = if self.activation == Activation::Identity { f32::NEG_INFINITY } else { 0.0 };
            for (z, y) in z.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                for (((y, z), scale), shift) in y.iter_mut().zip(z).zip(scale).zip(shift) {
                    *y = at_least(floor, z * scale + shift);
                }
            }
        });
    }

    fn forward_pooled(&self, shape: &ConvShape, z: &[f32], y: &mut [f32]) {
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
                            let on = |z: &[f32]| at_least(0.0, z[channel] * scale[channel] + shift[channel]);
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
        match self.activation {
            Activation::Identity => return &dy[row * length..][..length],
            Activation::Relu => {
                let dy = &dy[row * length..][..length];
                let pixels = z.chunks_exact(channels).zip(dy.chunks_exact(channels));
                for ((z, dy), masked) in pixels.zip(masked.chunks_exact_mut(channels)) {
                    mask(masked, dy, 1.0, z, affine);
                }
            }
            Activation::ReluAveragePool if row / 2 < shape.out_height / 2 => {
                let pooled = shape.out_width / 2 * channels;
                let dy = &dy[row / 2 * pooled..][..pooled];
                let pairs = z.chunks_exact(2 * channels).zip(dy.chunks_exact(channels));
                // an odd last column stays 0
                for ((z, dy), masked) in pairs.zip(masked.chunks_exact_mut(2 * channels)) {
                    let ((left, right), (z_left, z_right)) =
                        (masked.split_at_mut(channels), z.split_at(channels));
                    mask(left, dy, 0.25, z_left, affine);
                    mask(right, dy, 0.25, z_right, affine);
                }
            }
            Activation::ReluAveragePool => masked.fill(0.0),
        }
        masked
    }
}

/// The gradient of a pixel before a ReLU, times `factor`.
#[inline(always)]
fn mask(masked: &mut [f32], dy: &[f32], factor: f32, z: &[f32], [scale, shift]: [&[f32]; 2]) {
    for ((((masked, dy), z), scale), shift) in masked.iter_mut().zip(dy).zip(z).zip(scale).zip(shift) {
        let is_off = z * scale + shift <= 0.0;
        *masked = if is_off { 0.0 } else { factor * dy };
    }
}
