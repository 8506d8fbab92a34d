//! `peercask-bench-counting`: the same program with an allocator that counts. `peercask-bench`
//! starts it for the workloads that ask after memory.
#![forbid(unsafe_code)]

use peercask_bench::memory::{self, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator = memory::allocator();

fn main() -> std::process::ExitCode {
    memory::install(&ALLOCATOR);
    peercask_bench::program::main()
}
