//! What the test binaries of all rooms share: how many seeds, and how a test says that it did not run.
#![allow(dead_code, reason = "each binary takes what it needs")]

/// How many seeds a random test takes; `PEERCASK_SEEDS` for more.
pub(crate) fn seeds(quick: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("PEERCASK_SEEDS").ok();
    0..asked.and_then(|text| text.parse().ok()).unwrap_or(quick)
}

/// How often a test repeats what chance decides; as many as there are seeds.
pub(crate) fn repeats(quick: u64) -> usize {
    usize::try_from(seeds(quick).end).expect("no more than can be counted")
}

/// Says that a test did not run, and why; `scripts/check` counts these and prints them at its end.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}\n");
    eprint!("{line}");
    let list = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("peercask-skipped.txt");
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).open(list);
    let told = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    told.expect("the list of skipped tests can be written");
}
