//! What follows a convolution: scale and shift per channel, ReLU, 2x2 average pooling, and the way back.

use crate::shape::ConvShape;

/// What is done to the normalised values.
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

/// One image's gradient before the activation: `visit(pixel, gradient)` for every pixel of `z` in order, where the gradient
/// of `scale · z + shift` at the pixel stands in a buffer of its channels.
#[inline(always)]
pub(crate) fn backward(
    activation: Activation,
    shape: &ConvShape,
    scale: &[f32],
    shift: &[f32],
    z: &[f32],
    dy: &[f32],
    mut visit: impl FnMut(usize, &[f32]),
) {
    let channels = shape.outputs;
    let [pooled_height, pooled_width] = activation.out_size([shape.out_height, shape.out_width]);
    let mut masked = vec![0.0; channels];
    let (masked, scale, shift) = (&mut masked[..channels], &scale[..channels], &shift[..channels]);
    for (pixel, z) in z.chunks_exact(channels).enumerate() {
        let share = |at: usize| &dy[at * channels..][..channels];
        match activation {
            Activation::Identity => {
                visit(pixel, share(pixel));
                continue;
            }
            Activation::Relu => mask(masked, share(pixel), 1.0, z, scale, shift),
            Activation::ReluAveragePool => {
                let (y, x) = (pixel / shape.out_width / 2, pixel % shape.out_width / 2);
                if y < pooled_height && x < pooled_width {
                    mask(masked, share(y * pooled_width + x), 0.25, z, scale, shift);
                } else {
                    masked.fill(0.0);
                }
            }
        }
        visit(pixel, masked);
    }
}

#[inline(always)]
fn mask(masked: &mut [f32], dy: &[f32], factor: f32, z: &[f32], scale: &[f32], shift: &[f32]) {
    let channels = masked.len();
    let (dy, z, scale, shift) = (&dy[..channels], &z[..channels], &scale[..channels], &shift[..channels]);
    for channel in 0..channels {
        let is_off = z[channel] * scale[channel] + shift[channel] <= 0.0;
        masked[channel] = if is_off { 0.0 } else { factor * dy[channel] };
    }
}
