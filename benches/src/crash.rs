//! `peercask-bench-crash`: crash trials of the stores that are built in, Peercask among them.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    peercask_bench::trial::program::main()
}
