//! Tests of the decoder's cage by code that tries to get out, on kernels with and without each layer.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicU64;

use edge_scorer::decoder::{Cage, Layers};
use edge_testing::{Place, jpeg};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Tells the child which layer its kernel shall lack, and which file it attacks.
const LACKS: &str = "CAGE_LACKS";
const TARGET: &str = "CAGE_TARGET";
/// The address of [`SECRET`] in the child's parent.
const ADDRESS: &str = "CAGE_ADDRESS";

/// A value in the parent. The child tries to read and to overwrite it.
static SECRET: AtomicU64 = AtomicU64::new(42);

/// What hostile code tries, and whether Landlock alone prevents it.
const ATTEMPTS: [(&str, bool); 21] = [
    ("read a file", true),
    ("write into a file", true),
    ("make a file", true),
    ("look at a file", false),
    ("start a process", false),
    ("start a thread", false),
    ("open an internet socket", false),
    ("open a local socket", false),
    ("signal its parent", true),
    ("trace its parent", true),
    ("read its parent's memory", true),
    ("write its parent's memory", true),
    ("map memory as code", false),
    ("turn memory into code", false),
    ("raise a limit", true),
    ("allow its memory to be dumped", false),
    ("load a program into the kernel", false),
    ("start asynchronous input and output", false),
    ("take more memory than it may", true),
    ("delete a file", true),
    // Ends the child where it is possible, so it is the last.
    ("start a program", true),
];

/// The child process. It enters the cage and prints a line for each attempt.
#[test]
#[ignore = "it is the child process that the other tests of this module start by its name"]
fn child() {
    let Some(target) = std::env::var_os(TARGET).map(PathBuf::from) else { return };
    match std::env::var(LACKS).unwrap().as_str() {
        "landlock" => refuse(&[(libc::SYS_landlock_create_ruleset, None)], libc::ENOSYS),
        "permission" => {
            refuse(&[(libc::SYS_seccomp, None), (libc::SYS_landlock_create_ruleset, None)], libc::EPERM);
        }
        "seccomp" => {
            refuse(&[(libc::SYS_seccomp, None), (libc::SYS_prctl, Some(libc::PR_SET_SECCOMP as u64))], libc::EINVAL);
        }
        _ => {}
    }
    println!();
    // SAFETY: no handler is called. A file that becomes too large would end the process instead of being an error.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if std::env::var(LACKS).unwrap() != "everything" {
        let Layers { landlock, seccomp } = Cage { memory_bytes: 2 << 30, cpu_s: 60 }.enter().unwrap();
        println!("landlock {landlock}\nseccomp {seccomp}");
    }
    for (name, _) in ATTEMPTS {
        println!("{name}: {}", if attempt(name, &target) { "DONE" } else { "denied" });
    }
}

