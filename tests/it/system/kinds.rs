//! A kill at every kind of system call that the store makes, those that only look or map included: which kinds
//! there are is read from a trace. The first kill may come while the store opens, the others while it works,
//! merges and closes. What the child acknowledged is there, and the next open needs nobody's help.
//! `PEERCASK_ROUNDS` tries more places of each kind.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use super::calls::{judge, traced};
use crate::support::{Place, rounds, skipped};

const HELPER: &str = "helper_writes_and_tells";
/// Kinds of which a store makes some, whatever else the test's own machinery does.
const EXPECTED: [&str; 9] = [
    "openat",
    "close",
    "mmap",
    "munmap",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
];
/// How often each kind of call was made before the child said that the store is open, and in all.
type Kinds = BTreeMap<String, (u64, u64)>;

/// The name of the call in a line of a trace.
fn name_of(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("[pid ") {
        Some(rest) => rest.split_once("] ")?.1,
        None => line,
    };
    let (name, _) = line.split_once('(')?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn kinds(trace: &str) -> Kinds {
    let mut kinds = Kinds::new();
    let mut open = false;
    for line in trace.lines() {
        let Some(name) = name_of(line) else { continue };
        open |= name == "write" && line.contains("opened");
        let (before, all) = kinds.entry(name.to_owned()).or_default();
        *all += 1;
        *before += u64::from(!open);
    }
    kinds
}

#[test]
fn a_kill_at_every_kind_of_call_loses_nothing_acknowledged() {
    let calm = Place::new();
    let all = ["-e", "trace=all", "-e", "signal=none"];
    let Some(ran) = traced(calm.path(), HELPER, &all).filter(|ran| ran.status.success()) else {
        skipped("kills at every kind of call", "strace cannot be run here");
        return;
    };
    let trace = String::from_utf8_lossy(&ran.stderr).into_owned();
    let kinds = kinds(&trace);
    for expected in EXPECTED {
        assert!(kinds.contains_key(expected), "no {expected}: {kinds:?}");
    }
    let some = rounds(1);
    let (mut killed, mut tried) = (0, 0);
    for (name, (before, all)) in kinds {
        // One while it opens, the others while it lives; those before are the loader's.
        let within = all - before;
        let mut places = vec![before];
        places.extend((0..some).map(|at| before + 1 + within * (2 * at + 1) / (2 * some)));
        for at in places.into_iter().filter(|at| (1..=all).contains(at)) {
            let place = Place::new();
            let trace = format!("trace={name}");
            let inject = format!("inject={name}:signal=SIGKILL:when={at}");
            let ran = traced(place.path(), HELPER, &["-e", &trace, "-e", &inject]);
            let ran = ran.expect("it ran before");
            let told = String::from_utf8_lossy(&ran.stdout).into_owned();
            judge(
                &place,
                &told,
                &format!("killed at {name} number {at} of {all}"),
            );
            killed += u64::from(ran.status.signal() == Some(9));
            tried += 1;
        }
    }
    println!("{tried} kills at calls of every kind, {killed} of them met the child");
    assert!(killed >= 15, "{killed} of {tried}");
}
