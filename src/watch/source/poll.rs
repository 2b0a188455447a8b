//! Decides which file systems are polled: file systems that other machines or programs can change without an inotify event.

use std::path::Path;

/// File systems that another machine or a program serves, with their numbers in statfs(2).
const POLLED: [(u64, &str); 15] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB 2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "CephFS"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0BD0_0BD0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x2003_0528, "OrangeFS"),
    (0x786F_4256, "VirtualBox shared folder"),
    (0x564C, "NCP"),
];

/// Returns the reason to poll the directory; `None` if inotify reports every change.
pub fn why_poll(root: &Path) -> Option<String> {
    match shared_file_system(root) {
        Ok(name) => name.map(|name| format!("inotify does not report changes by other machines or programs on {name}")),
        Err(error) => Some(format!("the type of the directory's file system cannot be determined: {error}")),
    }
}

/// Returns the name of the file system that holds `path` if another machine or a program serves it; otherwise `None`.
///
/// # Errors
/// statfs(2) fails.
pub fn shared_file_system(path: &Path) -> std::io::Result<Option<&'static str>> {
    Ok(name(low_word(rustix::fs::statfs(path)?.f_type)))
}

fn name(file_system: u64) -> Option<&'static str> {
    POLLED.iter().find(|(number, _)| *number == file_system).map(|(_, name)| *name)
}

/// Returns the low 32 bits of a file system's number. The width and sign of the type depend on the machine: CIFS is negative in a
/// signed 32-bit type.
fn low_word(number: impl TryInto<i128>) -> u64 {
    const LOW: i128 = 0xFFFF_FFFF;
    number.try_into().ok().and_then(|number| u64::try_from(number & LOW).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_fuse_file_systems_are_polled_and_local_ones_are_not() {
        assert_eq!(name(0x6969), Some("NFS"));
        assert_eq!(name(low_word(-0x00AC_B2BEi32)), Some("CIFS"));
        assert_eq!(name(low_word(0xFF53_4D42_u64)), Some("CIFS"));
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x4D44] {
            assert_eq!(name(local), None, "{local:#x}");
        }
    }

    #[test]
    fn the_file_system_of_a_directory_is_determined() {
        let dir = tempfile::tempdir().unwrap();
        assert!(why_poll(&dir.path().join("gone")).unwrap().contains("cannot be determined"));
        // /proc is local on every machine. The temporary directory may not be, so its result is only printed.
        eprintln!("{}: {:?}", dir.path().display(), why_poll(dir.path()));
        assert_eq!(why_poll(Path::new("/proc")), None);
    }
}
