//! The loops over the pixels of an image: activation, pooling, and the backward pass through both and the normalization.

use super::moments::add_row;
use super::normal::{Correction, Normal, Sums};
use crate::activation::{Activation, with_gate};
use crate::gates::Gate;
use crate::shape::ConvShape;
use crate::vectors::with_vectors;

/// What happens to the images of a block after the convolution. Pairs are values and their derivatives, which are empty in
/// a block without them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels {
    pub(crate) shape: ConvShape,
    pub(crate) activation: Activation,
}

/// Gradients of a row of a and of ȧ, with zeros at first or from here.
struct Row {
    p: Vec<f32>,
    q: Vec<f32>,
}

/// Calls a function of this kind with what the activation and the absence of derivatives stand for.
macro_rules! dispatch {
    ($self:ident, $is_dual:expr, $function:ident($($argument:expr),*)) => {
        with_gate!($self.activation, gate => if $is_dual {
            with_vectors!({ $self.$function::<_, true>(gate, $($argument),*) })
        } else {
            with_vectors!({ $self.$function::<_, false>(gate, $($argument),*) })
        })
    };
}

/// `values[from..from + count]` where a block has derivatives.
#[inline(always)]
fn dots<const DUAL: bool>(values: &[f32], from: usize, count: usize) -> &[f32] {
    if DUAL { &values[from..][..count] } else { &[] }
}

impl Pixels {
    /// Height and width of the output.
    fn out_size(&self) -> [usize; 2] {
        [self.shape.out_height, self.shape.out_width].map(|side| side / self.activation.pooled_side())
    }

