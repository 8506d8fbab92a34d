//! The crash trials, run as anyone would: Peercask holds in both models and under flipped bits, and a log without
//! checksums that never syncs a directory is found out, or the trials show nothing.
#![cfg(target_os = "linux")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a trial showed, and why one was skipped, is for who reads the test's output"
)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use peercask_bench::trial::calls;

/// The columns of a table, by name.
struct Row(Vec<(String, String)>);

impl Row {
    fn number(&self, column: &str) -> u64 {
        let found = self.0.iter().find(|(name, _)| name == column);
        let (_, cell) = found.unwrap_or_else(|| panic!("no column {column}"));
        cell.parse().unwrap_or_else(|_| panic!("{column}: {cell}"))
    }
}

/// Runs the program; its rows, those of the first table before those of the second.
fn rows(args: &[&str]) -> Option<Vec<Row>> {
    if let Err(why) = calls::may_trace() {
        let line = format!("skipped: crash trials by traced calls: {why}\n");
        eprint!("{line}");
        let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peercask-skipped.txt");
        let file = OpenOptions::new().create(true).append(true).open(list);
        let told = file.and_then(|mut file| file.write_all(line.as_bytes()));
        told.expect("the list of skipped tests can be written");
        return None;
    }
    let ran = Command::new(env!("CARGO_BIN_EXE_peercask-bench-crash"))
        .args(args)
        .output()
        .expect("it runs");
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{out}{err}");
    println!("{out}{err}");
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().to_owned()).collect()
    };
    let mut head = Vec::new();
    let mut rows = Vec::new();
    for line in out.lines().filter(|line| line.starts_with('|')) {
        match cells(line) {
            words if words.first().is_some_and(|word| word == "store") => head = words,
            words if line.starts_with("|---") => assert_eq!(words.len(), head.len()),
            words => rows.push(Row(head.iter().cloned().zip(words).collect())),
        }
    }
    Some(rows)
}

#[test]
fn peercask_holds_what_it_acknowledged_in_every_state_of_a_traced_run() {
    let args = [
        "--backend",
        "peercask-hash",
        "--writes",
        "3",
        "--states",
        "1",
        "--flips",
        "40",
    ];
    let Some(rows) = rows(&args) else { return };
    let [posix, carried, flips] = rows.as_slice() else {
        panic!("two models, and flipped bits");
    };
    for row in [posix, carried] {
        assert!(row.number("states") > 50, "a few states show little");
        assert!(row.number("syncs") > 3, "it syncs");
        assert_eq!(row.number("right"), row.number("states"));
    }
    assert_eq!(flips.number("flips"), 40);
    let bad = ["acknowledged lost", "panicked or hung", "wrong value"];
    assert_eq!(bad.map(|column| flips.number(column)), [0; 3]);
}

#[test]
fn a_log_that_never_syncs_its_directory_is_found_out() {
    let args = [
        "--backend",
        "floor-log",
        "--writes",
        "2",
        "--states",
        "1",
        "--flips",
        "40",
    ];
    let Some(rows) = rows(&args) else { return };
    let [posix, carried, flips] = rows.as_slice() else {
        panic!("two models, and flipped bits");
    };
    assert!(posix.number("acknowledged lost") > 0, "its name was lost");
    assert_eq!(carried.number("acknowledged lost"), 0, "names were kept");
    assert!(flips.number("wrong value") > 0, "it has no checksums");
}
