//! What a process settles about itself while it has a single thread.

/// First of all in `main`.
pub fn settle() {
    edge_model::backend::prepare_process();
    keep_memory();
}

/// Has the C library keep up to 64 MiB of freed memory for each thread. Left alone it gives the pages of every picture and of every run
/// of a model back and takes them again for the next, which for small models was a quarter of all time of two cores.
#[cfg(target_env = "gnu")]
fn keep_memory() {
    const MIB: i32 = 1 << 20;
    for (option, value) in [(libc::M_TRIM_THRESHOLD, 64 * MIB), (libc::M_MMAP_THRESHOLD, 32 * MIB)] {
        // SAFETY: sets a number in the allocator, which refuses one that it does not like.
        unsafe { libc::mallopt(option, value) };
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_memory() {}
