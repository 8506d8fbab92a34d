//! `peercask-bench`: Peercask beside floors and, where they are built in, other embedded stores.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    peercask_bench::program::main()
}
