//! What can go wrong while a network is built, read or imported.

use burn::tensor::{Tensor, TensorReadError};
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
    /// The fields of the architecture make no sense together.
    #[error("{architecture}: {problem}")]
    Misfit {
        /// The network.
        architecture: String,
        /// What is wrong, and what to do.
        problem: String,
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
        "the weights do not fit {architecture}: {differences}; check the architecture, the number of classes and the image size"
    )]
    Mismatch {
        /// The network.
        architecture: String,
        /// Tensors that are missing, unused or of another shape: the first of each.
        differences: String,
    },
    /// A file of others has no tensors where they were looked for.
    #[error("no tensors under `{key}`; its top-level keys are {keys}: name the one that holds the weights")]
    NoTensors {
        /// Where was looked.
        key: String,
        /// Keys that the file has, the first of them.
        keys: String,
    },
    /// A file of others holds the network more than once.
    #[error(
        "holds several copies of the network with other values, under {keys}; name one by import.top_level_key"
    )]
    SeveralCopies {
        /// What stands before the names of each.
        keys: String,
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

/// Values of a tensor on the host; `name` is what it is called where the device does not return them.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>, name: &str) -> Result<Vec<f32>, NetworkError> {
    tensor.try_into_vec_as().map_err(|source| NetworkError::Read { name: name.to_owned(), source })
}
