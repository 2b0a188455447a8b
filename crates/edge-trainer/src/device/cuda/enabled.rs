//! Runs tasks on burn's CUDA backend. The backend panics if the driver, the kernel compiler or the headers are missing,
//! so [`probe`] checks for them first.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Once;

use burn::backend::Autodiff;
use burn::backend::cuda::{Cuda, CudaDevice};
use burn::cubecl::config::cache::CacheConfig;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use cudarc::driver::CudaContext;

use crate::device::train_device::{DeviceError, DeviceTask, TrainDevice};

/// Header of the CUDA runtime that every GPU kernel includes. It must be installed because GPU kernels are compiled on
/// the machine that trains.
const HEADER: &str = "cuda_runtime.h";

/// Runs a task on a GPU that [`probe`] has found.
pub(in crate::device) fn run<T: DeviceTask>(index: usize, task: T) -> Result<T::Output, DeviceError> {
    Ok(task.run::<Autodiff<Cuda<f32, i32>>>(&CudaDevice::new(index)))
}

/// Keeps compiled GPU kernels in `dir`, unless a `cubecl.toml` names another directory. Call this function once in a
/// process, before the first device is opened.
pub(in crate::device) fn keep_kernels_in(dir: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
        config.compilation.cache.get_or_insert_with(|| CacheConfig::File(dir.to_owned()));
        CubeClRuntimeConfig::set(config);
    });
}

/// Returns the GPU with this index if the driver, the kernel compiler and the headers are present.
pub(in crate::device) fn probe(index: usize) -> Result<TrainDevice, DeviceError> {
    check(index).map_err(|reason| DeviceError { device: format!("cuda:{index}"), reason })
}

/// Returns the GPU with this index, or the reason why it cannot be used.
fn check(index: usize) -> Result<TrainDevice, String> {
    // SAFETY: the call opens the driver's library and closes it again. Opening it runs the library's initialisers,
    // which every program that uses the driver runs.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err("the NVIDIA driver (libcuda.so.1) is missing. Install it, on Debian and Ubuntu with `apt install \
                    nvidia-driver-570` or newer; in a container start it with `--gpus all`"
            .to_owned());
    }
    let count = CudaContext::device_count().map_err(|e| {
        format!(
            "the NVIDIA driver does not start ({e}). Run `nvidia-smi` to see why: often the driver's kernel module is \
             missing or older than the driver"
        )
    })?;
    if usize::try_from(count).is_ok_and(|count| index >= count) {
        return Err(match count {
            0 => "the NVIDIA driver finds no GPU. Check `nvidia-smi -L` and CUDA_VISIBLE_DEVICES".to_owned(),
            1 => "there is only one GPU, cuda:0".to_owned(),
            _ => format!("there are {count} GPUs, cuda:0 to cuda:{}", count - 1),
        });
    }
    // SAFETY: the call opens NVRTC's library and closes it again. Opening it runs the library's initialisers, which
    // every program that compiles GPU kernels runs.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err("NVRTC (libnvrtc.so), which compiles the GPU kernels, is missing. Install it with `apt install \
                    cuda-nvrtc-12-6` from NVIDIA's repository, or with `pip install nvidia-cuda-nvrtc-cu12` and its \
                    directory in LD_LIBRARY_PATH"
            .to_owned());
    }
    find_headers(&CudaPaths::of_system())?;
    let context = CudaContext::new(index)
        .map_err(|e| format!("the GPU cannot be opened ({e}). Run `nvidia-smi` to see its state"))?;
    let name =
        context.name().map_err(|e| format!("the GPU does not answer ({e}). Run `nvidia-smi` to see its state"))?;
    Ok(TrainDevice::Cuda { index, name })
}

/// The paths where burn's CUDA runtime (cubecl-cuda 0.10) looks for a CUDA installation, in the order of the fields.
/// The runtime uses the first path that exists.
struct CudaPaths {
    /// Value of the environment variable CUDA_PATH, if it is set.
    variable: Option<OsString>,
    /// Directories that CUDA's installers use, such as `/usr/local/cuda`.
    usual: Vec<PathBuf>,
    /// Path of the CUDA compiler from a distribution's package, whose headers are below `/usr`.
    compiler: PathBuf,
}

impl CudaPaths {
    fn of_system() -> Self {
        Self {
            variable: env::var_os("CUDA_PATH"),
            usual: vec!["/usr/local/cuda".into(), "/opt/cuda".into()],
            compiler: "/usr/bin/nvcc".into(),
        }
    }

    fn root(&self) -> Option<PathBuf> {
        let usual = || self.usual.iter().find(|path| path.exists()).cloned();
        let beside_compiler = || self.compiler.exists().then(|| PathBuf::from("/usr"));
        self.variable.clone().map(PathBuf::from).or_else(usual).or_else(beside_compiler)
    }
}

/// Returns an error if [`HEADER`] is not in the directory where the compiler looks for headers.
fn find_headers(paths: &CudaPaths) -> Result<(), String> {
    const ADVICE: &str = "Install them with `apt install cuda-cudart-dev-12-6` from NVIDIA's repository, or with `pip \
                          install nvidia-cuda-runtime-cu12`, and set CUDA_PATH to the directory that holds \
                          include/cuda_runtime.h";
    let Some(root) = paths.root() else {
        let places = "CUDA_PATH is not set, and none of /usr/local/cuda, /opt/cuda and /usr/bin/nvcc exists";
        return Err(format!("the CUDA headers are missing: {places}. {ADVICE}"));
    };
    let include: &Path = &root.join("include");
    if include.join(HEADER).is_file() {
        return Ok(());
    }
    Err(format!("the CUDA headers are missing: {} has no {HEADER}. {ADVICE}", include.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_looked_for_where_kernels_include_them_from() {
        let dir = tempfile::tempdir().unwrap();
        let [asked, usual] = ["asked", "usual"].map(|name| dir.path().join(name));
        let none = PathBuf::from("/nowhere/nvcc");
        let paths = |variable: Option<&Path>| CudaPaths {
            variable: variable.map(Into::into),
            usual: vec![usual.clone()],
            compiler: none.clone(),
        };
        assert!(find_headers(&paths(None)).unwrap_err().contains("CUDA_PATH is not set, and none of"));
        std::fs::create_dir_all(usual.join("include")).unwrap();
        assert!(find_headers(&paths(None)).unwrap_err().contains("usual/include has no cuda_runtime.h"));
        std::fs::write(usual.join("include").join(HEADER), "").unwrap();
        assert_eq!(find_headers(&paths(None)), Ok(()));
        // The compiler uses CUDA_PATH even if it is wrong.
        assert!(find_headers(&paths(Some(&asked))).unwrap_err().contains("asked/include has no"));
    }
}
