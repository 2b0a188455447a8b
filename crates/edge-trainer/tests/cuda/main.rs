//! A GPU that fails in every way that a GPU can fail in: the built program runs on a driver of the tests' own ([`Gpu`]), so that
//! all of it happens on any machine. What must hold is always the same: no wrong score is stored, no picture is lost, and the log,
//! `status` and the database say what happened.
#![cfg(all(feature = "cuda", not(feature = "cuda-13")))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundle;
mod doctor;
mod gpu_check;
mod opening;
mod working;

use std::path::{Path, PathBuf};
use std::process::Command;

use edge_testing::daemon::Daemon;
use edge_testing::{Place, Said, compile_library, jpeg};

/// A machine with a GPU of the tests' own, and a model that both the GPU and the CPU can run.
struct Gpu {
    place: Place,
    model: PathBuf,
}

impl Gpu {
    fn new() -> Self {
        let place = Place::new();
        let libraries = place.path("lib");
        let headers = place.path("cuda/include");
        std::fs::create_dir(&libraries).unwrap();
        std::fs::create_dir_all(headers.join("cuda/std")).unwrap();
        let driver = libraries.join("libcuda.so.1");
        compile_library("tests/cuda/driver.c", &driver);
        for name in ["libcudart.so.12", "libnvrtc.so.12", "libcublas.so.12", "libcudnn.so.9"] {
            std::os::unix::fs::symlink(&driver, libraries.join(name)).unwrap();
        }
        // What the compiler of the kernels asks for.
        for name in ["cuda_fp16.h", "math_constants.h", "cuda/std/cstdint"] {
            std::fs::write(headers.join(name), "").unwrap();
        }
        let model = bundle::of_zeros(place.dir.path());
        let gpu = Self { place, model };
        gpu.set("works");
        gpu
    }

    /// From now on the GPU does this; see `driver.c`.
    fn set(&self, fault: &str) {
        // Renamed into place: the driver must not read half of it.
        let next = self.place.path("gpu.next");
        std::fs::write(&next, fault).unwrap();
        std::fs::rename(next, self.place.path("gpu")).unwrap();
    }

    fn library(&self, name: &str) -> PathBuf {
        self.place.path("lib").join(name)
    }

    /// Puts the GPU into a command's environment.
    fn plug_in(&self, command: &mut Command) {
        command.env("STUB_GPU", self.place.path("gpu")).env("LD_LIBRARY_PATH", self.place.path("lib"));
        command.env("CUDA_HOME", self.place.path("cuda")).env("XDG_CACHE_HOME", self.place.path("cache"));
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.place.command();
        self.plug_in(&mut command);
        command.args(arguments).arg("--model").arg(&self.model);
        Said::of(command.output().unwrap())
    }

    /// `config check` on this device: what it says the device is.
    #[track_caller]
    fn device(&self, device: &str) -> String {
        let said = self.run(&["config", "check", "--device", device]).expect(0);
        said.stdout.lines().find_map(|line| line.strip_prefix("device     ")).unwrap().to_owned()
    }

    /// A daemon that watches the photographs, once it is ready.
    fn daemon(&self, arguments: &[&str]) -> Daemon {
        let photos = self.place.photos();
        let more = [arguments, &[photos.to_str().unwrap()]].concat();
        let daemon = self.place.start_on(&self.model, &more, |command| self.plug_in(command));
        daemon.wait_for("ready");
        daemon
    }

    /// Puts pictures of these seeds into the watched directory.
    fn add(&self, seeds: std::ops::Range<u32>) {
        for seed in seeds {
            self.place.write(format!("{seed}.jpg"), &jpeg(seed));
        }
    }

    /// Waits until so many pictures have been scored, each once and with the right score.
    #[track_caller]
    fn expect_scored(&self, count: u32) {
        self.place.wait_for_rows("SELECT count(DISTINCT image_id) FROM score", &[&count.to_string()]);
        assert_eq!(
            self.place.value("SELECT count(*) FROM score WHERE abs(score) > 1e-6 OR abs(similarity) > 1e-6"),
            "0"
        );
        assert_eq!(self.place.value("SELECT count(*) FROM failure"), "0");
        self.place.assert_sound();
    }

    /// Device and reason as the database has them.
    fn recorded(&self) -> String {
        self.place
            .value("SELECT device || ' in ' || precision || ' (' || device_reason || ')' FROM model WHERE current = 1")
    }
}

/// Removes a library of the GPU's.
fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}
