//! A real child is killed with SIGKILL at random moments, again and again in one directory. What
//! it acknowledged is there: values, own provides, removals; foreign provider records may miss the
//! last window alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use libp2p_kad::store::RecordStore;
use peercask_kad::{Options, PersistentStore};

use crate::support::*;

const DIR: &str = "PEERCASK_KAD_KILL_DIR";
const FROM: &str = "PEERCASK_KAD_KILL_FROM";
/// A foreign record that is missed was acknowledged less than this before the last line: some windows of 5 ms, and what
/// a busy machine's scheduler adds. Children that live several times as long are among them.
const FOREIGN_MISSED: Duration = Duration::from_millis(100);

/// Foreign keys begin here.
const FOREIGN: u64 = 1 << 40;

/// What an operation does; the same for whoever asks.
enum Op {
    Put(u64, Vec<u8>),
    Remove(u64),
    Provide(u64),
    StopProviding(u64),
    AddForeign(u64),
}

fn op(number: u64) -> Op {
    let mut rng = Rng::new(number ^ 0x0DD5);
    let which = rng.below(40);
    match rng.below(10) {
        0..=2 => Op::Put(which, [&number.to_le_bytes()[..], &[7; 90]].concat()),
        3 => Op::Remove(which),
        4 | 5 => Op::Provide(which),
        6 => Op::StopProviding(which),
        _ => Op::AddForeign(number),
    }
}

fn options() -> Options {
    let engine = peercask::Options::default()
        .segment_bytes(16 << 10)
        .reserve_bytes(0)
        .merge_rate(None)
        .merge_dead_share(0.3);
    Options::default().engine(engine)
}

fn apply(store: &mut PersistentStore, number: u64) {
    match op(number) {
        Op::Put(which, value) => store.put(own_record(which, &value)).expect("put"),
        Op::Remove(which) => store.remove(&key(which)),
        Op::Provide(which) => store.add_provider(own_provide(which)).expect("added"),
        Op::StopProviding(which) => store.remove_provider(&key(which), &local()),
        Op::AddForeign(which) => {
            store
                .add_provider(provider(FOREIGN + which, which))
                .expect("added");
        }
    }
}

/// What the acknowledged operations leave.
#[derive(Default)]
struct Known {
    values: BTreeMap<u64, Vec<u8>>,
    provided: BTreeSet<u64>,
    /// Added since the last kill, in their order, with the child's age at that time.
    foreign: Vec<(u64, Duration)>,
    /// Found after an earlier kill: these may not go any more.
    settled: Vec<u64>,
}

impl Known {
    fn apply(&mut self, number: u64, age: Duration) {
        match op(number) {
            Op::Put(which, value) => drop(self.values.insert(which, value)),
            Op::Remove(which) => drop(self.values.remove(&which)),
            Op::Provide(which) => drop(self.provided.insert(which)),
            Op::StopProviding(which) => drop(self.provided.remove(&which)),
            Op::AddForeign(which) => self.foreign.push((which, age)),
        }
    }
}

