//! A real child is killed by SIGKILL at random system calls while it makes a checkpoint and brings it up to
//! date. The store loses nothing; the copy opens as one of the two checkpoints, or is refused as one that was
//! broken off, and is gone on with. `PEERCASK_ROUNDS` kills more often.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

use peercask::{ErrorKind, Options, Store, Write};

use crate::support::{Contents, Place, Rng, assert_same, contents, hash, ordered, rounds, skipped};

const DIR: &str = "PEERCASK_TEST_CHECKPOINTED_DIR";
const COPY: &str = "PEERCASK_TEST_CHECKPOINT_DIR";
/// What a checkpoint may do to files, by any name that a kernel has for it.
const CALLS: &[&str] = &[
    "openat",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "renameat",
    "unlink",
    "unlinkat",
    "ftruncate",
    "flock",
];
/// Writes before each of two checkpoints.
const WRITES: u64 = 6;

fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .segment_bytes(4_096)
}

/// A keyspace, a key, and the value; `None` deletes.
type Change = (&'static str, Vec<u8>, Option<Vec<u8>>);

fn changes(number: u64) -> Vec<Change> {
    let mut rng = Rng::quiet(0xC0B1, number);
    let mut change = |space: &'static str| {
        let len = 200 + rng.index(900);
        let value = (rng.below(4) > 0).then(|| rng.bytes(len));
        (space, format!("key {}", rng.below(9)).into_bytes(), value)
    };
    vec![change("flat"), change("sorted"), change("flat")]
}

/// The content after so many writes.
fn state(writes: u64) -> Contents {
    let mut state = Contents::new();
    for (space, key, value) in (0..writes).flat_map(changes) {
        match value {
            Some(value) => state.insert((space.to_owned(), key), value),
            None => state.remove(&(space.to_owned(), key)),
        };
    }
    state
}

/// Not a test of its own: the child.
#[test]
fn helper_makes_two_checkpoints() {
    let (Some(dir), Some(copy)) = (std::env::var_os(DIR), std::env::var_os(COPY)) else {
        return;
    };
    let store = Store::open(Path::new(&dir), options()).expect("opened by the child");
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    for number in 0..2 * WRITES {
        let mut batch = store.batch();
        for (space, key, value) in changes(number) {
            let space = if space == "flat" { &flat } else { &sorted };
            match value {
                Some(value) => batch.put_with(space, key, value, Write::new()),
                None => batch.delete(space, key),
            }
        }
        batch.commit().expect("durable");
        println!("\nwrote {}", number + 1);
        if (number + 1) % WRITES == 0 {
            store.checkpoint_to(Path::new(&copy)).expect("made");
            println!("made {}", (number + 1) / WRITES);
        }
    }
    drop((flat, sorted));
    store.close().expect("closed");
}

/// Runs the child under strace; `None` if that cannot be.
fn traced(dir: &Path, copy: &Path, trace: &[String]) -> Option<Output> {
    let exe = std::env::current_exe().expect("this test has a file");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(trace).arg(exe);
    let helper = "system::checkpoints::helper_makes_two_checkpoints";
    command.args([helper, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(COPY, copy).output().ok()
}

/// The highest number that the child told with `word`.
fn told(output: &Output, word: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = text.lines().filter_map(|line| line.strip_prefix(word));
    numbers.filter_map(|n| n.parse().ok()).max().unwrap_or(0)
}

/// What is in the copy: as many writes as one of the checkpoints, or nothing that opens.
fn look_at_copy(copy: &Path, made: u64, what: &str) -> bool {
    let looked_at = copy.is_dir().then(|| Place::copy_of(copy));
    let opened = looked_at.map(|place| {
        let options = options().create(false);
        (Store::open(place.path(), options), place)
    });
    match opened {
        None => assert_eq!(made, 0, "{what}: the copy is gone"),
        Some((Err(error), _)) => {
            let refusal = matches!(
                error.kind(),
                ErrorKind::InvalidArgument | ErrorKind::NotFound
            );
            assert!(made == 0 && refusal, "{what}: {error}");
        }
        Some((Ok(store), _place)) => {
            assert_eq!(store.recovery().damage, [], "{what}");
            let found = contents(&store);
            let may_be = made.max(1)..=(made + 1).min(2);
            let is_one = may_be.into_iter().any(|n| found == state(n * WRITES));
            assert!(is_one, "{what}: the copy is neither checkpoint");
            return true;
        }
    }
    false
}

#[test]
fn a_checkpoint_killed_at_any_call_costs_the_store_nothing_and_is_whole_or_refused() {
    let all = CALLS.iter().map(|call| format!("?{call}"));
    let all = all.collect::<Vec<_>>().join(",");
    let calm = Place::new();
    let trace = ["-e".to_owned(), format!("trace={all}")];
    let ran = traced(&calm.file("store"), &calm.file("copy"), &trace);
    let Some(ran) = ran.filter(|ran| ran.status.success()) else {
        skipped("kills during a checkpoint", "strace cannot be run here");
        return;
    };
    let calls = String::from_utf8_lossy(&ran.stderr).into_owned();
    let count = |call: &str| calls.matches(&format!("{call}(")).count() as u64;
    let counts = CALLS.iter().map(|call| (*call, count(call)));
    let counts: Vec<(&str, u64)> = counts.filter(|(_, n)| *n > 0).collect();
    let mut rng = Rng::new(0xC0B2);
    let (mut whole, mut refused, mut killed) = (0, 0, 0);
    for round in 0..rounds(32) {
        let (call, count) = counts[rng.index(counts.len())];
        let at = 1 + rng.below(count);
        let place = Place::new();
        // By turns on another file system, where there are no links.
        let elsewhere = if round % 4 == 3 {
            Place::on_disk()
        } else {
            Place::new()
        };
        let (dir, copy) = (place.file("store"), elsewhere.file("copy"));
        let what = format!("round {round}: {call} {at} of {count}");
        let trace = [
            "-e".to_owned(),
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:signal=SIGKILL:when={at}"),
        ];
        let ran = traced(&dir, &copy, &trace).expect("it ran before");
        let (wrote, made) = (told(&ran, "wrote "), told(&ran, "made "));
        killed += u64::from(!ran.status.success());
        match look_at_copy(&copy, made, &what) {
            true => whole += 1,
            false => refused += 1,
        }
        let store = Store::open(&dir, options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(store.recovery().damage, [], "{what}");
        let found = match store.keyspaces().len() {
            2 => contents(&store),
            _ => Contents::new(),
        };
        if found != state(wrote + 1) {
            assert_same(&found, &state(wrote), &what);
        }
        // Whatever is left of it is gone on with.
        let again = store.checkpoint_to(&copy);
        again.unwrap_or_else(|e| panic!("{what}: made again: {e}"));
        let place = Place::copy_of(&copy);
        let copied = Store::open(place.path(), options()).expect("the copy opens");
        if !found.is_empty() {
            assert_same(&contents(&copied), &found, &what);
        }
    }
    eprintln!("{killed} killed; the copy was whole {whole} times, refused {refused} times");
    assert!(
        killed >= rounds(32) / 2 && whole > 0 && refused > 0,
        "{killed} {whole} {refused}"
    );
}
