//! Versions of the CUDA driver and libraries, and a description of the GPU.

use std::time::Duration;

use cudarc::driver::{CudaContext, sys};
use cudarc::{cublas, cudnn, nvrtc, runtime};

use super::enabled::DRIVER;
use crate::backend::interface::Fact;

/// The CUDA major version that this program was built for.
const MAJOR: i32 = tract_cuda::utils::REQUIRED_CUDA_API / 1000;
/// Time limit for one query of the driver or a library.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the version of each component, in the order in which they are opened, or why it cannot be used. Without a driver, the
/// driver is the last entry of the list, because the libraries cannot report their versions.
pub(in crate::backend) fn facts() -> Vec<Fact> {
    let mut facts = vec![ask("driver", driver)];
    if facts[0].found.is_err() {
        return facts;
    }
    let present = [
        // SAFETY: opens the library and calls nothing in it.
        ("CUDA runtime", "libcudart", unsafe { runtime::sys::is_culib_present() }),
        // SAFETY: opens the library and calls nothing in it.
        ("NVRTC", "libnvrtc", unsafe { nvrtc::sys::is_culib_present() }),
        // SAFETY: opens the library and calls nothing in it.
        ("cuBLAS", "libcublas", unsafe { cublas::sys::is_culib_present() }),
        // SAFETY: opens the library and calls nothing in it.
        ("cuDNN", "libcudnn", unsafe { cudnn::sys::is_culib_present() }),
    ];
    let version: [fn() -> Result<String, String>; 4] = [runtime_version, nvrtc_version, cublas_version, cudnn_version];
    for ((name, library, is_present), version) in present.into_iter().zip(version) {
        let missing = || Err(format!("the loader does not find {library} of CUDA {MAJOR}"));
        facts.push(if is_present { ask(name, version) } else { Fact { name: name.to_owned(), found: missing() } });
    }
    facts.push(ask("device", device));
    facts
}

fn ask(name: &str, question: fn() -> Result<String, String>) -> Fact {
    Fact { name: name.to_owned(), found: DRIVER.call(LIMIT, question) }
}

/// Formats a CUDA version number, which is 1000 x major + 10 x minor.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

fn driver() -> Result<String, String> {
    // SAFETY: opens the library and calls nothing in it.
    if !unsafe { sys::is_culib_present() } {
        return Err("the loader does not find libcuda.so.1".to_owned());
    }
    let mut number = 0;
    // SAFETY: the function writes one integer to a valid pointer.
    unsafe { sys::cuDriverGetVersion(&raw mut number) }.result().map_err(|e| e.to_string())?;
    Ok(format!("supports CUDA up to {}", version(number)))
}

fn runtime_version() -> Result<String, String> {
    runtime::result::version::get_runtime_version().map(version).map_err(|e| format!("{e:?}"))
}

fn nvrtc_version() -> Result<String, String> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the function writes two integers to valid pointers.
    unsafe { nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) }.result().map_err(|e| format!("{e:?}"))?;
    Ok(format!("{major}.{minor}"))
}

fn cublas_version() -> Result<String, String> {
    // SAFETY: the function has no arguments and no side effects.
    let number = unsafe { cublas::sys::cublasGetCudartVersion() };
    Ok(format!("built for CUDA {}", version(i32::try_from(number).unwrap_or(0))))
}

fn cudnn_version() -> Result<String, String> {
    let number = cudnn::result::get_version();
    Ok(format!("{}.{}.{}", number / 10000, number % 10000 / 100, number % 100))
}

fn device() -> Result<String, String> {
    let describe = || {
        let context = CudaContext::new(0)?;
        let (name, (major, minor)) = (context.name()?, context.compute_capability()?);
        let (free, total) = context.mem_get_info()?;
        let mib = |bytes: usize| bytes >> 20;
        Ok(format!("{name}, compute capability {major}.{minor}, {} of {} MiB free", mib(free), mib(total)))
    };
    describe().map_err(|e: cudarc::driver::DriverError| e.to_string())
}
