//! ZCA whitening, undone.

use std::path::Path;

use delt_formats::tensors::TensorValues;
use delt_guard::read_tensors;

/// Names of the matrix, and of the mean that it is added to; the second ones are kornia's.
const INVERSE: [&str; 2] = ["inverse", "transform_inv"];
const MEAN: [&str; 2] = ["mean", "mean_vector"];

/// `x = z · inverse + mean`, for images as rows of so many values.
pub(super) struct Whitening {
    inverse: Vec<f32>,
    mean: Vec<f32>,
}

impl Whitening {
    /// Reads both tensors, for images of `length` values.
    pub(super) fn read(path: &Path, length: usize) -> Result<Self, String> {
        let tensors = read_tensors(path).map_err(|error| error.to_string())?;
        let of = |names: [&str; 2], expected: usize| {
            let tensor = tensors.iter().find(|tensor| names.contains(&tensor.name.as_str()));
            let found = tensor.map_or("none".to_owned(), |tensor| format!("{:?}", tensor.shape));
            match tensor.map(|tensor| &tensor.values) {
                Some(TensorValues::F32(values)) if values.len() == expected => Ok(values.clone()),
                _ => Err(format!(
                    "tensor `{}`: found {found}, expected {expected} floats, for images of {length} values; save it with \
                     torch.save({{'inverse': zca.transform_inv, 'mean': zca.mean_vector}}, ..)",
                    names[0]
                )),
            }
        };
        Ok(Self { inverse: of(INVERSE, length * length)?, mean: of(MEAN, length)? })
    }

    /// An image as it was before.
    pub(super) fn undone(&self, whitened: &[f32]) -> Vec<f32> {
        let mut values = self.mean.clone();
        for (factor, row) in whitened.iter().zip(self.inverse.chunks(values.len())) {
            values.iter_mut().zip(row).for_each(|(value, entry)| *value += factor * entry);
        }
        values
    }
}
