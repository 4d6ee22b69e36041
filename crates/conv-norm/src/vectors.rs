//! Loops compiled for the widest vector instructions of the machine that runs them.

use pulp::{Arch, Simd, WithSimd};

use crate::filters::LANES;

/// Loops in a closure that is `#[inline(always)]`, as [`with_vectors`] makes it.
pub(crate) struct Body<F>(pub(crate) F);

impl<F: FnMut()> WithSimd for Body<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        (self.0)();
    }
}

/// Runs a block of loops with vector instructions.
///
/// The block must change what it captures. Handed to pulp as it is, it would be called through a function of its own, which
/// is compiled without these instructions.
macro_rules! with_vectors {
    ($body:block) => {
        pulp::Arch::new().dispatch($crate::vectors::Body(
            #[inline(always)]
            || $body,
        ))
    };
}
pub(crate) use with_vectors;

/// Loops over blocks of [`LANES`] channels.
pub(crate) trait ByLanes {
    /// `VECTORS` vectors make up [`LANES`].
    fn run<S: Simd, const VECTORS: usize>(self, simd: S);
}

/// Runs such loops with vector instructions.
pub(crate) fn run_by_lanes(loops: impl ByLanes) {
    Arch::new().dispatch(Blocks(loops));
}

struct Blocks<T>(T);

impl<T: ByLanes> WithSimd for Blocks<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => self.0.run::<S, 1>(simd),
            2 => self.0.run::<S, 2>(simd),
            4 => self.0.run::<S, 4>(simd),
            8 => self.0.run::<S, 8>(simd),
            _ => self.0.run::<S, 16>(simd),
        }
    }
}