    /// Shape of the output, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self) -> [usize; 4] {
        let [height, width] = self.out_size();
        [self.shape.images, height, width, self.shape.outputs]
    }

    /// Values of an output image.
    pub(crate) fn out_values(&self) -> usize {
        self.out_shape()[1..].iter().product()
    }

    /// The output of one image, in place of zeros.
    pub(crate) fn activate(&self, normal: &Normal, z: [&[f32]; 2], [y, y_dot]: [&mut [f32]; 2]) {
        dispatch!(self, !z[1].is_empty(), activate_with(normal, z, [&mut *y, &mut *y_dot]));
    }

    #[inline(always)]
    fn activate_with<G: Gate, const DUAL: bool>(
        &self,
        gate: G,
        normal: &Normal,
        [z, z_dot]: [&[f32]; 2],
        [y, y_dot]: [&mut [f32]; 2],
    ) {
        let (channels, side) = (self.shape.outputs, self.activation.pooled_side());
        let ([height, width], share) = (self.out_size(), 1.0 / (side * side) as f32);
        let [mean, scale, shift] = [&normal.mean, &normal.scale, &normal.shift].map(|v| &v[..channels]);
        let [mean_dot, tilt, shift_dot] =
            [&normal.mean_dot, &normal.tilt, &normal.shift_dot].map(|v| &v[..channels]);
        for row in 0..height * side {
            for column in 0..width * side {
                let from = row * self.shape.out_row() + column * channels;
                let to = ((row / side) * width + column / side) * channels;
                let (z, z_dot) = (&z[from..][..channels], dots::<DUAL>(z_dot, from, channels));
                let y = &mut y[to..][..channels];
                let y_dot = if DUAL { &mut y_dot[to..][..channels] } else { &mut [] };
                for c in 0..channels {
                    let centered = z[c] - mean[c];
                    let a = scale[c] * centered + shift[c];
                    y[c] += share * gate.value(a);
                    if DUAL {
                        let affine = tilt[c] * centered + shift_dot[c];
                        let a_dot = scale[c] * (z_dot[c] - mean_dot[c]) + affine;
                        y_dot[c] += share * gate.pull(a, a_dot);
                    }
                }
            }
        }
    }

    /// Sums of the gradients of one image, from those of its output.
    pub(crate) fn sums(&self, normal: &Normal, z: [&[f32]; 2], dy: [&[f32]; 2]) -> Sums {
        let mut sums = [(); 5].map(|()| vec![0.0; self.shape.outputs]);
        dispatch!(self, !z[1].is_empty(), sums_with(normal, z, dy, &mut sums));
        sums
    }

    #[inline(always)]
    fn sums_with<G: Gate, const DUAL: bool>(
        &self,
        gate: G,
        normal: &Normal,
        [z, z_dot]: [&[f32]; 2],
        dy: [&[f32]; 2],
        sums: &mut Sums,
    ) {
        let (channels, length) = (self.shape.outputs, self.shape.out_row());
        let [mean, mean_dot] = [&normal.mean, &normal.mean_dot].map(|v| &v[..channels]);
        let mut lines = [(); 5].map(|()| vec![0.0_f32; channels]);
        let mut gradients = self.row::<DUAL>();
        for (row, z) in z.chunks_exact(length).enumerate() {
            let z_dot = dots::<DUAL>(z_dot, row * length, length);
            self.pull_row::<G, DUAL>(gate, normal, row, [z, z_dot], dy, &mut gradients);
            let [sum_p, sum_q, sum_pc, sum_qc, sum_qd] = lines.each_mut().map(|line| &mut line[..channels]);
            for from in (0..length).step_by(channels) {
                let (z, p) = (&z[from..][..channels], &gradients.p[from..][..channels]);
                let z_dot = dots::<DUAL>(z_dot, from, channels);
                let q = dots::<DUAL>(&gradients.q, from, channels);
                for c in 0..channels {
                    let centered = z[c] - mean[c];
                    sum_p[c] += p[c];
                    sum_pc[c] += p[c] * centered;
                    if DUAL {
                        sum_q[c] += q[c];
                        sum_qc[c] += q[c] * centered;
                        sum_qd[c] += q[c] * (z_dot[c] - mean_dot[c]);
                    }
                }
            }
            for (sums, line) in sums.iter_mut().zip(&mut lines) {
                add_row(sums, line);
            }
        }
    }

    /// Puts the gradients of z and ż in their place.
    pub(crate) fn replace(
        &self,
        normal: &Normal,
        correction: &Correction,
        [z, z_dot]: [&mut [f32]; 2],
        dy: [&[f32]; 2],
    ) {
        let is_dual = !z_dot.is_empty();
        dispatch!(self, is_dual, replace_with(normal, correction, [&mut *z, &mut *z_dot], dy));
    }

    #[inline(always)]
    fn replace_with<G: Gate, const DUAL: bool>(
        &self,
        gate: G,
        normal: &Normal,
        correction: &Correction,
        [z, z_dot]: [&mut [f32]; 2],
        dy: [&[f32]; 2],
    ) {
        let (channels, length) = (self.shape.outputs, self.shape.out_row());
        let [mean, scale, mean_dot, tilt] =
            [&normal.mean, &normal.scale, &normal.mean_dot, &normal.tilt].map(|v| &v[..channels]);
        let Correction { cross, slope, constant, constant_dot } = correction;
        let [cross, slope, constant, constant_dot] =
            [cross, slope, constant, constant_dot].map(|v| &v[..channels]);
        let mut gradients = self.row::<DUAL>();
        for (row, z) in z.chunks_exact_mut(length).enumerate() {
            let z_dot = if DUAL { &mut z_dot[row * length..][..length] } else { &mut [] };
            self.pull_row::<G, DUAL>(gate, normal, row, [z, z_dot], dy, &mut gradients);
            for from in (0..length).step_by(channels) {
                let (z, p) = (&mut z[from..][..channels], &gradients.p[from..][..channels]);
                let q = dots::<DUAL>(&gradients.q, from, channels);
                let z_dot = if DUAL { &mut z_dot[from..][..channels] } else { &mut [] };
                for c in 0..channels {
                    let centered = z[c] - mean[c];
                    let mut gradient = scale[c] * p[c] + (slope[c] * centered + constant[c]);
                    if DUAL {
                        gradient += tilt[c] * q[c] + cross[c] * (z_dot[c] - mean_dot[c]);
                        z_dot[c] = scale[c] * q[c] + (cross[c] * centered + constant_dot[c]);
                    }
                    z[c] = gradient;
                }
            }
        }
    }

    fn row<const DUAL: bool>(&self) -> Row {
        let length = self.shape.out_row();
        Row { p: vec![0.0; length], q: vec![0.0; if DUAL { length } else { 0 }] }
    }

    /// Gradients of a row of a and ȧ from the row of z and ż and the image's gradients of the output; an odd last row or
    /// column has none.
    #[inline(always)]
    fn pull_row<G: Gate, const DUAL: bool>(
        &self,
        gate: G,
        normal: &Normal,
        row: usize,
        [z, z_dot]: [&[f32]; 2],
        [dy, dy_dot]: [&[f32]; 2],
        Row { p, q }: &mut Row,
    ) {
        let (channels, side) = (self.shape.outputs, self.activation.pooled_side());
        let ([height, width], share) = (self.out_size(), 1.0 / (side * side) as f32);
        if row / side >= height {
            p.fill(0.0);
            q.fill(0.0);
            return;
        }
        let [mean, scale, shift] = [&normal.mean, &normal.scale, &normal.shift].map(|v| &v[..channels]);
        let [mean_dot, tilt, shift_dot] =
            [&normal.mean_dot, &normal.tilt, &normal.shift_dot].map(|v| &v[..channels]);
        for column in 0..width * side {
            let (at, from) = (column * channels, ((row / side) * width + column / side) * channels);
            let (z, dy, p) = (&z[at..][..channels], &dy[from..][..channels], &mut p[at..][..channels]);
            let (z_dot, dy_dot) = (dots::<DUAL>(z_dot, at, channels), dots::<DUAL>(dy_dot, from, channels));
            let q = if DUAL { &mut q[at..][..channels] } else { &mut [] };
            for c in 0..channels {
                let centered = z[c] - mean[c];
                let a = scale[c] * centered + shift[c];
                let mut gradient = gate.pull(a, share * dy[c]);
                if DUAL {
                    let dy_dot = share * dy_dot[c];
                    q[c] = gate.pull(a, dy_dot);
                    if G::CURVED {
                        let affine = tilt[c] * centered + shift_dot[c];
                        let a_dot = scale[c] * (z_dot[c] - mean_dot[c]) + affine;
                        gradient += gate.curvature(a) * a_dot * dy_dot;
                    }
                }
                p[c] = gradient;
            }
        }
    }
}
