//! Facts about the program and the machine, for people who read a report without access to the machine.

use std::fs;

use edge_model::backend::BUILT_FOR_CUDA;

use super::finding::Finding;

const AREA: &str = "machine";

pub(super) fn findings() -> Vec<Finding> {
    let cuda = BUILT_FOR_CUDA.map_or("without CUDA".to_owned(), |major| format!("with CUDA {major}"));
    let program = format!("edge-scorer {} for {}, {cuda}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let mut findings = vec![
        Finding::fine(AREA, "program", program),
        Finding::fine(AREA, "system", system()),
        Finding::fine(AREA, "processor", processor()),
    ];
    findings.extend(memory());
    findings.extend(jetson());
    findings
}

fn system() -> String {
    let kernel = format!("Linux {}", read("/proc/sys/kernel/osrelease").unwrap_or_default().trim());
    let release = read("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| kernel.clone(), |name| format!("{}, {kernel}", name.trim_matches('"')))
}

fn processor() -> String {
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let name = value("model name").or_else(|| device_tree("/proc/device-tree/compatible"));
    format!("{}, {cores} cores usable, {}", name.unwrap_or_else(|| "unknown processor".to_owned()), features())
}

/// Returns the processor's features that the CPU backend uses.
fn features() -> String {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [
        ("NEON", std::arch::is_aarch64_feature_detected!("neon")),
        ("half precision", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dot products", std::arch::is_aarch64_feature_detected!("dotprod")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    let (has, lacks): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, is_there)| *is_there);
    let names = |list: Vec<(&'static str, bool)>| list.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (has.is_empty(), lacks.is_empty()) {
        (_, true) => names(has),
        (true, false) => format!("no {}", names(lacks)),
        (false, false) => format!("{}, no {}", names(has), names(lacks)),
    }
}

/// Available memory in MiB below which a model as large as CLIP does not fit.
const LOW_MEMORY_MIB: u64 = 512;

fn memory() -> Option<Finding> {
    let info = read("/proc/meminfo")?;
    let mib = |key: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches(':').trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
    };
    let (total, available) = (mib("MemTotal")?, mib("MemAvailable")?);
    let found = format!("{available} of {total} MiB available");
    Some(if available < LOW_MEMORY_MIB {
        Finding::note(AREA, "memory", found, "Stop other programs, or use the shipped model, which needs about 60 MiB")
    } else {
        Finding::fine(AREA, "memory", found)
    })
}

fn jetson() -> Option<Finding> {
    let release = read("/etc/nv_tegra_release")?;
    let board = device_tree("/proc/device-tree/model").unwrap_or_else(|| "unknown board".to_owned());
    let (found, next) = jetpack(&release, &board);
    Some(match next {
        None => Finding::fine(AREA, "Jetson", found),
        Some(next) => Finding::note(AREA, "Jetson", found, next),
    })
}

/// Returns a description of the board and advice if its JetPack does not fit this program. `release` is the text of
/// `/etc/nv_tegra_release`, whose first line is like `# R36 (release), REVISION: 4.3, GCID: ...`.
fn jetpack(release: &str, board: &str) -> (String, Option<String>) {
    let field = |before: &str| {
        let rest = release.split_once(before)?.1;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let major = field("# R").unwrap_or_default();
    let minor = field("REVISION: ").unwrap_or_default();
    let jetpack = match major.as_str() {
        "32" => Some(4),
        "34" | "35" => Some(5),
        "36" => Some(6),
        "38" | "39" => Some(7),
        _ => None,
    };
    let wanted = match jetpack {
        Some(4 | 5) => {
            Some("Install JetPack 6 or later to use the GPU: the CUDA of older versions is too old".to_owned())
        }
        Some(6) if BUILT_FOR_CUDA == Some(13) => {
            Some("Use an edge-scorer built with the feature cuda: JetPack 6 has CUDA 12".to_owned())
        }
        Some(7) if BUILT_FOR_CUDA == Some(12) => {
            Some("Use an edge-scorer built with the feature cuda-13: JetPack 7 has CUDA 13".to_owned())
        }
        _ => None,
    };
    let jetpack = jetpack.map_or_else(|| "unknown JetPack".to_owned(), |n| format!("JetPack {n}"));
    (format!("{board}, Jetson Linux {major}.{minor} ({jetpack})"), wanted)
}

/// Reads the first text of a device tree property. Each text in the property ends with a zero byte.
fn device_tree(path: &str) -> Option<String> {
    let text = read(path)?;
    text.split('\0').find(|part| !part.is_empty()).map(|part| part.trim().to_owned())
}

fn read(path: &str) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jetpack_is_derived_from_the_release() {
        let release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8";
        let (found, _) = jetpack(release, "NVIDIA Jetson Orin Nano");
        assert_eq!(found, "NVIDIA Jetson Orin Nano, Jetson Linux 36.4.3 (JetPack 6)");
        let (found, next) = jetpack("# R35 (release), REVISION: 5.0, GCID: 1", "X");
        assert_eq!(found, "X, Jetson Linux 35.5.0 (JetPack 5)");
        assert!(next.unwrap().contains("Install JetPack 6"));
        assert_eq!(jetpack("something else", "X").0, "X, Jetson Linux . (unknown JetPack)");
    }

    #[test]
    fn this_machine_is_described() {
        let findings = findings();
        for subject in ["program", "system", "processor", "memory"] {
            assert!(findings.iter().any(|f| f.subject == subject && !f.found.is_empty()), "{subject}");
        }
    }
}
