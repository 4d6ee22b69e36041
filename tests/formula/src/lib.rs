//! Values by formula, from the name of a tensor: what the golden figures of `tests/golden/README.md` are computed with, so
//! that large networks need no weight file. Tests and benchmarks fill networks and images with it.

use delt_architectures::StateTensor;

/// Fills a network by [`weights`]: for `delt_networks::Network::build`.
pub fn by_formula<E>(prefix: &str) -> impl FnMut(&StateTensor) -> Result<Vec<f32>, E> + use<E> {
    let prefix = prefix.to_owned();
    move |tensor| Ok(weights(&prefix, &tensor.name, &tensor.shape))
}

/// Values of the tensor `name`: uniform draws scaled by what the tensor is.
pub fn weights(prefix: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let inputs: usize = shape.iter().skip(1).product();
    let spread = (3.0 / inputs as f64).sqrt();
    let (base, scale) = match (leaf, shape.len()) {
        ("running_mean", _) => (0.0, 0.3),
        ("running_var", _) => (1.0, 0.5),
        (_, 2 | 4) => (0.0, spread),
        ("weight", _) => (1.0, 0.2),
        _ => (0.0, 0.1),
    };
    let values = formula_uniform(prefix, name, shape.iter().product());
    values.into_iter().map(|u| (base + scale * u) as f32).collect()
}

/// `count` draws in [−1, 1): splitmix64 from the FNV-1a hash of the prefixed name.
pub fn formula_uniform(prefix: &str, name: &str, count: usize) -> Vec<f64> {
    let start = fnv1a64(format!("{prefix}{name}").as_bytes());
    (1..=count as u64)
        .map(|i| {
            let z = start.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let z = z ^ (z >> 31);
            (z >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
        })
        .collect()
}

/// The 64-bit FNV-1a hash.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_scaled_by_what_they_are() {
        let bounds = |name, shape: &[usize]| {
            let values = weights("x/", name, shape);
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            (low, high)
        };
        let (low, high) = bounds("bn1.running_var", &[1000]);
        assert!(low >= 0.5 && high < 1.5);
        let (low, high) = bounds("conv1.weight", &[8, 3, 3, 3]);
        assert!(low >= -1.0 / 3.0 && high < 1.0 / 3.0);
        let (low, high) = bounds("bn1.weight", &[1000]);
        assert!(low >= 0.8 && high < 1.2);
    }
}
