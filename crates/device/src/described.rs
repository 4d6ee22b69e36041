//! What a device says of itself.

use burn::tensor::Device;

/// A device in its own words; nothing is known of the CPU.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// As it names itself.
    pub name: Option<String>,
    /// What kernels are compiled for.
    pub kernels_for: Option<String>,
    /// Whether it is no card: a driver that computes on the CPU.
    pub is_software: bool,
}

/// Asks an open device what it is.
pub fn describe(device: &Device) -> Description {
    #[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan"))]
    if let Some(identity) = device.identity() {
        return Description {
            name: Some(identity.name),
            kernels_for: Some(identity.fingerprint),
            is_software: identity.physical.is_none(),
        };
    }
    let _ = device;
    Description::default()
}
