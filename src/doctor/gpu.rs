//! Checks the GPU: whether one is present, and which problem prevents its use.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::finding::Finding;
use crate::prover::Prover;
use edge_model::backend::{BUILT_FOR_CUDA, DeviceChoice, Fact};

const AREA: &str = "gpu";

/// Device files of NVIDIA GPUs: two of discrete cards, two of Jetson boards.
const NODES: [&str; 4] = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvmap"];

/// Returns the findings, and whether the model can be tested on a GPU.
pub(super) fn findings(choice: DeviceChoice, prover: Prover) -> (Vec<Finding>, bool) {
    let nodes: Vec<&str> = NODES.into_iter().filter(|node| Path::new(node).exists()).collect();
    let mut findings: Vec<_> = nodes.iter().filter_map(|node| permission_problem(node)).collect();
    if nodes.contains(&"/dev/nvidia0") && !Path::new("/dev/nvidia-uvm").exists() {
        // The driver loads this module on demand with a setuid program. The service's sandbox forbids setuid programs.
        let next = "Load the module with `modprobe nvidia-uvm`. \
            To load it at every boot: `echo nvidia-uvm > /etc/modules-load.d/nvidia-uvm.conf`";
        findings.push(Finding::problem(AREA, "/dev/nvidia-uvm", "missing: the kernel module is not loaded", next));
    }
    if let Ok(version) = std::fs::read_to_string("/proc/driver/nvidia/version") {
        findings.push(Finding::fine(AREA, "kernel module", version.lines().next().unwrap_or_default()));
    }
    if choice == DeviceChoice::Cpu {
        findings.push(Finding::fine(AREA, "use", "the GPU is not used, because the configuration selects the CPU"));
        return (findings, false);
    }
    if BUILT_FOR_CUDA.is_none() {
        let found = "this program was built without CUDA";
        let next = "Install a package with CUDA, or build with `cargo build --release --features cuda`";
        findings.push(match (choice, nodes.is_empty()) {
            (DeviceChoice::Cuda, _) => Finding::problem(AREA, "use", found, next),
            (_, false) => Finding::note(AREA, "use", format!("{found}, and there is a GPU"), next),
            _ => Finding::fine(AREA, "use", format!("{found}; no GPU was found")),
        });
        return (findings, false);
    }
    let facts = prover.facts();
    let is_usable = facts.as_ref().is_ok_and(|facts| facts.iter().all(|fact| fact.found.is_ok()));
    match facts {
        Ok(facts) if choice == DeviceChoice::Auto && nodes.is_empty() && facts.len() == 1 && !is_usable => {
            findings.push(Finding::fine(AREA, "use", "no GPU was found; the CPU is used"));
        }
        Ok(facts) => findings.extend(facts.into_iter().map(|fact| library(choice, fact))),
        Err(error) => findings.push(Finding::problem(
            AREA,
            "driver",
            error.to_string(),
            "Check `dmesg`, then restart the machine or reinstall the driver. Until the driver works, set device = \"cpu\"",
        )),
    }
    (findings, is_usable)
}

/// Returns a problem if this user may not open the device file.
fn permission_problem(node: &str) -> Option<Finding> {
    let error = File::options().read(true).write(true).open(node).err()?;
    (error.kind() == ErrorKind::PermissionDenied).then(|| {
        let next = "Add the user to the file's group (`usermod -aG video,render edge-scorer`), then restart the daemon";
        Finding::problem(AREA, node, "this user may not open the device file", next)
    })
}

fn library(choice: DeviceChoice, Fact { name, found }: Fact) -> Finding {
    let missing = match found {
        Ok(found) => return Finding::fine(AREA, name, found),
        Err(missing) => missing,
    };
    let next = match name.as_str() {
        "driver" => {
            "Install NVIDIA's driver; in a container, start it with the GPU (`--gpus all` or `--runtime nvidia`)"
        }
        "device" => "Check `nvidia-smi` (on a Jetson: `tegrastats`) and `dmesg`",
        "cuDNN" => "Install cuDNN 9 for this CUDA version, or add its directory to /etc/ld.so.conf.d and run ldconfig",
        _ => {
            "Install the CUDA toolkit's libraries of this version, \
             or add their directory to /etc/ld.so.conf.d and run ldconfig"
        }
    };
    if choice == DeviceChoice::Cuda {
        Finding::problem(AREA, name, missing, next)
    } else {
        Finding::note(AREA, name, format!("{missing}; the CPU is used"), next)
    }
}
