//! The entry point of the program, and its allocator.

use std::process::ExitCode;

/// Returns memory to the system. glibc's allocator still held a crowd's memory a minute after the
/// crowd had left. C and C++ libraries, such as RocksDB, use it too.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ghpulse::cli::run()
}
