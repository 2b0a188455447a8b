//! Process-wide settings that must be made while the process has a single thread.

/// Makes the process-wide settings. Call it first in `main`.
pub fn settle() {
    edge_model::backend::prepare_process();
    keep_freed_memory();
}

/// Makes the C library keep freed memory for the next allocation: up to 64 MiB at the top of each heap, and blocks of up to 32 MiB.
///
/// By default the C library returns the memory of every picture and every model run to the system and requests it again. With small
/// models, returning and requesting it took a quarter of the processor time.
#[cfg(target_env = "gnu")]
fn keep_freed_memory() {
    const MIB: i32 = 1 << 20;
    for (option, value) in [(libc::M_TRIM_THRESHOLD, 64 * MIB), (libc::M_MMAP_THRESHOLD, 32 * MIB)] {
        // SAFETY: mallopt takes two integers, touches only the allocator's own settings and rejects values that it does not support.
        unsafe { libc::mallopt(option, value) };
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_freed_memory() {}
