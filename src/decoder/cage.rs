//! The limits of a decoder process. They are set before its first byte of input and cannot be lifted.
//!
//! Every layer forbids on its own what matters most. If the kernel lacks one, the others still hold; [`Layers`] says which are there.
//! Only this module uses landlock and seccompiler.

use std::collections::BTreeMap;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getpid, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use serde::{Deserialize, Serialize};

/// Largest number of open files: the standard ones, the file that is decoded, and some that a library may open and close.
const OPEN_FILES: u64 = 8;
/// The newest version of Landlock whose rights are denied. An older kernel denies those that it knows.
const LANDLOCK: ABI = ABI::V6;

/// System calls that a decoder needs: to read, to write, to receive a file, to handle memory, and to end.
const ALLOWED: [i64; 21] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvmsg,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The resources of a decoder process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cage {
    /// Largest size of the address space in bytes.
    pub memory_bytes: u64,
    /// Seconds of processor time over the life of the process.
    pub cpu_s: u64,
}

/// The layers of a cage that need something of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Landlock: no access to files, the network or other processes.
    pub landlock: bool,
    /// seccomp: no other system calls than a decoder needs.
    pub seccomp: bool,
}

impl Layers {
    /// Says which layers confine decoder processes.
    pub fn in_words(self) -> &'static str {
        match (self.landlock, self.seccomp) {
            (true, true) => "confined by seccomp and Landlock",
            (false, true) => "confined by seccomp, not by Landlock, which this kernel lacks",
            (true, false) => "confined by Landlock, not by seccomp, which this kernel lacks",
            (false, false) => "confined by limits of resources alone: this kernel lacks seccomp and Landlock",
        }
    }

    /// Advises how to get the missing layers; `None` if none is missing.
    pub fn advice(self) -> Option<&'static str> {
        match (self.landlock, self.seccomp) {
            (true, true) => None,
            (false, true) => Some(
                "Linux 5.13 and later have Landlock if the kernel's command line names it (`lsm=landlock,...`). seccomp alone holds too",
            ),
            (_, false) => {
                Some("Use a kernel with CONFIG_SECCOMP_FILTER, or do not let strangers upload images to this machine")
            }
        }
    }
}

impl Cage {
    /// Puts this process into the cage, for the rest of its life. Call it while the process has one thread. Descriptors from 3 on are closed.
    ///
    /// # Errors
    /// The kernel refuses a limit that every kernel has. The process must end then.
    pub fn enter(self) -> io::Result<Layers> {
        close_inherited();
        let limits = [
            (Resource::As, self.memory_bytes),
            (Resource::Cpu, self.cpu_s),
            // A core dump would hold a whole picture and could fill an SD card.
            (Resource::Core, 0),
            (Resource::Fsize, 0),
            (Resource::Nofile, OPEN_FILES),
            (Resource::Nproc, 0),
        ];
        for (resource, limit) in limits {
            setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
        }
        // Other processes of this user cannot read its memory either.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        set_no_new_privs(true)?;
        Ok(Layers { landlock: deny_files().map_err(io::Error::other)?, seccomp: deny_calls()? })
    }
}

/// Closes what the daemon's own parent may have left open, such as a shell's descriptors.
fn close_inherited() {
    // SAFETY: at this time, before any work, nothing in this process owns a descriptor above the standard ones.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Denies every right that this kernel's Landlock knows. Returns whether the kernel has Landlock.
fn deny_files() -> Result<bool, RulesetError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(LANDLOCK))?.handle_access(AccessNet::from_all(LANDLOCK))?;
    let status = ruleset.scope(Scope::from_all(LANDLOCK))?.create()?.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Makes all other system calls than those of a decoder fail with EPERM. Returns whether the kernel has seccomp.
fn deny_calls() -> io::Result<bool> {
    let program = filter().map_err(io::Error::other)?;
    match seccompiler::apply_filter(&program) {
        Ok(()) => Ok(true),
        // EINVAL, ENOSYS: a kernel, or an emulator of another processor, without filters. EPERM: a service manager that denies the call.
        Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)) =>
        {
            Ok(false)
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let no_code = || {
        let executable = libc::PROT_EXEC as u64;
        let protection = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(executable), 0)?;
        SeccompRule::new(vec![protection])
    };
    // Needed to abort.
    let own_id = u64::from(getpid().as_raw_nonzero().get().cast_unsigned());
    let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own_id)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_mmap, vec![no_code()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code()?]);
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, denied, SeccompAction::Allow, TargetArch::try_from(std::env::consts::ARCH)?)?.try_into()
}
