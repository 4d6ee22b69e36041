//! The normalization of a block as an affine map per channel, of values and of derivatives, and its backward pass.
//!
//! With c = z − mean, ċ = ż − mean of ż, r = (M c² + ε)^−½, u = r c, s = M(u ċ): a = γu + β, ȧ = γ r (ċ − u s) + γ̇u + β̇.

use super::moments::Moments;
use crate::train::Weights;

/// Images that are normalized together: a = scale · c + shift, ȧ = scale · ċ + tilt · c + shift_dot, per channel.
#[derive(Clone, Debug)]
pub(crate) struct Normal {
    pub(crate) mean: Vec<f32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    /// Zeros without derivatives, as the next two.
    pub(crate) mean_dot: Vec<f32>,
    pub(crate) tilt: Vec<f32>,
    pub(crate) shift_dot: Vec<f32>,
    /// r.
    inverse: Vec<f64>,
    /// s.
    skew: Vec<f64>,
    /// 1 / pixels that share a statistic; 0 where there are none.
    share: f64,
}

/// Σ p, Σ q, Σ p c, Σ q c and Σ q ċ per channel, with p and q the gradients of a and ȧ.
pub(crate) type Sums = [Vec<f64>; 5];

/// What the statistics add to gradients: z̄ = scale · p + tilt · q + cross · ċ + slope · c + constant and
/// ż̄ = scale · q + cross · c + constant_dot.
#[derive(Debug)]
pub(crate) struct Correction {
    pub(crate) cross: Vec<f32>,
    pub(crate) slope: Vec<f32>,
    pub(crate) constant: Vec<f32>,
    pub(crate) constant_dot: Vec<f32>,
}

/// Gradients of bias, γ and β, in 64 bits.
pub(crate) type AffineGradients = [Vec<f64>; 3];

/// A weight of a channel in 64 bits, or what stands for an absent one.
fn or(values: &[f32], channel: usize, absent: f64) -> f64 {
    values.get(channel).map_or(absent, |value| f64::from(*value))
}

impl Normal {
    /// By the statistics of some images; without them values only move by the bias. `direction`: the parts of the weights'
    /// derivative.
    pub(crate) fn new(
        moments: Option<&Moments>,
        outputs: usize,
        weights: Weights<'_>,
        direction: Option<Weights<'_>>,
        epsilon: f64,
    ) -> Self {
        let zeros = || vec![0.0; outputs];
        let mut normal = Self {
            mean: zeros(),
            scale: zeros(),
            shift: (0..outputs).map(|c| or(weights.beta, c, 0.0) as f32).collect(),
            mean_dot: zeros(),
            tilt: zeros(),
            shift_dot: zeros(),
            inverse: vec![1.0; outputs],
            skew: vec![0.0; outputs],
            share: moments.map_or(0.0, |moments| 1.0 / moments.count),
        };
        for c in 0..outputs {
            let gamma = or(weights.gamma, c, 1.0);
            normal.mean[c] = moments.map_or(-or(weights.bias, c, 0.0), |moments| moments.mean[c]) as f32;
            if let Some(moments) = moments {
                normal.inverse[c] = 1.0 / (moments.squares[c] * normal.share + epsilon).sqrt();
            }
            let inverse = normal.inverse[c];
            normal.scale[c] = (gamma * inverse) as f32;
            let Some(direction) = direction else { continue };
            if let Some(moments) = moments {
                normal.mean_dot[c] = moments.mean_dot[c] as f32;
                normal.skew[c] = inverse * moments.cross[c] * normal.share;
            } else {
                normal.mean_dot[c] = -or(direction.bias, c, 0.0) as f32;
            }
            let gamma_dot = or(direction.gamma, c, 0.0);
            normal.tilt[c] = ((gamma_dot - gamma * inverse * normal.skew[c]) * inverse) as f32;
            normal.shift_dot[c] = or(direction.beta, c, 0.0) as f32;
        }
        normal
    }

    /// What the statistics add to the gradient of z and ż. `gamma`, `gamma_dot`: one per channel, or none.
    pub(crate) fn correction(&self, sums: &Sums, [gamma, gamma_dot]: [&[f32]; 2]) -> Correction {
        let zeros = || vec![0.0; self.scale.len()];
        let (cross, slope, constant, constant_dot) = (zeros(), zeros(), zeros(), zeros());
        let mut correction = Correction { cross, slope, constant, constant_dot };
        let [p, q, pc, qc, qd] = sums;
        for c in 0..self.scale.len() {
            let (gamma, gamma_dot) = (or(gamma, c, 1.0), or(gamma_dot, c, 0.0));
            let (r, s) = (self.inverse[c], self.skew[c]);
            let (scale, tilt) = (f64::from(self.scale[c]), f64::from(self.tilt[c]));
            // r̄ = γ (Σqċ + Σpc) + (γ̇ − 3rsγ) Σqc, s̄ = −γ r² Σqc
            let of_inverse = gamma * (qd[c] + pc[c]) + (gamma_dot - 3.0 * r * s * gamma) * qc[c];
            correction.cross[c] = (-gamma * r * r * r * qc[c] * self.share) as f32;
            correction.slope[c] = (-r * r * r * of_inverse * self.share) as f32;
            correction.constant[c] = (-(scale * p[c] + tilt * q[c]) * self.share) as f32;
            correction.constant_dot[c] = (-scale * q[c] * self.share) as f32;
        }
        correction
    }

    /// Adds the share of these images to the gradients of bias, γ and β. The mean takes a bias out again: its gradient is 0
    /// where there is one.
    pub(crate) fn add_gradients(&self, sums: &Sums, [bias, gamma, beta]: &mut AffineGradients) {
        let [p, q, pc, qc, qd] = sums;
        for c in 0..self.scale.len() {
            let (r, s) = (self.inverse[c], self.skew[c]);
            gamma[c] += r * (pc[c] + qd[c] - s * r * qc[c]);
            beta[c] += p[c];
            if self.share == 0.0 {
                bias[c] += f64::from(self.scale[c]) * p[c] + f64::from(self.tilt[c]) * q[c];
            }
        }
    }
}