/// Not a test of its own: the child of the one below. It works until it is killed.
#[test]
fn helper_works_until_it_is_killed() {
    let (Some(dir), Ok(from)) = (std::env::var_os(DIR), std::env::var(FROM)) else {
        return;
    };
    let from: u64 = from.parse().expect("a number");
    let mut store = open_with(Path::new(&dir), options());
    let mut out = std::io::stdout().lock();
    let start = Instant::now();
    for number in from.. {
        apply(&mut store, number);
        let age_us = start.elapsed().as_micros();
        writeln!(out, "{number} {age_us}").expect("the parent reads");
        // A pace that the writer keeps up with, as on a network.
        if number.is_multiple_of(16) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The numbers that a child acknowledged, with its age each time; what else it prints is passed over.
fn numbers(out: &mut BufReader<ChildStdout>) -> Vec<(u64, Duration)> {
    let mut line = String::new();
    let mut numbers = Vec::new();
    while out.read_line(&mut line).expect("the pipe is read") > 0 {
        let words = line
            .strip_suffix('\n')
            .and_then(|line| line.split_once(' '));
        if let Some((number, age_us)) = words
            && let (Ok(number), Ok(age_us)) = (number.parse(), age_us.parse())
        {
            numbers.push((number, Duration::from_micros(age_us)));
        }
        line.clear();
    }
    numbers
}

/// Runs a child from operation `from` on and kills it; what it acknowledged.
fn killed(dir: &Path, from: u64, after: Duration) -> Vec<(u64, Duration)> {
    let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
        .args([
            "kill::helper_works_until_it_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(DIR, dir)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || numbers(&mut out));
    std::thread::sleep(after);
    child.kill().expect("killed");
    let ended = child.wait().expect("ended");
    assert!(ended.code().is_none(), "it ended by itself: {ended:?}");
    reader.join().expect("the reader ends with the pipe")
}

fn assert_known(
    store: &PersistentStore,
    known: &mut Known,
    begun: u64,
    last_age: Duration,
    round: u64,
) {
    // The operation begun last may be there or not.
    let undecided = match op(begun) {
        Op::Put(which, _) | Op::Remove(which) => Some(which),
        _ => None,
    };
    for which in 0..40 {
        let found = store.get(&key(which)).map(|record| record.value.clone());
        if undecided != Some(which) {
            assert_eq!(
                found.as_ref(),
                known.values.get(&which),
                "round {round}, value {which}"
            );
        }
    }
    let undecided = match op(begun) {
        Op::Provide(which) | Op::StopProviding(which) => Some(which),
        _ => None,
    };
    let provided: BTreeSet<_> = store.provided().map(|record| record.key.to_vec()).collect();
    for which in (0..40).filter(|which| undecided != Some(*which)) {
        let there = provided.contains(&key(which).to_vec());
        assert_eq!(
            there,
            known.provided.contains(&which),
            "round {round}, provide {which}"
        );
    }
    let is_there = |which: &u64| store.providers(&key(FOREIGN + *which)).len() == 1;
    let newest_first = known.foreign.iter().rev();
    let missed = newest_first
        .clone()
        .take_while(|(which, _)| !is_there(which))
        .count();
    for (which, age) in newest_first.clone().take(missed) {
        assert!(
            last_age.saturating_sub(*age) < FOREIGN_MISSED,
            "round {round}, foreign {which} of {missed} that are gone: told after {age:?}, killed after {last_age:?}"
        );
    }
    // What is missed is the end of the row: no gap before it.
    let settled = known.settled.iter().rev().take(100);
    for which in newest_first
        .skip(missed)
        .map(|(which, _)| which)
        .chain(settled)
    {
        assert!(is_there(which), "round {round}, foreign {which}");
    }
    let kept = known.foreign.len() - missed;
    let settled = known.foreign[..kept].iter().map(|(which, _)| *which);
    known.settled.extend(settled);
    known.foreign.clear();
}

#[test]
fn two_hundred_kills_lose_no_value_no_intent_and_no_removal() {
    let dir = dir();
    let mut known = Known::default();
    let mut rng = Rng::new(10);
    let (mut done, mut next) = (0, 1);
    let mut longest = Duration::ZERO;
    for round in 0..rounds(200) {
        // Each twentieth lives for several times what may be missed.
        let more_us = if round % 20 == 7 { 300_000 } else { 0 };
        let after = Duration::from_micros(5_000 + more_us + rng.below(60_000));
        let told = killed(dir.path(), next, after);
        let (last, last_age) = told.last().copied().unwrap_or((done, Duration::ZERO));
        longest = longest.max(last_age);
        told.iter()
            .for_each(|(number, age)| known.apply(*number, *age));
        done = done.max(last);
        let store = open_with(dir.path(), options().background(false));
        let handle = store.handle();
        let report = handle.report();
        assert_eq!(report.recovery.damage, [], "round {round}");
        assert_eq!(
            (report.undecodable, report.damaged),
            (0, 0),
            "round {round}"
        );
        assert_known(&store, &mut known, last + 1, last_age, round);
        // The one that was begun may have been done: its outcome becomes known by doing it.
        next = done + 1;
    }
    assert!(
        done > rounds(200) * 10,
        "the children got somewhere: {done}"
    );
    assert!(longest > FOREIGN_MISSED, "{longest:?}");
}
