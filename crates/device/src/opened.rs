//! Opening a device and making sure that it answers.

use std::io::Write;
use std::sync::Once;

use burn::tensor::{Device, Tensor};

use crate::DeviceError;
use crate::choice::{Backend, Choice, choices};
use crate::panics::first_panic;
use crate::product::{is_cpu, product};
#[cfg(feature = "cuda")]
use crate::toolkit;

/// A device that answered.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device, without autodiff.
    pub device: Device,
    /// What to print: backend and index.
    pub name: String,
}

impl Opened {
    /// Whether it computes on the CPU, where reading a value costs nothing.
    pub fn is_cpu(&self) -> bool {
        is_cpu(&self.device)
    }
}

/// The backends that `auto` passed over are said once in a process, however many artifacts it makes.
static SAY_SKIPPED: Once = Once::new();

/// So are devices that have nothing to do.
static SAY_IDLE: Once = Once::new();

/// Refuses a text that names no device of this build, without asking any: at the start of a stage, whose work may be in the
/// store so that it opens none.
///
/// # Errors
///
/// [`DeviceError::Unknown`] or [`DeviceError::NotCompiled`].
pub fn check(choice: &str) -> Result<(), DeviceError> {
    choices(choice).map(drop)
}

/// Opens the device that `choice` names: `auto`, `flex`, `cuda[:N]`, `wgpu[:N]` or `vulkan[:N]`. `auto` says on stderr
/// which backends of this build did not answer, and why. Of several (`cuda:0,cuda:1`) it opens the first and says that the
/// others have nothing to do.
///
/// # Errors
///
/// Where the text names no device of this build, or the device does not answer.
pub fn open(choice: &str) -> Result<Opened, DeviceError> {
    let choices = choices(choice)?;
    if choices.len() > 1 {
        SAY_IDLE.call_once(|| {
            say(&format!(
                "devices {choice}: this stage uses only the first; SHARDS=N gives each a part of the work"
            ));
        });
    }
    open_one(choices[0])
}

/// Opens all devices that `choice` names, `cuda:0,cuda:1`.
///
/// # Errors
///
/// Where the text names no device of this build, devices of several backends, or one does not answer.
pub fn open_all(choice: &str) -> Result<Vec<Opened>, DeviceError> {
    choices(choice)?.into_iter().map(open_one).collect()
}

/// A line on stderr, where that is open.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn open_one(choice: Choice) -> Result<Opened, DeviceError> {
    match choice {
        Choice::Flex => Ok(flex()),
        Choice::Gpu(backend, index) => open_gpu(backend, index),
        Choice::Auto => {
            let (opened, skipped) =
                first_that_answers(Backend::compiled(), |backend| open_gpu(backend, None));
            SAY_SKIPPED.call_once(|| {
                for error in &skipped {
                    say(&passed_over(error, &opened.name));
                }
            });
            Ok(opened)
        }
    }
}

/// The first backend that opens, else flex, and why those before it did not.
fn first_that_answers(
    backends: impl IntoIterator<Item = Backend>,
    open: impl Fn(Backend) -> Result<Opened, DeviceError>,
) -> (Opened, Vec<DeviceError>) {
    let mut skipped = Vec::new();
    for backend in backends {
        match open(backend) {
            Ok(opened) => return (opened, skipped),
            Err(error) => skipped.push(error),
        }
    }
    (flex(), skipped)
}

/// The line about a backend that `auto` passed over.
fn passed_over(error: &DeviceError, taken: &str) -> String {
    format!("device auto: {error}; using {taken}")
}

fn flex() -> Opened {
    Opened { device: Device::flex(), name: "flex (CPU)".to_owned() }
}

fn open_gpu(backend: Backend, index: Option<usize>) -> Result<Opened, DeviceError> {
    let index_text = index.map_or_else(String::new, |index| format!(":{index}"));
    let text = backend.name().to_owned() + &index_text;
    // backends panic on threads of their own, and what the caller then sees is not the cause
    let found = first_panic(|| match absent(backend, index) {
        Some(reason) => Err(reason),
        None => probe(gpu_device(backend, index)),
    });
    match found {
        Ok(device) => Ok(Opened { device, name: format!("{text} (GPU)") }),
        Err(reason) => Err(DeviceError::Silent { cure: cure(&reason), text, reason }),
    }
}

/// What is missing on this machine, where that can be known without opening a device.
fn absent(backend: Backend, index: Option<usize>) -> Option<String> {
    #[cfg(feature = "cuda")]
    if backend == Backend::Cuda {
        let found = Device::enumerate(burn::tensor::DeviceType::Cuda).len();
        return match index.unwrap_or(0) {
            _ if found == 0 => Some("no NVIDIA driver (libcuda.so) that finds a GPU".to_owned()),
            index if index >= found => Some(format!("the driver finds {found}, counted from 0")),
            _ => toolkit::missing(),
        };
    }
    let _ = (backend, index);
    None
}

