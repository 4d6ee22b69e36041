//! Which device is wanted, parsed from text.

use std::str::FromStr;

use crate::DeviceError;

/// A device as the user writes it: `auto`, `flex`, `cuda`, `cuda:1`, `wgpu`, `vulkan:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best that answers: CUDA, then Vulkan, then wgpu, then flex, of those compiled.
    Auto,
    /// The CPU, in pure Rust.
    Flex,
    /// A GPU through a backend; without an index the backend chooses.
    Gpu(Backend, Option<usize>),
}

/// Reads `cuda:0,cuda:1`: one device, or several of one backend.
pub(crate) fn choices(text: &str) -> Result<Vec<Choice>, DeviceError> {
    let choices: Vec<Choice> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let backend = |choice: &Choice| match choice {
        Choice::Auto => None,
        Choice::Flex => Some("flex"),
        Choice::Gpu(backend, _) => Some(backend.name()),
    };
    let is_alike =
        choices.iter().all(|choice| backend(choice).is_some() && backend(choice) == backend(&choices[0]));
    if choices.len() > 1 && !is_alike {
        return Err(DeviceError::Mixed { text: text.to_owned() });
    }
    Ok(choices)
}

/// A GPU backend. The order is that of `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// NVIDIA's CUDA.
    Cuda,
    /// Vulkan through wgpu, with SPIR-V kernels.
    Vulkan,
    /// Whatever graphics interface wgpu finds.
    Wgpu,
}

impl Backend {
    /// All of them, in the order of `auto`.
    pub const ALL: [Self; 3] = [Self::Cuda, Self::Vulkan, Self::Wgpu];

    /// The name in text, which is also that of the Cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether this build has it.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// Those of this build, in the order of `auto`.
    pub fn compiled() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|backend| backend.is_compiled())
    }
}

/// The texts this build understands.
pub(crate) fn accepted() -> String {
    let gpus: String = Backend::compiled().map(|backend| format!(" | {}[:N]", backend.name())).collect();
    format!("auto | flex{gpus}")
}

impl FromStr for Choice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { text: text.to_owned() };
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
        };
        match (name, index) {
            ("auto", None) => return Ok(Self::Auto),
            ("flex", None) => return Ok(Self::Flex),
            _ => {}
        }
        let backend = Backend::ALL.into_iter().find(|backend| backend.name() == name).ok_or_else(unknown)?;
        if backend.is_compiled() {
            Ok(Self::Gpu(backend, index))
        } else {
            Err(DeviceError::NotCompiled { text: text.to_owned(), feature: backend.name() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_need_no_gpu_are_read() {
        for (text, choice) in [("auto", Choice::Auto), ("flex", Choice::Flex)] {
            assert_eq!(text.parse::<Choice>().expect("parses"), choice);
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_what_this_build_takes() {
        for text in ["gpu", "flex:0", "cuda:x", ""] {
            let message = text.parse::<Choice>().expect_err("refused").to_string();
            assert_eq!(message, format!("device `{text}` is not known; this build takes {}", accepted()));
        }
    }

    #[test]
    fn several_devices_are_of_one_backend() {
        assert_eq!(choices("flex").expect("parses"), [Choice::Flex]);
        assert_eq!(choices("flex,flex").expect("parses"), [Choice::Flex, Choice::Flex]);
        let message = choices("flex,auto").expect_err("refused").to_string();
        assert_eq!(message, "devices `flex,auto`: expected several of one backend, e.g. cuda:0,cuda:1");
        for text in ["flex,", ",flex", "flex flex"] {
            assert!(matches!(choices(text), Err(DeviceError::Unknown { .. })), "{text}");
        }
    }

    #[test]
    fn a_backend_that_was_not_compiled_is_named_with_its_feature() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_compiled()) {
            let name = backend.name();
            let message = format!("{name}:0").parse::<Choice>().expect_err("refused").to_string();
            assert_eq!(
                message,
                format!(
                    "device `{name}:0` is not in this build, which takes {}; take one of these, or a build or \
                     bundle made with BACKEND={name}, which builds nothing where BIN is given (cargo: --features delt-device/{name})",
                    accepted()
                )
            );
        }
    }
}
