//! What a block does to a normalized value, with its derivatives.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// A function of one value.
pub(crate) trait Gate: Copy + Sync {
    /// Whether the slope changes from value to value.
    const CURVED: bool;

    /// The function at `a`.
    fn value(self, a: f32) -> f32;

    /// A derivative or a gradient through it: the slope at `a` times `g`.
    fn pull(self, a: f32, g: f32) -> f32;

    /// The slope of the slope at `a`.
    fn curvature(self, a: f32) -> f32;
}

/// The value itself.
#[derive(Clone, Copy)]
pub(crate) struct Linear;

/// max(0, ·); its gate is open where the value is above 0 or NaN.
#[derive(Clone, Copy)]
pub(crate) struct Rectifier;

/// min(max(0, ·), 6); its gate is open where the value is strictly between or NaN.
#[derive(Clone, Copy)]
pub(crate) struct Rectifier6;

/// a / (1 + e^{−a}).
#[derive(Clone, Copy)]
pub(crate) struct Silu;

/// a · Φ(a), Φ the normal distribution.
#[derive(Clone, Copy)]
pub(crate) struct Gelu;

/// log(1 + e^{βa}) / β.
#[derive(Clone, Copy)]
pub(crate) struct Softplus {
    pub(crate) beta: f32,
}

impl Gate for Linear {
    const CURVED: bool = false;

    #[inline(always)]
    fn value(self, a: f32) -> f32 {
        a
    }

    #[inline(always)]
    fn pull(self, _: f32, g: f32) -> f32 {
        g
    }

    #[inline(always)]
    fn curvature(self, _: f32) -> f32 {
        0.0
    }
}

impl Gate for Rectifier {
    const CURVED: bool = false;

    /// NaN stays NaN (`f32::max` would hide it): a broken network must be seen in the loss.
    #[inline(always)]
    fn value(self, a: f32) -> f32 {
        if a < 0.0 { 0.0 } else { a }
    }

    #[inline(always)]
    fn pull(self, a: f32, g: f32) -> f32 {
        if a <= 0.0 { 0.0 } else { g }
    }

    #[inline(always)]
    fn curvature(self, _: f32) -> f32 {
        0.0
    }
}

impl Gate for Rectifier6 {
    const CURVED: bool = false;

    #[inline(always)]
    fn value(self, a: f32) -> f32 {
        if a > 6.0 { 6.0 } else { Rectifier.value(a) }
    }

    #[inline(always)]
    fn pull(self, a: f32, g: f32) -> f32 {
        if a >= 6.0 { 0.0 } else { Rectifier.pull(a, g) }
    }

    #[inline(always)]
    fn curvature(self, _: f32) -> f32 {
        0.0
    }
}

/// 1 / (1 + e^{−a}).
#[inline(always)]
pub(crate) fn sigmoid(a: f32) -> f32 {
    1.0 / Silu::denominator(a)[1]
}

impl Silu {
    /// `a`, not so far below 0 that e^{−a} is too large to be one, and 1 + e^{−a}: all that values alone need, in fewer steps than
    /// [`Self::parts`].
    #[inline(always)]
    fn denominator(a: f32) -> [f32; 2] {
        let near = if a < -87.0 { -87.0 } else { a };
        let t = near * -LOG2_E;
        let t = if t < -126.0 { -126.0 } else { t };
        let shifted = t + ROUND;
        let f = t - (shifted - ROUND);
        let [c0, c1, c2, c3, c4, c5] = EXP_2;
        let series = c0 + f * (c1 + f * (c2 + f * (c3 + f * (c4 + f * c5))));
        [near, 1.0 + series * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))]
    }

    /// `a`, not so far from 0 that e^{−|a|} is too small to be one, and 1 / (1 + e^{−a}) and 1 / (1 + e^a).
    #[inline(always)]
    fn parts(a: f32) -> [f32; 3] {
        let a = if a.abs() > 87.0 { 87.0_f32.copysign(a) } else { a };
        let tail = exp_negative(a.abs());
        let (larger, smaller) = (1.0 / (1.0 + tail), tail / (1.0 + tail));
        if a < 0.0 { [a, smaller, larger] } else { [a, larger, smaller] }
    }
}

