//! The devices that train: the processor, and NVIDIA GPUs with the `train-cuda` feature. A device is probed before it
//! is used, because burn panics on a device that does not exist. Other modules run their computations on any device
//! through [`DeviceTask`].

mod cuda;
mod train_device;
mod transfer;

use std::path::Path;

use burn::backend::Autodiff;

pub use train_device::{DeviceError, DeviceRequest, DeviceTask, Host, TrainDevice};
pub use transfer::{carry, to_host};

/// Finds the requested device. The second value is the reason why `auto` chose the processor, and `None` in every other
/// case.
///
/// # Errors
/// [`DeviceError`] if a GPU was requested by number and cannot be used.
pub fn find(request: DeviceRequest) -> Result<(TrainDevice, Option<DeviceError>), DeviceError> {
    match request {
        DeviceRequest::Cpu => Ok((TrainDevice::Cpu, None)),
        DeviceRequest::Cuda(index) => Ok((cuda::probe(index)?, None)),
        DeviceRequest::Auto => {
            Ok(cuda::probe(0).map_or_else(|reason| (TrainDevice::Cpu, Some(reason)), |device| (device, None)))
        }
    }
}

/// Sets the directory that keeps compiled GPU kernels for later trainings, because compiling them takes minutes. Call
/// this function once, before any other function of this module.
pub fn keep_kernels_in(dir: &Path) {
    cuda::keep_kernels_in(dir);
}

impl TrainDevice {
    /// Runs a task on this device.
    ///
    /// # Errors
    /// [`DeviceError`] if this build does not support the device.
    pub fn run<T: DeviceTask>(&self, task: T) -> Result<T::Output, DeviceError> {
        match self {
            Self::Cpu => Ok(task.run::<Autodiff<Host>>(&Default::default())),
            Self::Cuda { index, .. } => cuda::run(*index, task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(find(DeviceRequest::Cpu), Ok((TrainDevice::Cpu, None)));
        let (device, why) = find(DeviceRequest::Auto).unwrap();
        assert_eq!(why.is_some(), device == TrainDevice::Cpu, "{device} {why:?}");
    }

    #[test]
    fn a_gpu_of_any_number_is_not_there() {
        let error = find(DeviceRequest::Cuda(999)).unwrap_err().to_string();
        assert!(error.starts_with("cuda:999 cannot be used: "), "{error}");
        assert!(error.ends_with("To train on the processor, give --device cpu"), "{error}");
    }
}
