//! What the workspace's tests share: golden files, how far two arrays are apart ([`record`]), and running the binaries ([`binaries`]).
//!
//! The golden figures come from the published PyTorch code; `tests/golden/README.md` says what each file pins. The
//! folder is `DELT_GOLDEN`, else `../shared/golden` beside the workspace, else the small ones in `tests/golden`.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test support: a malformed file fails its test"
)]

pub mod binaries;
pub mod record;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use delt_device::{DeviceError, Opened};
use delt_formats::RgbImage;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Root of the workspace; of a bundle for another machine, the folder of its program, where the same files lie.
pub fn workspace() -> PathBuf {
    let beside = std::env::current_exe().unwrap().with_file_name("");
    if beside.join("pipelines").is_dir() { beside } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("..") }
}

/// The folder of golden files; `DELT_GOLDEN` counts from the workspace where it is relative.
pub fn folder() -> PathBuf {
    let shared = workspace().join("../shared/golden");
    match std::env::var_os("DELT_GOLDEN") {
        Some(folder) => workspace().join(folder),
        None if shared.is_dir() => shared,
        None => workspace().join("tests/golden"),
    }
}

/// Where a golden file lies; `None`, with the reason printed, where this folder has no such file.
pub fn file(name: &str) -> Option<PathBuf> {
    let path = folder().join(name);
    if path.exists() {
        return Some(path);
    }
    record::missing();
    let _ = writeln!(std::io::stderr(), "skipped: golden file {} is not there", path.display());
    None
}

/// Bytes of a golden file; `None`, with the reason printed, where this folder has no such file.
pub fn bytes(name: &str) -> Option<Vec<u8>> {
    file(name).map(|path| std::fs::read(path).unwrap())
}

/// The device the golden tests run on: `DELT_DEVICE`, else the CPU.
pub fn device() -> Device {
    open().unwrap_or_else(|error| panic!("{error}")).device
}

/// The same, where it may not open.
///
/// # Errors
/// Where it does not.
pub fn open() -> Result<Opened, DeviceError> {
    delt_device::open(&std::env::var("DELT_DEVICE").unwrap_or_else(|_| "flex".into()))
}

/// A golden JSON file.
pub fn json(name: &str) -> Option<Value> {
    bytes(&format!("{name}.json")).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// Prefix of the weights by formula. `meta.json` is required.
pub fn prefix() -> String {
    json("meta").expect("meta.json in the golden folder")["weights_prefix"].as_str().unwrap().to_owned()
}

/// A golden tensor file.
#[derive(Debug)]
pub struct Tensors {
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pictures: BTreeMap<String, RgbImage>,
}

/// A golden tensor file by its name without ending.
pub fn tensors(name: &str) -> Option<Tensors> {
    let bytes = bytes(&format!("{name}.safetensors"))?;
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = Tensors { floats: BTreeMap::new(), pictures: BTreeMap::new() };
    for (name, view) in file.tensors() {
        match (view.dtype(), view.shape()) {
            (Dtype::F32, shape) => {
                let values = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                tensors.floats.insert(name, (shape.to_vec(), values));
            }
            (Dtype::U8, [height, width, 3]) => {
                let picture =
                    RgbImage { width: *width as u32, height: *height as u32, rgb: view.data().to_vec() };
                tensors.pictures.insert(name, picture);
            }
            _ => {}
        }
    }
    Some(tensors)
}

impl Tensors {
    /// Values of a float tensor.
    pub fn values(&self, name: &str) -> Vec<f32> {
        self.floats[name].1.clone()
    }

    /// Shape of a float tensor.
    pub fn shape<const D: usize>(&self, name: &str) -> [usize; D] {
        self.floats[name].0.clone().try_into().unwrap()
    }

    /// A float tensor on a device.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(self.values(name), self.shape::<D>(name)), device)
    }

    /// An 8-bit image.
    pub fn picture(&self, name: &str) -> RgbImage {
        self.pictures[name].clone()
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.floats.keys().chain(self.pictures.keys()).map(String::as_str)
    }
}

/// ‖a − b‖₂ / ‖b‖₂ over whole arrays.
pub fn relative_error(ours: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(ours.len(), expected.len(), "arrays of different length");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut ours.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    apart / norm(&mut expected.iter().map(|v| f64::from(*v))).max(1e-30)
}

/// Fails, naming `what`, unless the relative error is below `tolerance`; prints it in any case.
#[track_caller]
pub fn assert_close(what: &str, ours: &[f32], expected: &[f32], tolerance: f64) {
    let error = relative_error(ours, expected);
    assert!(record::compared(&what, error, tolerance), "{what}: relative error {error}, allowed {tolerance}");
}

/// Values of a tensor on the host.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_to_vec_as::<f32>().unwrap()
}

/// A number of a JSON file.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Numbers of a JSON list.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Whole numbers of a JSON list.
pub fn integers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}
