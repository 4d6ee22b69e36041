//! Opens the device a stage computes on: the only crate that names a backend.
//!
//! `flex` (pure Rust, on the CPU) is always compiled; the features `cuda`, `wgpu` and `vulkan` add GPU backends. All of
//! them can be compiled together: which one runs is chosen at run time, in words.
//!
//! ```
//! let opened = delt_device::open("flex")?;
//! assert_eq!(opened.name, "flex (CPU)");
//! # Ok::<(), delt_device::DeviceError>(())
//! ```

mod choice;
mod described;
mod opened;
mod panics;
mod product;
#[cfg(any(feature = "cuda", test))]
mod toolkit;

pub use choice::{Backend, Choice};
pub use described::{Description, describe};
pub use opened::{Opened, check, open, open_all};
pub use product::{is_cpu, product};

use thiserror::Error;

/// Memory of every program that computes. Tensors on the CPU are tens of megabytes and live for milliseconds: the system's
/// allocator gives such memory back at once, and the page faults of getting it again take a fifth of a recovery iteration.
/// `MIMALLOC_PURGE_DELAY=-1` keeps even more of it mapped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whether GPU kernels are chosen by timing them, and fused; what a program was built with.
pub const IS_TUNED: bool = cfg!(feature = "tuned");

/// What can go wrong when a device is opened.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The text names no device.
    #[error("device `{text}` is not known; this build takes {}", choice::accepted())]
    Unknown {
        /// The text.
        text: String,
    },
    /// The text names a backend that was not compiled.
    #[error(
        "device `{text}` is not in this build, which takes {}; take one of these, or a build or bundle made with BACKEND={feature}, which builds nothing where BIN is given (cargo: --features delt-device/{feature})",
        choice::accepted()
    )]
    NotCompiled {
        /// The text.
        text: String,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// Several devices that do not compute together.
    #[error("devices `{text}`: expected several of one backend, e.g. cuda:0,cuda:1")]
    Mixed {
        /// The text.
        text: String,
    },
    /// The device did not answer a small computation.
    #[error("device `{text}` does not answer: {reason}; {cure}, or use --device flex (make: DEVICE=flex)")]
    Silent {
        /// The text.
        text: String,
        /// What it said.
        reason: String,
        /// What to do about it.
        cure: &'static str,
    },
}
