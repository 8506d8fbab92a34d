//! The suite's crash budget: every exploration notes how many states it judged, in the file that
//! `PEERCASK_STATES_LOG` names, and `scripts/check` prints the sum.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

const LOG: &str = "PEERCASK_STATES_LOG";

/// An exploration has ended.
pub(crate) fn note(states: u64) {
    if let Some(log) = std::env::var_os(LOG) {
        add(Path::new(&log), states);
    }
}

fn add(log: &Path, states: u64) {
    let thread = std::thread::current();
    let line = format!("{states} {}\n", thread.name().unwrap_or("a test"));
    let file = OpenOptions::new().create(true).append(true).open(log);
    // One write, so that lines of tests that run at the same time do not mix.
    let told = file.and_then(|mut file| file.write_all(line.as_bytes()));
    told.expect("the list of explorations can be written");
}

#[test]
fn each_exploration_adds_a_line_with_its_states() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("states");
    add(&log, 7);
    add(&log, 35);
    let told = std::fs::read_to_string(&log).expect("written");
    let states = told.lines().filter_map(|line| line.split(' ').next());
    let states: Vec<u64> = states.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(states, [7, 35], "{told}");
}