impl Gate for Silu {
    const CURVED: bool = true;

    #[inline(always)]
    fn value(self, a: f32) -> f32 {
        let [near, denominator] = Self::denominator(a);
        near / denominator
    }

    #[inline(always)]
    fn pull(self, a: f32, g: f32) -> f32 {
        let [a, open, shut] = Self::parts(a);
        g * (open * (1.0 + a * shut))
    }

    #[inline(always)]
    fn curvature(self, a: f32) -> f32 {
        let [a, open, shut] = Self::parts(a);
        open * shut * (2.0 + a * (shut - open))
    }
}

impl Gelu {
    /// Φ(a) to 1e-7 (Abramowitz and Stegun, formula 7.1.26) and its slope.
    #[inline(always)]
    fn parts(a: f32) -> [f32; 2] {
        let u = a.abs() * FRAC_1_SQRT_2;
        let bell = exp_negative(u * u);
        let t = 1.0 / (1.0 + 0.327_591_1 * u);
        let tail = t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4)));
        let below = 0.5 * bell * (t * (0.254_829_6 + tail));
        [if a < 0.0 { below } else { 1.0 - below }, bell * 0.398_942_3]
    }
}

impl Gate for Gelu {
    const CURVED: bool = true;

    #[inline(always)]
    fn value(self, a: f32) -> f32 {
        a * Self::parts(a)[0]
    }

    #[inline(always)]
    fn pull(self, a: f32, g: f32) -> f32 {
        let [share, slope] = Self::parts(a);
        g * (share + a * slope)
    }

    #[inline(always)]
    fn curvature(self, a: f32) -> f32 {
        Self::parts(a)[1] * (2.0 - a * a)
    }
}

impl Gate for Softplus {
    const CURVED: bool = true;

    #[inline(always)]
    fn value(self, a: f32) -> f32 {
        let tail = exp_negative(self.beta * a.abs());
        Rectifier.value(a) + log_1p(tail) / self.beta
    }

    #[inline(always)]
    fn pull(self, a: f32, g: f32) -> f32 {
        let tail = exp_negative(self.beta * a.abs());
        let numerator = if a < 0.0 { tail } else { 1.0 };
        g * (numerator / (1.0 + tail))
    }

    #[inline(always)]
    fn curvature(self, a: f32) -> f32 {
        let tail = exp_negative(self.beta * a.abs());
        self.beta * tail / ((1.0 + tail) * (1.0 + tail))
    }
}

/// The nearest whole number is what this leaves of a small number that it is added to.
const ROUND: f32 = 12_582_912.0;

/// 2^f for |f| ≤ 1/2 to 8e-8, the most that a polynomial of this degree can do: 1, f, f², ...
const EXP_2: [f32; 6] =
    [1.000_000_1, 0.693_146_94, 0.240_221_2, 0.055_507_13, 0.009_675_541, 0.001_327_647_2];

/// log 2 in two parts: whole multiples of the first are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// e^{−t} for t ≥ 0, as 2^k e^r with |r| ≤ log(2) / 2; the standard library's is no loop for vectors.
#[inline(always)]
pub(crate) fn exp_negative(t: f32) -> f32 {
    let x = if t > 87.0 { -87.0 } else { -t };
    let shifted = x * LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN_2[0]) - k * LN_2[1];
    let tail = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * tail))));
    series * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

