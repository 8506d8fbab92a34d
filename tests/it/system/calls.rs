//! System calls of a real child that fail, are interrupted, or are its last: strace gives each of
//! the calls by which the store changes its files an error, or kills the child there. Whatever
//! happens, what the child acknowledged is there, what it was refused is not, and the next open
//! needs nobody's help. `PEERCASK_ROUNDS` tries more places.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use peercask::{Durability, Merge, Options, Store, Write};

use crate::support::{Contents, Place, Rng, assert_same, contents, hash, ordered, rounds, skipped};

const DIR: &str = "PEERCASK_TEST_CALLS_DIR";
/// The calls by which a store changes what is on disk.
const CALLS: &[&str] = &[
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
    "ftruncate",
    "fallocate",
];
const WRITES: u64 = 40;

fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .segment_bytes(4_096)
}

/// A keyspace, a key, and the value; `None` deletes.
type Change = (&'static str, Vec<u8>, Option<Vec<u8>>);

/// What write `number` changes; the same whoever asks.
fn changes(number: u64) -> Vec<Change> {
    let mut rng = Rng::quiet(0xCA11, number);
    let mut changes = vec![(
        "flat",
        b"number".to_vec(),
        Some(number.to_le_bytes().to_vec()),
    )];
    for _ in 0..=number % 3 {
        let space = ["flat", "sorted"][rng.index(2)];
        let len = rng.index(500);
        let value = (rng.below(4) > 0).then(|| rng.bytes(len));
        changes.push((space, format!("key {}", rng.below(12)).into_bytes(), value));
    }
    changes
}

/// Not a test of its own: the child. It tells the fate of each of its writes.
#[test]
fn helper_writes_and_tells() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = match Store::open(Path::new(&dir), options()) {
        Ok(store) => store,
        Err(error) => {
            println!("\nnot opened: {error}");
            return;
        }
    };
    println!("\nopened");
    let spaces = store
        .keyspace("flat", peercask::KeyspaceOptions::hash())
        .and_then(|flat| {
            let sorted = store.keyspace("sorted", peercask::KeyspaceOptions::ordered())?;
            Ok((flat, sorted))
        });
    let Ok((flat, sorted)) = spaces else {
        println!("no keyspaces");
        return;
    };
    for number in 0..WRITES {
        let mut batch = store.batch();
        for (space, key, value) in changes(number) {
            let space = if space == "flat" { &flat } else { &sorted };
            match value {
                Some(value) => batch.put_with(space, key, value, Write::new()),
                None => batch.delete(space, key),
            }
        }
        let how = [Durability::Device, Durability::Kernel][usize::from(number % 3 == 1)];
        println!("begin {number}");
        match batch.commit_with(how).and_then(|commit| commit.wait()) {
            Ok(_) => println!("ok {number}"),
            // By this write's own sync or before it: what was appended may survive or not.
            Err(_) if store.stats().poisoned.is_some() => {
                println!("poisoned {number}");
                break;
            }
            Err(error) => println!("refused {number} {error}"),
        }
        if number % 15 == 14 {
            println!("merged {}", store.merge(Merge::Full).is_ok());
        }
    }
    drop((flat, sorted));
    println!("closed {}", store.close().is_ok());
}

/// Not a test of its own: a child that only opens and closes.
#[test]
fn helper_opens_and_closes() {
    if let Some(dir) = std::env::var_os(DIR) {
        let store = Store::open(Path::new(&dir), options());
        println!("\nopened {}", store.is_ok());
    }
}

/// Runs a child under strace with the arguments given.
pub(super) fn traced(dir: &Path, helper: &str, trace: &[&str]) -> Option<Output> {
    let exe = std::env::current_exe().expect("this test has a file");
    let helper = format!("system::calls::{helper}");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(trace).arg(exe);
    command.args([&helper, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).output().ok()
}

/// How often a child that nothing disturbs makes each call; `None` without a working strace.
fn counts(helper: &str, dir: &Path) -> Option<BTreeMap<&'static str, u64>> {
    let all = format!("trace={}", CALLS.join(","));
    let ran = traced(dir, helper, &["-e", &all])?;
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    let count = |call: &str| told.matches(&format!("{call}(")).count() as u64;
    ran.status
        .success()
        .then(|| CALLS.iter().map(|call| (*call, count(call))).collect())
}

/// Numbers that the child told with `word`.
fn numbers(told: &str, word: &str) -> BTreeSet<u64> {
    let lines = told.lines().filter_map(|line| line.strip_prefix(word));
    let first = |rest: &str| rest.split_whitespace().next()?.parse().ok();
    lines.filter_map(first).collect()
}

/// What the child told must agree with what is found.
pub(super) fn judge(place: &Place, told: &str, what: &str) {
    let store = Store::open(place.path(), options())
        .unwrap_or_else(|error| panic!("{what}: the next open: {error}\n{told}"));
    assert_eq!(store.recovery().damage, [], "{what}");
    let found = match store.keyspaces().len() {
        2 => contents(&store),
        _ => Contents::new(),
    };
    let (ok, refused) = (numbers(told, "ok "), numbers(told, "refused "));
    // Begun, and never told of: killed in it, or poisoned by it. It may be there, whole.
    let open: BTreeSet<u64> = numbers(told, "begin ")
        .into_iter()
        .filter(|number| !ok.contains(number) && !refused.contains(number))
        .collect();
    assert!(open.len() <= 1, "{what}: one write at a time\n{told}");
    let state = |applied: &BTreeSet<u64>| {
        let mut state = Contents::new();
        for number in applied {
            for (space, key, value) in changes(*number) {
                match value {
                    Some(value) => state.insert((space.to_owned(), key), value),
                    None => state.remove(&(space.to_owned(), key)),
                };
            }
        }
        state
    };
    let with_open = state(&ok.union(&open).copied().collect());
    if found != with_open {
        assert_same(&found, &state(&ok), &format!("{what}\n{told}"));
    }
    // A second life in the same directory.
    let space = hash(&store, "flat");
    space.put("second life", "yes").expect("written");
    let ordered = ordered(&store, "sorted");
    ordered.put("second life", "yes").expect("written");
    let held = contents(&store);
    drop((space, ordered));
    store.close().expect("closed");
    assert_same(&contents(&place.open_with(options())), &held, what);
}

