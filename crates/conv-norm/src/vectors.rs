//! Loops compiled for the widest vector instructions of the machine that runs them.

use pulp::{Arch, Simd, WithSimd};

struct Body<F>(F);

impl<F: FnMut()> WithSimd for Body<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        (self.0)();
    }
}

/// Runs loops with vector instructions.
///
/// The closure must be `#[inline(always)]` and change what it captures. Handed to pulp as it is, it would be called through
/// a function of its own, which is compiled without these instructions.
#[inline(always)]
pub(crate) fn with_vectors(body: impl FnMut()) {
    Arch::new().dispatch(Body(body));
}
