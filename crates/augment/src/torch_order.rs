//! The order in which PyTorch's loaders show images, for labels that they replay.

use rand_mt::Mt;

/// Seed of the generator in the scripts of SRe2L, CDA, CV-DD and FADRM (`--fkd-seed`).
const SEED: u32 = 42;

/// Permutations that `RandomSampler` draws in an epoch: the order, and one more, of which it takes no image (PyTorch 2).
const PERMUTATIONS: u64 = 2;

/// Returns the order of epoch `epoch` of `RandomSampler(images, generator)`, whose generator was seeded with 42 before epoch 0.
///
/// As `torch.randperm` on the CPU: each place changes with one of those from it to the end, by a number of a Mersenne Twister.
pub fn torch_order(epoch: u32, images: usize) -> Vec<u32> {
    let mut generator = Mt::new(SEED);
    let places = images.saturating_sub(1);
    for _ in 0..u64::from(epoch) * PERMUTATIONS * places as u64 {
        generator.next_u32();
    }
    let mut order: Vec<u32> = (0..images as u32).collect();
    for place in 0..places {
        let offset = generator.next_u32() as usize % (images - place);
        order.swap(place, place + offset);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by torch 2.11:
    ///
    /// ```python
    /// def orders(n, epochs):
    ///     generator = torch.Generator()
    ///     generator.manual_seed(42)
    ///     sampler = torch.utils.data.RandomSampler(range(n), generator=generator)
    ///     return [list(sampler) for _ in range(epochs)]
    /// print(orders(10, 3)); print(orders(1000, 4)[3][:6]); print(orders(50000, 2)[1][-2:])
    /// ```
    #[test]
    fn orders_are_those_of_torch() {
        assert_eq!(torch_order(0, 10), [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]);
        assert_eq!(torch_order(1, 10), [7, 5, 0, 3, 1, 6, 9, 8, 4, 2]);
        assert_eq!(torch_order(2, 10), [9, 6, 2, 4, 1, 7, 5, 3, 0, 8]);
        assert_eq!(torch_order(3, 1000)[..6], [707, 83, 552, 419, 679, 16]);
        assert_eq!(torch_order(1, 50_000)[49_998..], [25_000, 48_557]);
        assert_eq!((torch_order(9, 1), torch_order(9, 0)), (vec![0], vec![]));
    }
}