/// Makes the kernel refuse a system call, for the given first argument if there is one, with an error as if it did not know it.
fn refuse(calls: &[(i64, Option<u64>)], error: i32) {
    let rule = |first: u64| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, first).unwrap();
        SeccompRule::new(vec![condition]).unwrap()
    };
    let rules = calls.iter().map(|(call, first)| (*call, first.iter().map(|first| rule(*first)).collect())).collect();
    let refused = SeccompAction::Errno(error.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Tries one thing by system calls, as code without our library would. Returns whether it was possible.
fn attempt(name: &str, target: &Path) -> bool {
    let path = |path: &Path| CString::new(path.as_os_str().to_owned().into_vec()).unwrap();
    let (victim, fresh, shell) = (path(target), path(&target.with_extension("new")), path(Path::new("/bin/sh")));
    let (mut buffer, mut local) = ([0_u8; 64], 42_u64.to_ne_bytes());
    let local = libc::iovec { iov_base: local.as_mut_ptr().cast(), iov_len: local.len() };
    let address: usize = std::env::var(ADDRESS).unwrap().parse().unwrap();
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: local.iov_len };
    let (null, flags) = (std::ptr::null::<libc::c_char>(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: every pointer is to a value above that is as large as the call says, or null where the call allows it. Memory that is mapped or
    // protected is used by nothing else. A process that is forked ends at once.
    let result = unsafe {
        let parent = libc::getppid();
        match name {
            "read a file" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, victim.as_ptr(), libc::O_RDONLY),
            "write into a file" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, victim.as_ptr(), libc::O_WRONLY),
            "make a file" => {
                libc::syscall(libc::SYS_openat, libc::AT_FDCWD, fresh.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600)
            }
            "delete a file" => libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, victim.as_ptr(), 0),
            "look at a file" => {
                let about = buffer.as_mut_ptr().cast::<libc::c_void>();
                libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), about, buffer.len())
            }
            "start a program" => {
                let arguments = [shell.as_ptr(), c"-c".as_ptr(), c"echo 'start a program: DONE'".as_ptr(), null];
                libc::syscall(libc::SYS_execve, shell.as_ptr(), arguments.as_ptr(), [null].as_ptr())
            }
            "start a process" => {
                let process = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize, 0_usize, 0_usize, 0_usize);
                if process == 0 {
                    libc::_exit(0);
                }
                process
            }
            "start a thread" => match std::thread::Builder::new().spawn(|| {}) {
                Ok(thread) => thread.join().map_or(-1, |()| 0),
                Err(_) => -1,
            },
            "open an internet socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "open a local socket" => libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0),
            "signal its parent" => libc::syscall(libc::SYS_kill, parent, libc::SIGCONT),
            "trace its parent" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, parent, 0_usize, 0_usize),
            "read its parent's memory" | "write its parent's memory" => {
                let reads = name.starts_with("read");
                let call = if reads { libc::SYS_process_vm_readv } else { libc::SYS_process_vm_writev };
                libc::syscall(call, parent, &raw const local, 1_usize, &raw const remote, 1_usize, 0_usize)
            }
            "map memory as code" => {
                let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                libc::syscall(libc::SYS_mmap, 0_usize, 4096_usize, protection, flags, -1_isize, 0_usize)
            }
            "turn memory into code" => {
                let page = libc::syscall(
                    libc::SYS_mmap,
                    0_usize,
                    4096_usize,
                    libc::PROT_READ | libc::PROT_WRITE,
                    flags,
                    -1_isize,
                    0_usize,
                );
                assert!(page > 0, "a decoder needs memory");
                libc::syscall(libc::SYS_mprotect, page, 4096_usize, libc::PROT_READ | libc::PROT_EXEC)
            }
            "raise a limit" => {
                // As this test may run as root, which may raise limits, only a use of the right counts: a file is written to.
                let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, victim.as_ptr(), libc::O_WRONLY);
                let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
                libc::syscall(
                    libc::SYS_prlimit64,
                    0,
                    libc::RLIMIT_FSIZE,
                    &raw const limit,
                    std::ptr::null::<libc::rlimit>(),
                );
                libc::syscall(libc::SYS_write, file, victim.as_ptr(), 1)
            }
            "allow its memory to be dumped" => {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1_usize, 0_usize, 0_usize, 0_usize)
            }
            "load a program into the kernel" => libc::syscall(libc::SYS_bpf, 0, buffer.as_mut_ptr(), buffer.len()),
            "start asynchronous input and output" => {
                libc::syscall(libc::SYS_io_uring_setup, 8, [0_u8; 120].as_mut_ptr())
            }
            "take more memory than it may" => {
                libc::syscall(libc::SYS_mmap, 0_usize, 4_u64 << 30, libc::PROT_READ, flags, -1_isize, 0_usize)
            }
            _ => unreachable!("{name}"),
        }
    };
    let opens = ["read a file", "write into a file", "make a file", "open an internet socket", "open a local socket"];
    if opens.contains(&name) || name == "start asynchronous input and output" {
        // SAFETY: the descriptor was opened above. Too many open ones would make a later attempt fail.
        unsafe { libc::syscall(libc::SYS_close, result) };
    }
    result >= 0
}

/// Runs the child on a kernel that lacks a layer. Returns its lines.
fn run(lacks: &str) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("scores.db");
    std::fs::write(&target, "scores").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cage::child", "--ignored", "--nocapture", "--test-threads=1"])
        .envs([(LACKS, lacks)])
        .env(TARGET, &target)
        .env(ADDRESS, SECRET.as_ptr().addr().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().filter_map(|line| line.split_once(": ").or_else(|| line.split_once(' ')));
    let lines: BTreeMap<String, String> = lines.map(|(name, result)| (name.to_owned(), result.to_owned())).collect();
    for (name, _) in ATTEMPTS {
        assert!(lines.contains_key(name), "{name} was not tried: {text}{errors}");
    }
    lines
}

