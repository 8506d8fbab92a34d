//! A real child is killed with SIGKILL at random moments, again and again in one directory: while
//! it opens, writes, rotates and merges. Everything that it acknowledged at `Kernel` is there, and
//! what is there is the state after some number of its writes, never a mixture.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use peercask::{Durability, Merge, Options, Store, Write};

use crate::support::{Contents, Place, Rng, assert_same, child, contents, hash, ordered, rounds};

const DIR: &str = "PEERCASK_TEST_KILL_DIR";
const FROM: &str = "PEERCASK_TEST_KILL_FROM";
/// The child begins at most this many writes that it does not wait for.
const UNACKNOWLEDGED_MAX: u64 = 16;

/// A keyspace, a key, and the value; `None` deletes.
type Change = (&'static str, Vec<u8>, Option<Vec<u8>>);

/// What write `number` changes: the same whoever asks.
fn changes(number: u64) -> Vec<Change> {
    let mut rng = Rng::quiet(0xC1D1, number);
    let mut change = || {
        let space = ["flat", "sorted"][rng.index(2)];
        let key = format!("key {}", rng.below(40)).into_bytes();
        let value = (rng.below(4) > 0).then(|| {
            let len = rng.index(260);
            [number.to_le_bytes().to_vec(), rng.bytes(len)].concat()
        });
        (space, key, value)
    };
    let count = if number % 6 == 5 { 5 } else { 1 };
    let mut changes: Vec<_> = (0..count).map(|_| change()).collect();
    // Every write leaves a trace, so that no two states are the same.
    changes.push((
        "flat",
        b"number".to_vec(),
        Some(number.to_le_bytes().to_vec()),
    ));
    changes
}

fn apply(state: &mut Contents, number: u64) {
    for (space, key, value) in changes(number) {
        match value {
            Some(value) => state.insert((space.to_owned(), key), value),
            None => state.remove(&(space.to_owned(), key)),
        };
    }
}

/// Some writes are weaker; they are not acknowledged.
fn durability(number: u64) -> Durability {
    match number % 11 {
        3..=5 => Durability::Buffered,
        8 if number.is_multiple_of(3) => Durability::Device,
        _ => Durability::Kernel,
    }
}

fn options() -> Options {
    Options::default()
        .segment_bytes(4_096)
        .reserve_bytes(0)
        .merge_rate(None)
        .merge_dead_share(0.3)
        .sync_interval(Some(Duration::from_millis(20)))
}

/// Not a test of its own: the child of the one below. It writes until it is killed.
#[test]
fn helper_writes_until_it_is_killed() {
    let (Some(dir), Ok(from)) = (std::env::var_os(DIR), std::env::var(FROM)) else {
        return;
    };
    let from: u64 = from.parse().expect("a number");
    let store = Store::open(Path::new(&dir), options()).expect("opened by the child");
    assert_eq!(store.recovery().damage, []);
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    println!("\nopened");
    for number in from.. {
        let durability = durability(number);
        let mut batch = store.batch();
        for (space, key, value) in changes(number) {
            let space = if space == "flat" { &flat } else { &sorted };
            match value {
                Some(value) => batch.put_with(space, key, value, Write::new()),
                None => batch.delete(space, key),
            }
        }
        batch
            .commit_with(durability)
            .expect("committed")
            .wait()
            .expect("waited");
        if durability >= Durability::Kernel {
            println!("{number}");
        }
        match number % 149 {
            77 => drop(store.merge(Merge::Full).expect("merged")),
            20 | 40 => drop(store.merge(Merge::Needed).expect("merged")),
            60 => store.sync().expect("synced"),
            _ => {}
        }
    }
}

/// The last number that the child acknowledged before this line of its output.
fn next_acknowledged(out: &mut BufReader<ChildStdout>) -> Option<u64> {
    let mut line = String::new();
    while out.read_line(&mut line).expect("the pipe is read") > 0 {
        // A line that the child's death cut short has no end, and acknowledges nothing.
        let whole = line.strip_suffix('\n');
        if let Some(number) = whole.and_then(|number| number.parse().ok()) {
            return Some(number);
        }
        assert!(
            !line.contains("panicked") && !line.contains("FAILED"),
            "{line}"
        );
        line.clear();
    }
    None
}

/// Runs a child from write `from` on, kills it; answers with what it acknowledged last.
fn killed_child(dir: &Path, from: u64, rng: &mut Rng) -> Option<u64> {
    let mut command = child("kill::helper_writes_until_it_is_killed");
    command.env(DIR, dir).env(FROM, from.to_string());
    let mut run = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut out = BufReader::new(run.stdout.take().expect("piped"));
    let mut acknowledged = None;
    // One in five dies while it opens, the others some way into their writes.
    let opening = rng.below(5) == 0;
    if !opening {
        for _ in 0..rng.below(120) {
            acknowledged = next_acknowledged(&mut out);
            assert!(
                acknowledged.is_some(),
                "the child ended by itself: {:?}",
                run.wait()
            );
        }
    }
    let moment = Duration::from_micros(rng.below(if opening { 12_000 } else { 1_500 }));
    let start = Instant::now();
    while start.elapsed() < moment {
        std::hint::spin_loop();
    }
    run.kill().expect("killed");
    while let Some(number) = next_acknowledged(&mut out) {
        acknowledged = Some(number);
    }
    let ended = run.wait().expect("ended");
    assert!(
        !ended.success() && ended.code().is_none(),
        "ended by the signal: {ended:?}"
    );
    acknowledged
}

/// The number of writes in the store, which is at least `least`; `state` becomes theirs.
fn number_of_writes(found: &Contents, state: &mut Contents, done: u64, least: u64) -> u64 {
    let trace = found.get(&("flat".to_owned(), b"number".to_vec()));
    let trace = trace.map(|value| value.as_slice().try_into().expect("eight bytes"));
    let number = trace.map_or(0, u64::from_le_bytes);
    assert!(
        number >= least,
        "write {least} was acknowledged, {number} is the last there"
    );
    assert!(
        number <= least + UNACKNOWLEDGED_MAX,
        "{number} was never written, {least} was"
    );
    for next in done + 1..=number {
        apply(state, next);
    }
    number
}

#[test]
fn two_hundred_kills_lose_nothing_acknowledged_and_leave_no_mixture() {
    let place = Place::on_disk();
    let mut rng = Rng::new(0x4111);
    let mut state = Contents::new();
    let (mut done, mut merges, mut cuts) = (0, 0, 0);
    for round in 0..rounds(200) {
        let acknowledged = killed_child(place.path(), done + 1, &mut rng);
        let least = acknowledged.unwrap_or(done);
        // By turns a copy is looked at, so that the next child finds what the last one left.
        let copy = Place::copy_of(place.path());
        let looked_at = if round % 2 == 0 {
            place.path()
        } else {
            copy.path()
        };
        let store = Store::open(looked_at, options().background(false)).expect("opened");
        let report = store.recovery().clone();
        assert_eq!(report.damage, [], "round {round}");
        let found = contents(&store);
        done = number_of_writes(&found, &mut state, done, least);
        assert_same(
            &found,
            &state,
            &format!("round {round}, write {done}: {report:?}"),
        );
        merges += u64::from(!report.removed_files.is_empty());
        cuts += u64::from(!report.cut.is_empty());
        if round % 4 == 0 {
            let verified = store.verify(&mut |_| {}).expect("verified");
            assert!(verified.is_clean(), "round {round}: {:?}", verified.damage);
            store.close().expect("closed");
        }
    }
    eprintln!("{done} writes; leftovers removed in {merges} rounds, cuts in {cuts}");
    assert!(
        done > rounds(200) * 20,
        "the children got somewhere: {done}"
    );
    assert!(merges > 0, "some kills fell into a merge");
}
