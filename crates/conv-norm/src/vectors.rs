//! Loops compiled for the widest vector instructions of the machine that runs them.

use pulp::{Simd, WithSimd};

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