/// Attempts that must fail and did not.
fn escapes(lines: &BTreeMap<String, String>, must_fail: impl Fn(bool) -> bool) -> Vec<&'static str> {
    let held = |(name, by_landlock): &&(&str, bool)| must_fail(*by_landlock) && lines[*name] != "denied";
    ATTEMPTS.iter().filter(held).map(|(name, _)| *name).collect()
}

#[test]
fn without_a_cage_the_attempts_succeed() {
    let lines = run("everything");
    // What a machine may forbid to every process of a user.
    let restricted = [
        "trace its parent",
        "read its parent's memory",
        "write its parent's memory",
        "load a program into the kernel",
        "start asynchronous input and output",
        "take more memory than it may",
    ];
    let failed = ATTEMPTS.iter().filter(|(name, _)| lines[*name] != "DONE" && !restricted.contains(name));
    assert_eq!(failed.collect::<Vec<_>>(), [] as [&(&str, bool); 0]);
}

#[test]
fn code_in_a_decoder_can_do_nothing_but_decode() {
    let lines = run("nothing");
    assert_eq!(lines["seccomp"], "true");
    assert_eq!(escapes(&lines, |_| true), [] as [&str; 0]);
}

#[test]
fn code_in_a_decoder_can_do_nothing_but_decode_on_a_kernel_without_landlock() {
    let lines = run("landlock");
    assert_eq!((lines["landlock"].as_str(), lines["seccomp"].as_str()), ("false", "true"));
    assert_eq!(escapes(&lines, |_| true), [] as [&str; 0]);
}

#[test]
fn without_seccomp_landlock_protects_files_and_other_processes() {
    if run("nothing")["landlock"] == "false" {
        eprintln!("SKIPPED daemon::cage, Landlock alone: this kernel has no Landlock");
        return;
    }
    let lines = run("seccomp");
    assert_eq!((lines["landlock"].as_str(), lines["seccomp"].as_str()), ("true", "false"));
    assert_eq!(escapes(&lines, |by_landlock| by_landlock), [] as [&str; 0]);
    // The list says rightly what only seccomp prevents, so the other tests try what is possible.
    assert!(ATTEMPTS.iter().any(|(name, by_landlock)| !by_landlock && lines[*name] == "DONE"), "{lines:?}");
}

#[test]
fn a_decoder_works_where_it_may_not_confine_itself_and_says_so() {
    let lines = run("permission");
    assert_eq!((lines["landlock"].as_str(), lines["seccomp"].as_str()), ("false", "false"));
    // What needs nothing but limits still holds.
    assert_eq!([&lines["make a file"], &lines["take more memory than it may"]], ["DONE", "denied"]);
}

#[test]
fn the_daemons_decoders_are_in_the_cage() {
    let place = Place::new();
    let config = place.config("[watch]\nsettle_ms = 20\n");
    let daemon = place.daemon(&["--config", config.to_str().unwrap(), place.photos().to_str().unwrap()]);
    place.write("first.jpg", &jpeg(1));
    place.wait_for_rows("SELECT count(*) FROM image", &["1"]);
    let decoders = daemon.decoders();
    assert!(!decoders.is_empty());
    for decoder in decoders {
        let about = PathBuf::from(format!("/proc/{}", decoder.as_raw_nonzero()));
        let status = std::fs::read_to_string(about.join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap().to_owned();
        assert_eq!([field("NoNewPrivs:"), field("Seccomp:"), field("Threads:")], ["1", "2", "1"]);
        // Only root may look further, because the process cannot be dumped.
        if let (Ok(environment), Ok(descriptors)) = (std::fs::read(about.join("environ")), about.join("fd").read_dir())
        {
            assert_eq!(String::from_utf8_lossy(&environment), "");
            assert_eq!(descriptors.count(), 3);
        }
    }
    daemon.stop();
}
