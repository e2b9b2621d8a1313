//! The binary: hands its arguments and its environment to the command line.
//!
//! Refuses to know any command. The allocator is set here for Rust and, unprefixed, for C code too.

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Names and values that are not Unicode cannot be settings of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    penstock::cli::main(std::env::args_os(), environment.collect())
}