/// Places at which to disturb: first, last, and some between.
fn places(count: u64, some: u64) -> BTreeSet<u64> {
    let some = some.min(count);
    (0..some)
        .map(|at| 1 + at * (count - 1) / some.max(2).saturating_sub(1).max(1))
        .collect()
}

#[test]
fn every_call_may_be_the_last_or_fail() {
    let (calm, recovered) = (Place::new(), Place::new());
    let Some(counts) = counts("helper_writes_and_tells", calm.path()) else {
        skipped(
            "system calls that fail or are the last",
            "strace cannot be run here",
        );
        return;
    };
    assert!(counts["pwrite64"] > WRITES && counts["fdatasync"] > 10 && counts["rename"] > 5);
    drop(recovered);
    let some = rounds(4);
    let mut hit = BTreeMap::new();
    for (call, count) in counts {
        for at in places(count, some) {
            let faults = [
                format!("signal=SIGKILL:when={at}"),
                format!("error=EIO:when={at}"),
                format!("error=ENOSPC:when={at}"),
                format!("error=EIO:when={at}+"),
            ];
            // All kinds at the first place of a call, then by turns.
            for (turn, fault) in faults.iter().enumerate() {
                if at > 1 && turn as u64 != at % 4 {
                    continue;
                }
                let place = Place::new();
                let inject = format!("inject={call}:{fault}");
                let trace = format!("trace={call}");
                let ran = traced(
                    place.path(),
                    "helper_writes_and_tells",
                    &["-e", &trace, "-e", &inject],
                )
                .expect("it ran before");
                let told = String::from_utf8_lossy(&ran.stdout).into_owned();
                *hit.entry(call).or_insert(0_u64) += 1;
                let what = format!("{call} {fault}");
                // Killed, the recovery is killed too before the store is judged.
                if fault.starts_with("signal") {
                    kill_in_recovery(&place, at);
                }
                judge(&place, &told, &what);
            }
        }
    }
    assert!(hit.values().sum::<u64>() >= 30, "places tried: {hit:?}");
}

/// Opens by children that are killed at their first, second or third call of each kind.
fn kill_in_recovery(place: &Place, seed: u64) {
    let mut rng = Rng::quiet(0xDEAD, seed);
    for _ in 0..2 {
        let call = CALLS[rng.index(CALLS.len())];
        let at = 1 + rng.below(3);
        let (trace, inject) = (
            format!("trace={call}"),
            format!("inject={call}:signal=SIGKILL:when={at}"),
        );
        let killed = traced(
            place.path(),
            "helper_opens_and_closes",
            &["-e", &trace, "-e", &inject],
        );
        assert!(killed.is_some(), "it ran before");
    }
}

/// Every third write is interrupted before it does anything. Reads are the simulated disk's to interrupt:
/// here that would stop the loader of the program, which does not take it.
#[test]
fn interrupted_calls_are_made_again() {
    const HELPER: &str = "helper_writes_and_tells";
    if counts(HELPER, Place::new().path()).is_none() {
        skipped("interrupted system calls", "strace cannot be run here");
        return;
    }
    let place = Place::new();
    let writes = "inject=pwrite64:error=EINTR:when=2+3";
    let trace = ["-e", "trace=pwrite64", "-e", writes];
    let ran = traced(place.path(), HELPER, &trace).expect("strace ran before");
    let (told, trace) = (
        String::from_utf8_lossy(&ran.stdout).into_owned(),
        String::from_utf8_lossy(&ran.stderr).into_owned(),
    );
    assert!(ran.status.success(), "{told}\n{trace}");
    let hit = trace.lines().filter(|line| line.contains("(INJECTED)"));
    assert!(hit.count() > 0, "no write was interrupted:\n{trace}");
    assert_eq!(numbers(&told, "ok ").len() as u64, WRITES, "{told}");
    judge(&place, &told, "interrupted calls");
}

/// A store in directories that are not there yet: before the first write is acknowledged, each that was
/// made has its name on the device, by a sync of the one it stands in.
#[test]
fn new_ancestors_are_synced_into_their_parents_before_the_first_acknowledged_write() {
    let place = Place::new();
    let dir = place.path().join("new/a/b/store");
    let calls = "trace=mkdir,mkdirat,fsync,fdatasync,write";
    let ran = traced(
        &dir,
        "helper_writes_and_tells",
        &["-y", "-s", "64", "-e", calls],
    );
    let Some(ran) = ran.filter(|ran| ran.status.success()) else {
        skipped("the names of new directories", "strace cannot be run here");
        return;
    };
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    let acknowledged = told.find("ok 0").expect("the first write is told");
    let before = &told[..acknowledged];
    for made in ["new", "new/a", "new/a/b", "new/a/b/store"] {
        let made = place.path().join(made);
        let parent = made.parent().expect("it has one").display();
        let at = before.find(&format!("\"{}\"", made.display()));
        let at = at.unwrap_or_else(|| panic!("{} is made: {told}", made.display()));
        let name = format!("<{parent}>");
        let synced = before[at..].lines().any(|line| {
            (line.contains("fsync(") || line.contains("fdatasync(")) && line.contains(&name)
        });
        assert!(synced, "{parent} is synced: {told}");
    }
}
