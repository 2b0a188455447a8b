//! Where networks are trained: on the processor, or on a GPU that was found to have all it needs. Images are prepared and weights
//! are exported on the [`Host`] whatever the device is.

mod cuda;

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use burn::backend::{Autodiff, Flex};
use burn::module::Module;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

/// The processor's backend.
pub type Host = Flex;

/// The device that the user asks for; written `auto`, `cpu`, `cuda` or `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first GPU that can be used, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number or nothing.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = || text.strip_prefix("cuda:")?.parse().ok().map(Self::Cuda);
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => number().ok_or_else(|| format!("{text:?} is no device: use auto, cpu, cuda or cuda:N")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// Why a device cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{device} cannot be used: {reason}. Or train with --device cpu")]
pub struct DeviceError {
    /// The device that was asked for.
    pub device: String,
    /// What is missing and how to get it.
    pub reason: String,
}

/// A device that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The processor.
    Cpu,
    /// A GPU.
    Cuda {
        /// Its number.
        index: usize,
        /// What its driver calls it.
        name: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { index, name } => write!(f, "cuda:{index} ({name})"),
        }
    }
}

/// Finds the device; beside the processor in place of a GPU stands the reason.
///
/// # Errors
/// [`DeviceError`] where a GPU was asked for that cannot be used.
pub fn find(device: Device) -> Result<(Place, Option<DeviceError>), DeviceError> {
    match device {
        Device::Cpu => Ok((Place::Cpu, None)),
        Device::Cuda(index) => Ok((cuda::probe(index)?, None)),
        Device::Auto => Ok(cuda::probe(0).map_or_else(|reason| (Place::Cpu, Some(reason)), |place| (place, None))),
    }
}

/// Where the kernels are kept that a GPU's first training compiles, which takes minutes; for `main` to say before anything runs.
pub fn keep_kernels_in(dir: &Path) {
    cuda::keep_kernels_in(dir);
}

/// Something that is done on a device.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it on a backend that differentiates.
    fn on<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output;
}

impl Place {
    /// Whether matrix products are done in 16 bits unless the user says otherwise.
    pub fn prefers_bf16(&self) -> bool {
        *self != Self::Cpu
    }

    /// Does the work here.
    ///
    /// # Errors
    /// [`DeviceError`] where this build has no such device.
    pub fn run<W: Work>(&self, work: W) -> Result<W::Output, DeviceError> {
        match self {
            Self::Cpu => Ok(work.on::<Autodiff<Host>>(&Default::default())),
            Self::Cuda { index, .. } => cuda::run(*index, work),
        }
    }
}

/// The same numbers on another backend; on the same one nothing is copied.
pub fn carry<A: Backend, B: Backend, const D: usize>(x: Tensor<A, D>, device: &B::Device) -> Tensor<B, D> {
    match same::<_, Tensor<B, D>>(x) {
        Ok(x) => x,
        Err(x) => Tensor::from_data(x.into_data(), device),
    }
}

/// The same weights on the host; `skeleton` makes a module of the same shape where they have to be copied.
///
/// # Errors
/// What `skeleton` says, and what burn's recorder says.
pub fn to_host<B, M, H, E>(model: M, skeleton: impl FnOnce() -> Result<H, E>) -> Result<H, E>
where
    B: Backend,
    M: Module<B> + 'static,
    H: Module<Host> + 'static,
    E: From<burn::record::RecorderError>,
{
    same::<M, H>(model).or_else(|model| {
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::new();
        let bytes = Recorder::<B>::record(&recorder, model.into_record(), ())?;
        let record = Recorder::<Host>::load(&recorder, bytes, &Default::default())?;
        Ok(skeleton()?.load_record(record))
    })
}

/// The value itself, where both types are one.
fn same<A: 'static, B: 'static>(a: A) -> Result<B, A> {
    let any: Box<dyn Any> = Box::new(a);
    match any.downcast::<B>() {
        Ok(b) => Ok(*b),
        Err(any) => match any.downcast::<A>() {
            Ok(a) => Err(*a),
            Err(_) => unreachable!("a value has the type that it was boxed with"),
        },
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::record::RecorderError;

    use super::*;
    use crate::optimise::draw;

    #[test]
    fn devices_are_read_and_written() {
        for (text, device) in [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda:2", Device::Cuda(2))] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(wrong.parse::<Device>().unwrap_err().contains("use auto, cpu, cuda or cuda:N"), "{wrong}");
        }
    }

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(find(Device::Cpu), Ok((Place::Cpu, None)));
        let (place, why) = find(Device::Auto).unwrap();
        assert_eq!(why.is_some(), place == Place::Cpu, "{place} {why:?}");
    }

    #[test]
    fn a_gpu_of_any_number_is_not_there() {
        let error = find(Device::Cuda(999)).unwrap_err().to_string();
        assert!(error.starts_with("cuda:999 cannot be used: "), "{error}");
        assert!(error.ends_with("Or train with --device cpu"), "{error}");
    }

    /// A backend that differentiates is another type than the host, so this is the way that a GPU's weights take.
    #[test]
    fn weights_and_tensors_come_over_whole() {
        type B = Autodiff<Host>;
        let device = Default::default();
        let far = LinearConfig::new(3, 2).init::<B>(&device);
        draw(&far);
        let fresh = || Ok::<_, RecorderError>(LinearConfig::new(3, 2).init::<Host>(&device));
        let near = to_host::<B, _, _, _>(far.clone(), fresh).unwrap();
        let x = [[1.0f32, -2.0, 0.5]];
        let [there, here] = [
            far.forward(Tensor::<B, 2>::from_data(x, &device)).into_data(),
            near.forward(carry(Tensor::<B, 2>::from_data(x, &device), &device)).into_data(),
        ];
        assert_eq!(there, here);
        let never = || -> Result<burn::nn::Linear<Host>, RecorderError> { unreachable!("nothing is to be copied") };
        let same = to_host::<Host, _, _, _>(near.clone(), never).unwrap();
        assert_eq!(same.weight.val().into_data(), near.weight.val().into_data());
    }
}