/// What to do about a device that does not answer, by what it said.
fn cure(reason: &str) -> &'static str {
    let says = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
    if says(&["libdevice"]) {
        "set CUDA_PATH to a CUDA toolkit, or to the folder of PyPI's nvidia-nvvm that holds nvvm/ (pip install nvidia-nvvm)"
    } else if says(&[
        "Missing symbol",
        "undefined symbol",
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        "insufficient for CUDA",
    ]) {
        "the driver is too old for this build: update it to 570 or newer (CUDA 12.8)"
    } else {
        "check the driver and the index"
    }
}

/// Computes what has a known result: a sum; a logarithm of an exponential, for which CUDA needs a file of its toolkit; and a matrix
/// product with a bias in one chain, which Burn 0.22 is known to get wrong where it fuses them (see [`product`]); a network would
/// then give wrong logits in silence.
fn probe(device: Option<Device>) -> Result<Device, String> {
    let device = device.ok_or("the backend is not in this build")?;
    match Tensor::<1>::ones([4], &device).sum().try_into_scalar::<f32>() {
        Ok(4.0) => {}
        Ok(sum) => return Err(format!("1 + 1 + 1 + 1 came out as {sum}")),
        Err(error) => return Err(error.to_string()),
    }
    match Tensor::<1>::ones([4], &device).exp().log().sum().try_into_scalar::<f32>() {
        Ok(sum) if (sum - 4.0).abs() < 1e-3 => {}
        Ok(sum) => return Err(format!("four times log(exp(1)) came out as {sum}")),
        Err(error) => return Err(error.to_string()),
    }
    let ones = |rows| Tensor::<2>::ones([rows, INNER], &device);
    let layer = product(ones(4), ones(10).transpose()) + Tensor::<1>::ones([10], &device).unsqueeze();
    let expected = INNER as f32 + 1.0;
    let values = layer.try_into_vec_as::<f32>().map_err(|error| error.to_string())?;
    match values.iter().find(|value| **value != expected) {
        None => Ok(device),
        Some(found) => Err(format!(
            "a matrix product with a bias came out as {found}, expected {expected}, so every result would be wrong"
        )),
    }
}

/// Inner side of the product that is probed.
const INNER: usize = 256;

fn gpu_device(backend: Backend, index: Option<usize>) -> Option<Device> {
    #[cfg(any(feature = "wgpu", feature = "vulkan"))]
    let kind = index.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu);
    match backend {
        #[cfg(feature = "cuda")]
        Backend::Cuda => {
            use burn::tensor::DeviceIndex;
            Some(Device::cuda(index.map_or(DeviceIndex::Default, DeviceIndex::Specified)))
        }
        #[cfg(feature = "vulkan")]
        Backend::Vulkan => Some(Device::vulkan(kind)),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => Some(Device::wgpu(kind)),
        #[cfg(not(all(feature = "cuda", feature = "vulkan", feature = "wgpu")))]
        _ => {
            let _ = index;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flex_and_auto_always_open() {
        assert_eq!(open("flex").expect("opens").name, "flex (CPU)");
        open("auto").expect("opens");
    }

    #[test]
    fn auto_takes_the_first_that_answers_and_says_why_it_passed_the_others_over() {
        let silent = |backend: Backend| DeviceError::Silent {
            text: backend.name().to_owned(),
            reason: "no driver".to_owned(),
            cure: cure("no driver"),
        };
        let opened = |backend: Backend| Opened { name: format!("{} (GPU)", backend.name()), ..flex() };
        let (taken, skipped) = first_that_answers(Backend::ALL, |backend| match backend {
            Backend::Vulkan => Ok(opened(backend)),
            other => Err(silent(other)),
        });
        let lines: Vec<String> = skipped.iter().map(|error| passed_over(error, &taken.name)).collect();
        assert_eq!(
            lines,
            [
                "device auto: device `cuda` does not answer: no driver; check the driver and the index, or use \
              --device flex (make: DEVICE=flex); using vulkan (GPU)"
            ]
        );
        let (taken, skipped) = first_that_answers(Backend::ALL, |backend| Err(silent(backend)));
        assert_eq!((taken.name.as_str(), skipped.len()), ("flex (CPU)", 3));
    }

    #[test]
    fn a_backend_that_is_not_in_this_build_is_silent() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_compiled()) {
            let text = backend.name();
            assert_eq!(
                open_gpu(backend, None).expect_err("refused").to_string(),
                format!(
                    "device `{text}` does not answer: the backend is not in this build; check the driver and the index, or use \
                     --device flex (make: DEVICE=flex)"
                )
            );
        }
    }

    #[test]
    fn each_cause_has_its_cure() {
        let said = |reason: &str| cure(reason).split(' ').take(3).collect::<Vec<_>>().join(" ");
        assert_eq!(said("libdevice.10.bc was not found"), "set CUDA_PATH to");
        assert_eq!(said("Missing symbol cuEventElapsedTime_v2: dlsym failed"), "the driver is");
        assert_eq!(said("no NVIDIA driver (libcuda.so) that finds a GPU"), "check the driver");
    }
}
