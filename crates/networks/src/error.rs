//! What can go wrong while a network is built, read or imported.

use burn::tensor::TensorReadError;
use delt_formats::FormatError;
use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The images are too small for the number of poolings.
    #[error(
        "{architecture} cannot take {size} px images: nothing is left after its last pooling; use at least {least} px"
    )]
    TooSmall {
        /// The network.
        architecture: String,
        /// Side of the images in pixels.
        size: usize,
        /// Smallest side that works.
        least: usize,
    },
    /// A source of weights gave the wrong number of values.
    #[error("tensor `{name}` has {found} values, expected {expected} for shape {shape:?}")]
    WrongLength {
        /// PyTorch name of the tensor.
        name: String,
        /// Shape the network has.
        shape: Vec<usize>,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// The tensors of a file are not those of the network.
    #[error(
        "the weights do not fit {architecture}: {}; check the architecture, the number of classes and the image size",
        differences(.missing, .unused, .wrong_shape)
    )]
    Mismatch {
        /// The network.
        architecture: String,
        /// Tensors that the network has and the file has not.
        missing: Vec<String>,
        /// Tensors that the file has and the network has not.
        unused: Vec<String>,
        /// Tensors whose shapes differ: name, found, expected.
        wrong_shape: Vec<String>,
    },
    /// An artifact could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The device did not give a tensor back.
    #[error("the device did not return tensor `{name}`")]
    Read {
        /// The tensor.
        name: String,
        /// What the device said.
        #[source]
        source: TensorReadError,
    },
}

/// The parts that are not empty, e.g. `missing fc.bias, fc.weight; unused head.bias`.
fn differences(missing: &[String], unused: &[String], wrong_shape: &[String]) -> String {
    let parts = [("missing", missing), ("unused", unused), ("wrong shape", wrong_shape)];
    let said = parts.iter().filter(|(_, names)| !names.is_empty());
    said.map(|(what, names)| format!("{what} {}", names.join(", "))).collect::<Vec<_>>().join("; ")
}