/// log(1 + e) for 0 ≤ e ≤ 1, by the series of the inverse hyperbolic tangent of e / (2 + e) ≤ 1/3.
#[inline(always)]
fn log_1p(e: f32) -> f32 {
    let w = e / (2.0 + e);
    let s = w * w;
    let tail = 1.0 / 7.0 + s * (1.0 / 9.0 + s * (1.0 / 11.0 + s * (1.0 / 13.0)));
    2.0 * w * (1.0 + s * (1.0 / 3.0 + s * (0.2 + s * tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silu_and_its_derivatives_are_exact_to_rounding() {
        for step in -4000..=4000 {
            let a = step as f32 * 5.3e-3;
            let wide = f64::from(a);
            let open = 1.0 / (1.0 + (-wide).exp());
            let shut = 1.0 / (1.0 + wide.exp());
            let expected =
                [wide * open, open * (1.0 + wide * shut), open * shut * (2.0 + wide * (shut - open))];
            let found = [Silu.value(a), Silu.pull(a, 1.0), Silu.curvature(a)];
            for (found, expected) in found.into_iter().zip(expected) {
                let error = (f64::from(found) - expected).abs() / expected.abs().max(1e-2);
                assert!(error < 1e-5, "SiLU at {a}: {found}, expected {expected}");
            }
        }
        assert!(Silu.value(f32::NAN).is_nan() && Silu.pull(f32::NAN, 1.0).is_nan());
        assert_eq!([Silu.value(f32::MAX), Silu.pull(f32::MAX, 1.0)], [f32::MAX, 1.0]);
        assert!(Silu.value(f32::MIN).abs() < 1e-30 && Silu.pull(f32::MIN, 1.0).abs() < 1e-30);
    }

    #[test]
    fn gelu_and_its_derivatives_are_exact_to_rounding() {
        for step in -4000..=4000 {
            let a = step as f32 * 1.3e-3;
            let wide = f64::from(a);
            // the series of the error function
            let u = wide / 2.0_f64.sqrt();
            let (mut term, mut sum) = (u, u);
            for n in 1..90 {
                term *= -u * u / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            let share = 0.5 + sum / std::f64::consts::PI.sqrt();
            let slope = (-u * u).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let expected = [wide * share, share + wide * slope, slope * (2.0 - wide * wide)];
            for (found, expected) in
                [Gelu.value(a), Gelu.pull(a, 1.0), Gelu.curvature(a)].into_iter().zip(expected)
            {
                let error = (f64::from(found) - expected).abs();
                assert!(error < 6e-7, "GELU at {a}: {found}, expected {expected}");
            }
        }
        assert!(Gelu.value(f32::NAN).is_nan() && Gelu.pull(f32::NAN, 1.0).is_nan());
    }

    #[test]
    fn relu6_is_shut_on_both_sides_and_hides_no_nan() {
        let at = [-1.0, 0.0, 3.0, 6.0, 7.0];
        assert_eq!(at.map(|a| Rectifier6.value(a)), [0.0, 0.0, 3.0, 6.0, 6.0]);
        assert_eq!(at.map(|a| Rectifier6.pull(a, 2.0)), [0.0, 0.0, 2.0, 0.0, 0.0]);
        assert!(Rectifier6.value(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_and_its_derivatives_are_exact_to_rounding() {
        for beta in [1.0, 10.0, 60.0] {
            let gate = Softplus { beta };
            for step in -4000..=4000 {
                let a = step as f32 * 1.3e-3;
                let (wide, b) = (f64::from(a), f64::from(beta));
                let (e, slope) = ((-b * wide.abs()).exp(), 1.0 / (1.0 + (-b * wide).exp()));
                let expected = [wide.max(0.0) + e.ln_1p() / b, slope, b * slope * (1.0 - slope)];
                let found = [gate.value(a), gate.pull(a, 1.0), gate.curvature(a)];
                for (found, expected) in found.into_iter().zip(expected) {
                    let error = (f64::from(found) - expected).abs() / expected.abs().max(1e-7);
                    assert!(error < 1e-5, "softplus {beta} at {a}: {found}, expected {expected}");
                }
            }
            assert!(gate.value(f32::NAN).is_nan() && gate.pull(f32::NAN, 1.0).is_nan());
            assert_eq!([gate.value(f32::MAX), gate.pull(f32::MAX, 1.0)], [f32::MAX, 1.0]);
        }
    }
}
