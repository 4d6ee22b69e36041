//! What follows a convolution: scale and shift per channel, ReLU, 2x2 average pooling, and the backward pass.

use crate::shape::ConvShape;

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

impl Activation {
    /// Output height and width.
    pub(crate) fn out_size(self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Identity | Self::Relu => [height, width],
            Self::ReluAveragePool => [height / 2, width / 2],
        }
    }

    /// Values of one image after it.
    pub(crate) fn out_values(self, shape: &ConvShape) -> usize {
        let [height, width] = self.out_size([shape.out_height, shape.out_width]);
        height * width * shape.outputs
    }
}

/// max(0, x), but NaN stays NaN (`f32::max` would hide it): a broken network must be seen in the loss.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `y = activation(scale · z + shift)` for whole images, channels last.
#[inline(always)]
pub(crate) fn forward(
    activation: Activation,
    shape: &ConvShape,
    scale: &[f32],
    shift: &[f32],
    z: &[f32],
    y: &mut [f32],
) {
    let channels = shape.outputs;
    match activation {
        Activation::Identity => {
            for (z, y) in z.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                for (((y, z), scale), shift) in y.iter_mut().zip(z).zip(scale).zip(shift) {
                    *y = z * scale + shift;
                }
            }
        }
        Activation::Relu => {
            for (z, y) in z.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                for (((y, z), scale), shift) in y.iter_mut().zip(z).zip(scale).zip(shift) {
                    *y = relu(z * scale + shift);
                }
            }
        }
        Activation::ReluAveragePool => {
            let row = shape.out_width * channels;
            let images = z.chunks_exact(shape.output_values());
            for (z, y) in images.zip(y.chunks_exact_mut(activation.out_values(shape).max(1))) {
                let pooled_row = shape.out_width / 2 * channels;
                for (pair, y) in z.chunks_exact(2 * row).zip(y.chunks_exact_mut(pooled_row)) {
                    let (above, below) = pair.split_at(row);
                    let pairs = above.chunks_exact(2 * channels).zip(below.chunks_exact(2 * channels));
                    for ((above, below), y) in pairs.zip(y.chunks_exact_mut(channels)) {
                        let (a, b) = above.split_at(channels);
                        let (c, d) = below.split_at(channels);
                        for channel in 0..channels {
                            let on = |z: &[f32]| relu(z[channel] * scale[channel] + shift[channel]);
                            y[channel] = 0.25 * (on(a) + on(b) + on(c) + on(d));
                        }
                    }
                }
            }
        }
    }
}

/// One image's gradient before the activation: `visit(row, gradient)` for every row of `z` in order, with the gradient of
/// `scale · z + shift` at its pixels.
///
/// `visit` is called at one place only, so that it is compiled with the vector instructions of its caller.
#[inline(always)]
pub(crate) fn backward(
    activation: Activation,
    shape: &ConvShape,
    affine: [&[f32]; 2],
    z: &[f32],
    dy: &[f32],
    mut visit: impl FnMut(usize, &[f32]),
) {
    let channels = shape.outputs;
    let length = shape.out_width * channels;
    let [pooled_height, pooled_width] = activation.out_size([shape.out_height, shape.out_width]);
    let mut masked = vec![0.0; if activation == Activation::Identity { 0 } else { length }];
    for (row, z) in z.chunks_exact(length).enumerate() {
        let gradient = match activation {
            Activation::Identity => &dy[row * length..][..length],
            Activation::Relu => {
                let dy = &dy[row * length..][..length];
                let pixels = z.chunks_exact(channels).zip(dy.chunks_exact(channels));
                for ((z, dy), masked) in pixels.zip(masked.chunks_exact_mut(channels)) {
                    mask(masked, dy, 1.0, z, affine);
                }
                &masked
            }
            Activation::ReluAveragePool if row / 2 < pooled_height => {
                let dy = &dy[row / 2 * pooled_width * channels..][..pooled_width * channels];
                let pairs = z.chunks_exact(2 * channels).zip(dy.chunks_exact(channels));
                for ((z, dy), masked) in pairs.zip(masked.chunks_exact_mut(2 * channels)) {
                    let ((left, right), (z_left, z_right)) =
                        (masked.split_at_mut(channels), z.split_at(channels));
                    mask(left, dy, 0.25, z_left, affine);
                    mask(right, dy, 0.25, z_right, affine);
                }
                // an odd last column stays 0
                &masked
            }
            Activation::ReluAveragePool => {
                masked.fill(0.0);
                &masked
            }
        };
        visit(row, gradient);
    }
}

#[inline(always)]
fn mask(masked: &mut [f32], dy: &[f32], factor: f32, z: &[f32], [scale, shift]: [&[f32]; 2]) {
    for ((((masked, dy), z), scale), shift) in masked.iter_mut().zip(dy).zip(z).zip(scale).zip(shift) {
        let is_off = z * scale + shift <= 0.0;
        *masked = if is_off { 0.0 } else { factor * dy };
    }
}
