//! burn's CUDA backend, and the look at what it needs before it is asked for: it panics where something is missing.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Once;

use burn::backend::Autodiff;
use burn::backend::cuda::{Cuda, CudaDevice};
use burn::cubecl::config::cache::CacheConfig;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use cudarc::driver::CudaContext;

use crate::device::{DeviceError, Place, Work};

/// The file by which the headers of the CUDA runtime are known. Kernels are compiled on this machine and include it.
const HEADER: &str = "cuda_runtime.h";

/// Does the work on a GPU that [`probe`] has found.
pub(in crate::device) fn run<W: Work>(index: usize, work: W) -> Result<W::Output, DeviceError> {
    Ok(work.on::<Autodiff<Cuda<f32, i32>>>(&CudaDevice::new(index)))
}

/// Has compiled kernels kept on disk, where a `cubecl.toml` does not say otherwise. Once in a process, before the first device is opened.
pub(in crate::device) fn keep_kernels_in(dir: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
        config.compilation.cache.get_or_insert_with(|| CacheConfig::File(dir.to_owned()));
        CubeClRuntimeConfig::set(config);
    });
}

/// The GPU of this number, if driver, compiler and headers are there.
pub(in crate::device) fn probe(index: usize) -> Result<Place, DeviceError> {
    look(index).map_err(|reason| DeviceError { device: format!("cuda:{index}"), reason })
}

fn look(index: usize) -> Result<Place, String> {
    // SAFETY: the call opens the library and closes it again; the driver's initialisers may run, which its users rely on anyway.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err("there is no NVIDIA driver (libcuda.so.1). Install it, on Debian and Ubuntu by `apt install \
                    nvidia-driver-570` or newer; in a container start it with `--gpus all`"
            .to_owned());
    }
    let count = CudaContext::device_count().map_err(|e| {
        format!("the NVIDIA driver does not start ({e}). See what `nvidia-smi` says: often the kernel module is missing or older")
    })?;
    if usize::try_from(count).is_ok_and(|count| index >= count) {
        return Err(match count {
            0 => "the NVIDIA driver knows no GPU. See what `nvidia-smi -L` lists, and CUDA_VISIBLE_DEVICES".to_owned(),
            1 => "there is one GPU, cuda:0".to_owned(),
            _ => format!("there are {count} GPUs, cuda:0 to cuda:{}", count - 1),
        });
    }
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err("NVRTC (libnvrtc.so), which compiles the kernels, is not there. Install it by `apt install cuda-nvrtc-12-6` \
                    from NVIDIA's repository, or `pip install nvidia-cuda-nvrtc-cu12` with its directory in LD_LIBRARY_PATH"
            .to_owned());
    }
    headers(&Places::here())?;
    let context =
        CudaContext::new(index).map_err(|e| format!("it cannot be opened ({e}). See what `nvidia-smi` says"))?;
    let name = context.name().map_err(|e| format!("it does not answer ({e}). See what `nvidia-smi` says"))?;
    Ok(Place::Cuda { index, name })
}

/// Where burn's CUDA runtime (cubecl-cuda 0.10) looks for an installation: these, in this order, and the first that exists is taken.
struct Places {
    variable: Option<OsString>,
    usual: Vec<PathBuf>,
    compiler: PathBuf,
}

impl Places {
    fn here() -> Self {
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

/// Refuses where the headers that kernels include are not where they are looked for.
fn headers(places: &Places) -> Result<(), String> {
    const ADVICE: &str = "Install them by `apt install cuda-cudart-dev-12-6` from NVIDIA's repository, or `pip install \
                          nvidia-cuda-runtime-cu12`, and let CUDA_PATH name the directory that holds include/cuda_runtime.h";
    let Some(root) = places.root() else {
        return Err(format!("the CUDA headers are not there: neither CUDA_PATH nor /usr/local/cuda. {ADVICE}"));
    };
    let include: &Path = &root.join("include");
    if include.join(HEADER).is_file() {
        return Ok(());
    }
    Err(format!("the CUDA headers are not there: {} has no {HEADER}. {ADVICE}", include.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_looked_for_where_kernels_include_them_from() {
        let dir = tempfile::tempdir().unwrap();
        let [asked, usual] = ["asked", "usual"].map(|name| dir.path().join(name));
        let none = PathBuf::from("/nowhere/nvcc");
        let places = |variable: Option<&Path>| Places {
            variable: variable.map(Into::into),
            usual: vec![usual.clone()],
            compiler: none.clone(),
        };
        assert!(headers(&places(None)).unwrap_err().contains("neither CUDA_PATH nor"));
        std::fs::create_dir_all(usual.join("include")).unwrap();
        assert!(headers(&places(None)).unwrap_err().contains("usual/include has no cuda_runtime.h"));
        std::fs::write(usual.join("include").join(HEADER), "").unwrap();
        assert_eq!(headers(&places(None)), Ok(()));
        // The variable counts even where it is wrong, as it does for the compiler.
        assert!(headers(&places(Some(&asked))).unwrap_err().contains("asked/include has no"));
    }
}
