//! Types for the device that the user requests, and for the device that was found and trains.

use std::fmt;
use std::str::FromStr;

use burn::backend::Flex;
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

/// The backend of burn that computes on the processor.
pub type Host = Flex;

/// The device that the user requests; written `auto`, `cpu`, `cuda` or `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceRequest {
    /// The first NVIDIA GPU if it can be used, else the processor.
    #[default]
    Auto,
    /// The processor, even if a GPU can be used.
    Cpu,
    /// The NVIDIA GPU with this index, and no other device.
    Cuda(usize),
}

impl FromStr for DeviceRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = || text.strip_prefix("cuda:")?.parse().ok().map(Self::Cuda);
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => number().ok_or_else(|| format!("{text:?} is not a device: use auto, cpu, cuda or cuda:N")),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl TryFrom<String> for DeviceRequest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceRequest> for String {
    fn from(request: DeviceRequest) -> Self {
        request.to_string()
    }
}

/// Reason why a device cannot be used, with the way to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{device} cannot be used: {reason}. To train on the processor, give --device cpu")]
pub struct DeviceError {
    /// Name of the requested device, such as `cuda:1`.
    pub device: String,
    /// Description of the cause, such as a missing library, and the way to fix it.
    pub reason: String,
}

/// A device that was found and can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainDevice {
    /// The processor of this machine.
    Cpu,
    /// An NVIDIA GPU.
    Cuda {
        /// Index of the GPU according to the driver, from 0.
        index: usize,
        /// Name of the GPU according to the driver.
        name: String,
    },
}

impl TrainDevice {
    /// Returns whether `--precision auto` means 16-bit matrix products (bf16) on this device.
    pub fn prefers_bf16(&self) -> bool {
        *self != Self::Cpu
    }
}

impl fmt::Display for TrainDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { index, name } => write!(f, "cuda:{index} ({name})"),
        }
    }
}

/// A computation that runs on any device.
pub trait DeviceTask {
    /// The result of the computation.
    type Output;

    /// Runs the computation on a backend with automatic differentiation.
    fn run<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written() {
        for (text, request) in
            [("auto", DeviceRequest::Auto), ("cpu", DeviceRequest::Cpu), ("cuda:2", DeviceRequest::Cuda(2))]
        {
            assert_eq!(text.parse(), Ok(request));
            assert_eq!(request.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceRequest::Cuda(0)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(wrong.parse::<DeviceRequest>().unwrap_err().contains("use auto, cpu, cuda or cuda:N"), "{wrong}");
        }
    }
}
