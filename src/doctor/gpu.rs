//! Whether there is a GPU, and what keeps it from being used.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::{Finding, Prover};
use edge_model::backend::{BUILT_FOR_CUDA, DeviceChoice, Fact};

const AREA: &str = "gpu";

/// The nodes through which a process reaches a GPU: of discrete cards, and of Jetson boards.
const NODES: [&str; 4] = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvmap"];

/// What is found, and whether it makes sense to prove a model on a GPU.
pub(super) fn findings(choice: DeviceChoice, prover: &Prover) -> (Vec<Finding>, bool) {
    let nodes: Vec<&str> = NODES.into_iter().filter(|node| Path::new(node).exists()).collect();
    let mut findings: Vec<_> = nodes.iter().filter_map(|node| closed(node)).collect();
    if nodes.contains(&"/dev/nvidia0") && !Path::new("/dev/nvidia-uvm").exists() {
        // The driver would start a setuid program that loads it, which the service's sandbox does not let it do.
        let next =
            "Load the module at boot: echo nvidia-uvm > /etc/modules-load.d/nvidia-uvm.conf; now: modprobe nvidia-uvm";
        findings.push(Finding::problem(AREA, "/dev/nvidia-uvm", "it is not there", next));
    }
    if let Ok(version) = std::fs::read_to_string("/proc/driver/nvidia/version") {
        findings.push(Finding::fine(AREA, "kernel module", version.lines().next().unwrap_or_default()));
    }
    if choice == DeviceChoice::Cpu {
        findings.push(Finding::fine(AREA, "use", "the configuration asks for the CPU"));
        return (findings, false);
    }
    if BUILT_FOR_CUDA.is_none() {
        let found = "this program is built without CUDA";
        let next = "Install the package with CUDA, or build with `cargo build --release --features cuda`";
        findings.push(match (choice, nodes.is_empty()) {
            (DeviceChoice::Cuda, _) => Finding::problem(AREA, "use", found, next),
            (_, false) => Finding::note(AREA, "use", format!("{found}, and there is a GPU"), next),
            _ => Finding::fine(AREA, "use", format!("{found}; no GPU is seen")),
        });
        return (findings, false);
    }
    let facts = prover.facts();
    let is_usable = facts.as_ref().is_ok_and(|facts| facts.iter().all(|fact| fact.found.is_ok()));
    match facts {
        Ok(facts) if choice == DeviceChoice::Auto && nodes.is_empty() && facts.len() == 1 && !is_usable => {
            findings.push(Finding::fine(AREA, "use", "no GPU is seen, the CPU is used"));
        }
        Ok(facts) => findings.extend(facts.into_iter().map(|fact| library(choice, fact))),
        Err(reason) => findings.push(Finding::problem(
            AREA,
            "driver",
            reason,
            "The driver itself fails: look at `dmesg`, restart the machine, install the driver anew. Until then set device = \"cpu\"",
        )),
    }
    (findings, is_usable)
}

/// A node that this user may not open.
fn closed(node: &str) -> Option<Finding> {
    let error = File::options().read(true).write(true).open(node).err()?;
    (error.kind() == ErrorKind::PermissionDenied).then(|| {
        let next =
            "Add the user to the node's group (`usermod -aG video,render edge-scorer`), then start the daemon again";
        Finding::problem(AREA, node, "this user may not open it", next)
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
        "device" => "No device can be used: look at `nvidia-smi` or, on a Jetson, `tegrastats`, and at `dmesg`",
        "cuDNN" => "Install cuDNN 9 for this CUDA version, or add its directory to /etc/ld.so.conf.d and run ldconfig",
        _ => {
            "Install the CUDA toolkit's libraries of this version, or add their directory to /etc/ld.so.conf.d and run ldconfig"
        }
    };
    if choice == DeviceChoice::Cuda {
        Finding::problem(AREA, name, missing, next)
    } else {
        Finding::note(AREA, name, format!("{missing}; the CPU is used"), next)
    }
}
