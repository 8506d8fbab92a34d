//! The engine under the crash lab: workloads by the dice and all short ones, faults, damage, and
//! mutants of the engine, each of which must be noticed.
//!
//! `PEERCASK_SEEDS=n` tries n times as much.

mod checkpoint;
mod full_disk;
mod mutants;
mod reader;
mod repair;
mod workloads;

/// How many times the usual budget.
fn times() -> u64 {
    let wanted = std::env::var("PEERCASK_SEEDS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(1)
}
