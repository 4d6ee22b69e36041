//! Fewer bytes for soft labels: the largest logits of a view only, in 8 bits each.

use half::f16;
use serde::{Deserialize, Serialize};

/// How the logits of a view are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelPacking {
    /// Which logits.
    pub keep: Keep,
    /// Bits of each: 16 (half precision) or 8 (256 equal steps from the smallest kept logit of the view to the largest).
    pub bits: u32,
}

/// Which logits of a view are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// All.
    Full,
    /// So many of the largest, and the mean of the others, which stands for each of them. At temperatures far above the
    /// logits' spread a softmax is linear in its logits, so that the mean gives the others the probability that they had.
    TopK(u32),
}

impl LabelPacking {
    /// All logits in half precision.
    pub const FULL: Self = Self { keep: Keep::Full, bits: 16 };
}

/// Logits of a view as they are stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackedLogits {
    /// Classes of the kept logits, ascending; empty: all classes.
    pub(crate) kept: Vec<u16>,
    /// The kept logits.
    pub(crate) values: PackedValues,
    /// The logit of all other classes; absent where all are kept.
    pub(crate) rest: Option<f16>,
}

/// Kept logits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PackedValues {
    /// As they are.
    Half(Vec<f16>),
    /// `low + code / 255 · (high - low)`.
    Codes {
        /// The smallest.
        low: f16,
        /// The largest.
        high: f16,
        /// One for each.
        codes: Vec<u8>,
    },
}

impl PackedValues {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Half(values) => values.len(),
            Self::Codes { codes, .. } => codes.len(),
        }
    }

    /// The smallest and the largest, where the codes need them.
    pub(crate) fn bounds(&self) -> Option<(f16, f16)> {
        match *self {
            Self::Half(_) => None,
            Self::Codes { low, high, .. } => Some((low, high)),
        }
    }
}

impl PackedLogits {
    /// Packs one logit per class. Of equal logits the one of the first class is kept first.
    pub(crate) fn pack(logits: &[f16], packing: LabelPacking) -> Self {
        let (kept, values, rest) = match packing.keep {
            Keep::TopK(k) if (k as usize) < logits.len() => largest(logits, k as usize),
            Keep::Full | Keep::TopK(_) => (Vec::new(), logits.to_vec(), None),
        };
        let values = if packing.bits == 8 { encode(&values) } else { PackedValues::Half(values) };
        Self { kept, values, rest }
    }

    /// One logit for each of `classes` classes.
    pub(crate) fn unpack(&self, classes: usize) -> Vec<f16> {
        let values = match &self.values {
            PackedValues::Half(values) => values.clone(),
            PackedValues::Codes { low, high, codes } => decode(*low, *high, codes),
        };
        let Some(rest) = self.rest else { return values };
        let mut logits = vec![rest; classes];
        for (class, value) in self.kept.iter().zip(values) {
            logits[usize::from(*class)] = value;
        }
        logits
    }
}

/// Classes and values of the `k` largest logits, and the mean of the others.
fn largest(logits: &[f16], k: usize) -> (Vec<u16>, Vec<f16>, Option<f16>) {
    let mut order: Vec<u16> = (0..logits.len() as u16).collect();
    order.sort_by(|a, b| logits[usize::from(*b)].total_cmp(&logits[usize::from(*a)]).then(a.cmp(b)));
    let (kept, others) = order.split_at(k);
    let sum: f64 = others.iter().map(|class| logits[usize::from(*class)].to_f64()).sum();
    let rest = f16::from_f64(sum / others.len() as f64);
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let values = kept.iter().map(|class| logits[usize::from(*class)]).collect();
    (kept, values, Some(rest))
}

const LAST_CODE: f32 = 255.0;

fn encode(values: &[f16]) -> PackedValues {
    let ascending = |a: &&f16, b: &&f16| a.total_cmp(b);
    let low = values.iter().min_by(ascending).copied().unwrap_or(f16::ZERO);
    let high = values.iter().max_by(ascending).copied().unwrap_or(f16::ZERO);
    let range = high.to_f32() - low.to_f32();
    let code = |value: &f16| {
        if range > 0.0 { ((value.to_f32() - low.to_f32()) / range * LAST_CODE).round() as u8 } else { 0 }
    };
    PackedValues::Codes { low, high, codes: values.iter().map(code).collect() }
}

fn decode(low: f16, high: f16, codes: &[u8]) -> Vec<f16> {
    let step = (high.to_f32() - low.to_f32()) / LAST_CODE;
    codes.iter().map(|code| f16::from_f32(low.to_f32() + f32::from(*code) * step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(values: &[f32]) -> Vec<f16> {
        values.iter().copied().map(f16::from_f32).collect()
    }

    #[test]
    fn everything_in_half_precision_comes_back_as_it_was() {
        let logits = halves(&[1.5, -2.25, 0.0, 7.0]);
        let packed = PackedLogits::pack(&logits, LabelPacking::FULL);
        assert_eq!((packed.unpack(4), packed.rest, packed.kept.len()), (logits, None, 0));
    }

    #[test]
    fn the_largest_are_kept_and_the_others_become_their_mean() {
        let logits = halves(&[4.0, -1.0, 6.0, -2.0, 4.0, 0.0]);
        let packing = |k| LabelPacking { keep: Keep::TopK(k), bits: 16 };
        let packed = PackedLogits::pack(&logits, packing(3));
        assert_eq!(packed.kept, [0, 2, 4]);
        assert_eq!(packed.unpack(6), halves(&[4.0, -1.0, 6.0, -1.0, 4.0, -1.0]));
        // of two equal logits the first
        assert_eq!(PackedLogits::pack(&logits, packing(2)).kept, [0, 2]);
        // as many as there are: nothing is left for a rest
        assert_eq!(PackedLogits::pack(&logits, packing(6)).unpack(6), logits);
    }

    #[test]
    fn eight_bits_are_off_by_at_most_half_a_step() {
        let logits: Vec<f16> =
            (0..100_i16).map(|i| f16::from_f32(f32::from(i * 37 % 100) / 4.0 - 9.0)).collect();
        let packed = PackedLogits::pack(&logits, LabelPacking { keep: Keep::Full, bits: 8 });
        let step = (15.75 + 9.0) / 255.0;
        let rounding = 16.0 * 2.0_f32.powi(-11);
        for (found, logit) in packed.unpack(100).iter().zip(&logits) {
            assert!((found.to_f32() - logit.to_f32()).abs() <= step / 2.0 + rounding, "{found} of {logit}");
        }
        let same = halves(&[2.0, 2.0]);
        assert_eq!(
            PackedLogits::pack(&same, LabelPacking { keep: Keep::Full, bits: 8 }).unpack(2),
            same,
            "a view whose logits are all the same"
        );
    }
}
