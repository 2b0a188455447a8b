//! A GPU that fails in many ways. The built program runs with a stub of the CUDA driver ([`Gpu`]), so that the failures happen on any
//! machine. In all cases no wrong score is stored, no image is lost, and the log, `status` and the database report the failure.
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
use edge_testing::{Place, ProgramOutput, compile_library, jpeg};

/// A directory with a stub of a GPU, and a model that both the stub and the CPU can run.
struct Gpu {
    place: Place,
    model: PathBuf,
}

impl Gpu {
    /// A GPU that works. If there is no C compiler for the stub, reports the running test as skipped and returns `None`.
    fn new() -> Option<Self> {
        let place = Place::new();
        let libraries = place.path("lib");
        let headers = place.path("cuda/include");
        std::fs::create_dir(&libraries).unwrap();
        std::fs::create_dir_all(headers.join("cuda/std")).unwrap();
        let driver = libraries.join("libcuda.so.1");
        if !compile_library("crates/edge-trainer/tests/cuda/driver.c", &driver) {
            return None;
        }
        for name in ["libcudart.so.12", "libnvrtc.so.12", "libcublas.so.12", "libcudnn.so.9"] {
            std::os::unix::fs::symlink(&driver, libraries.join(name)).unwrap();
        }
        // Headers that the compiler of the kernels includes.
        for name in ["cuda_fp16.h", "math_constants.h", "cuda/std/cstdint"] {
            std::fs::write(headers.join(name), "").unwrap();
        }
        let model = bundle::of_zeros(place.dir.path());
        let gpu = Self { place, model };
        gpu.set("works");
        Some(gpu)
    }

    /// Makes the stub behave in another way; `driver.c` lists the faults.
    fn set(&self, fault: &str) {
        // Renamed into place, so that the stub never reads a half-written file.
        let next = self.place.path("gpu.next");
        std::fs::write(&next, fault).unwrap();
        std::fs::rename(next, self.place.path("gpu")).unwrap();
    }

    /// The path of one of the stub's libraries.
    fn library(&self, name: &str) -> PathBuf {
        self.place.path("lib").join(name)
    }

    /// Sets the environment variables with which a command finds the stub.
    fn plug_in(&self, command: &mut Command) {
        command.env("STUB_GPU", self.place.path("gpu")).env("LD_LIBRARY_PATH", self.place.path("lib"));
        command.env("CUDA_HOME", self.place.path("cuda")).env("XDG_CACHE_HOME", self.place.path("cache"));
    }

    /// Runs `edge-scorer` with the stub and the model.
    fn run(&self, arguments: &[&str]) -> ProgramOutput {
        let mut command = self.place.command();
        self.plug_in(&mut command);
        command.args(arguments).arg("--model").arg(&self.model);
        ProgramOutput::of(command.output().unwrap())
    }

    /// The device that `config check` reports for a requested device.
    #[track_caller]
    fn device(&self, device: &str) -> String {
        let said = self.run(&["config", "check", "--device", device]).expect(0);
        said.stdout.lines().find_map(|line| line.strip_prefix("device     ")).unwrap().to_owned()
    }

    /// Starts a daemon that watches the photo directory, and waits until it is ready.
    fn daemon(&self, arguments: &[&str]) -> Daemon {
        let photos = self.place.photos();
        let more = [arguments, &[photos.to_str().unwrap()]].concat();
        let daemon = self.place.start_on(&self.model, &more, |command| self.plug_in(command));
        daemon.wait_for("ready");
        daemon
    }

    /// Writes images of these seeds into the photo directory.
    fn add(&self, seeds: std::ops::Range<u32>) {
        for seed in seeds {
            self.place.write(format!("{seed}.jpg"), &jpeg(seed));
        }
    }

    /// Waits until this many images have been scored. Fails if a score is wrong or an image failed.
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

    /// Device, precision and reason as recorded in the database.
    fn recorded(&self) -> String {
        self.place
            .value("SELECT device || ' in ' || precision || ' (' || device_reason || ')' FROM model WHERE current = 1")
    }
}

/// Removes a file of the stub.
fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}
