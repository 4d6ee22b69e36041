//! Opening a device and making sure that it answers.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use burn::tensor::{Device, Tensor};

use crate::DeviceError;
use crate::choice::{Backend, Choice, choices};
use crate::product::{is_cpu, product};

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
    // a missing driver makes the backends panic
    match catch_unwind(AssertUnwindSafe(|| probe(gpu_device(backend, index)))) {
        Ok(Ok(device)) => Ok(Opened { device, name: format!("{text} (GPU)") }),
        Ok(Err(reason)) => Err(DeviceError::Silent { text, reason }),
        Err(panic) => Err(DeviceError::Silent { text, reason: panic_text(panic.as_ref()) }),
    }
}

/// Computes what has a known result: a sum, and a matrix product with a bias in one chain, which Burn 0.22 is known to get wrong
/// where it fuses them (see [`product`]); a network would then give wrong logits in silence.
fn probe(device: Option<Device>) -> Result<Device, String> {
    let device = device.ok_or("the backend is not in this build")?;
    match Tensor::<1>::ones([4], &device).sum().try_into_scalar::<f32>() {
        Ok(4.0) => {}
        Ok(sum) => return Err(format!("1 + 1 + 1 + 1 came out as {sum}")),
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

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
                "device auto: device `cuda` does not answer: no driver; check the driver and the index, or use DEVICE=flex; \
              using vulkan (GPU)"
            ]
        );
        let (taken, skipped) = first_that_answers(Backend::ALL, |backend| Err(silent(backend)));
        assert_eq!((taken.name.as_str(), skipped.len()), ("flex (CPU)", 3));
    }

    #[test]
    fn a_backend_that_panics_is_silent_with_what_it_said() {
        assert_eq!(panic_text(&"no libcuda"), "no libcuda");
        assert_eq!(panic_text(&"no libcuda".to_owned()), "no libcuda");
        assert_eq!(panic_text(&3), "it panicked");
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_compiled()) {
            let text = backend.name();
            assert_eq!(
                open_gpu(backend, None).expect_err("refused").to_string(),
                format!(
                    "device `{text}` does not answer: the backend is not in this build; check the driver and the index, or use \
                     DEVICE=flex"
                )
            );
        }
    }
}
