//! Saying that a test did not run, for each of this crate's test binaries.

/// Says so, and why; `scripts/check` counts these and prints them at its end.
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
