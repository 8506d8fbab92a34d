//! What the calls of the trait do to the thread that makes them, which is the swarm's: no sync, no
//! merge, no walk, no waiting for the writer, no call that moves the whole index.

use std::time::{Duration, Instant};

use libp2p_kad::store::RecordStore;
use peercask_kad::{Limits, Options, Refusal};

use crate::skip::skipped;
use crate::support::*;

/// The name of a file that is not there.
const MARK: &str = "peercask-kad-mark-of-a-test";

/// All eight calls, many times.
fn calls(store: &mut impl RecordStore, rounds: u64) {
    for number in 0..rounds {
        store.put(record(number % 5_000, &[7; 200])).expect("put");
        let _full_at_times = store.add_provider(provider(number, number % 97));
        store
            .add_provider(own_provide(number % 1_000))
            .expect("added");
        assert!(store.get(&key(number % 5_000)).is_some());
        assert!(!store.providers(&key(number % 1_000)).is_empty());
        if number % 7 == 0 {
            store.remove_provider(&key(number), &peer(number % 97));
            store.remove(&key(number % 5_000));
        }
        if number % 1_000 == 0 {
            assert!(store.records().count() <= 512);
            assert!(store.provided().count() <= 512);
        }
    }
}

#[test]
fn without_background_threads_no_call_syncs_merges_or_walks() {
    let dir = dir();
    let engine = peercask::Options::default().segment_bytes(256 << 10);
    let mut store = open_with(dir.path(), quiet().engine(engine));
    let handle = store.handle();
    // Opening makes keyspaces, which is durable at once; from here on nothing is.
    let before = handle.engine().stats();
    calls(&mut store, 20_000);
    let after = handle.engine().stats();
    assert_eq!(after.syncs, before.syncs, "no call synced anything");
    assert_eq!(after.merges, before.merges, "nor merged");
    assert!(
        after.rotations > before.rotations + 5,
        "segments were sealed on the way"
    );
    assert_eq!(handle.stats().sweep_looked, 0);
}

/// The same seen from the kernel: nothing but reads, writes and what makes a new segment.
#[test]
#[cfg(target_os = "linux")]
fn the_kernel_sees_no_sync_rename_unlink_or_directory_read_from_the_swarms_thread() {
    use std::process::Command;

    let dir = dir();
    let trace = dir.path().join("trace");
    let ran = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .args(["-e", "trace=fsync,fdatasync,sync_file_range,msync,syncfs,getdents64,rename,renameat2,unlink,unlinkat,pwrite64"])
        .arg(std::env::current_exe().expect("this test has a file"))
        .args(["swarm_thread::helper_makes_calls", "--exact", "--nocapture", "--test-threads=1"])
        .env("PEERCASK_KAD_TRACE_DIR", dir.path().join("store"))
        .output();
    let Ok(ran) = ran else {
        skipped("system calls of the swarm's thread", "there is no strace");
        return;
    };
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    if !told.contains("DONE") && String::from_utf8_lossy(&ran.stderr).contains("ptrace") {
        skipped(
            "system calls of the swarm's thread",
            "this system lets nobody trace",
        );
        return;
    }
    let number = |mark: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(mark));
        line.map(|tid| tid.trim().to_owned())
    };
    let swarm = number("swarm thread ").expect("told by the child");
    let lines = std::fs::read_to_string(&trace).expect("traced");
    let mut inside = false;
    let (mut writes, mut bad, mut elsewhere) = (0, Vec::new(), 0);
    for line in lines.lines() {
        let Some((tid, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if tid != swarm {
            elsewhere += u64::from(call.starts_with("fdatasync") || call.starts_with("fsync"));
        } else if call.contains(MARK) {
            // The child marks where its calls begin and end.
            inside = !inside;
        } else if inside && call.starts_with("pwrite64") {
            writes += 1;
        } else if inside && !call.starts_with("<...") {
            bad.push(call.to_owned());
        }
    }
    assert!(
        writes > 1_000,
        "the trace saw the thread's writes: {writes}"
    );
    assert!(elsewhere > 0, "and the syncs of the background");
    assert_eq!(bad, Vec::<String>::new());
}

/// Not a test of its own: the child that is traced above.
#[test]
fn helper_makes_calls() {
    let Some(dir) = std::env::var_os("PEERCASK_KAD_TRACE_DIR") else {
        return;
    };
    let engine = peercask::Options::default()
        .segment_bytes(256 << 10)
        .merge_rate(None)
        .sync_interval(Some(Duration::from_millis(50)));
    let mut store = open_with(
        std::path::Path::new(&dir),
        Options::default().engine(engine),
    );
    let swarm = std::thread::Builder::new()
        .name("swarm".to_owned())
        .spawn(move || {
            let tid = thread_id();
            println!("\nswarm thread {tid}");
            mark();
            calls(&mut store, 3_000);
            mark();
            store
        });
    drop(swarm.expect("started").join().expect("no panic"));
    println!("DONE");
}

/// The kernel's number of this thread, without a call that the trace would see.
fn thread_id() -> String {
    let link = std::fs::read_link("/proc/thread-self").expect("Linux");
    let name = link.file_name().expect("a number").to_string_lossy();
    name.into_owned()
}

/// One call in the trace that is told from all others.
fn mark() {
    assert!(std::fs::remove_file(MARK).is_err());
}

#[test]
fn syncs_are_bounded_by_time_not_by_records() {
    let dir = dir();
    let mut store = open_with(dir.path(), Options::default());
    let handle = store.handle();
    let before = handle.engine().stats().syncs;
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < Duration::from_millis(2_200) {
        for _ in 0..50 {
            let _full_at_times = store.add_provider(provider(number, number % 500));
            store.put(record(number % 1_000, b"v")).expect("put");
            number += 1;
        }
    }
    let syncs = handle.engine().stats().syncs - before;
    let allowed = 4 * (start.elapsed().as_secs() + 1);
    assert!(
        syncs <= allowed,
        "{syncs} syncs for {number} records in {:?}",
        start.elapsed()
    );
    assert!(syncs > 0);
}

#[test]
fn a_full_queue_refuses_and_never_waits() {
    let dir = dir();
    let limits = Limits {
        queue_records_max: 100,
        ..Limits::default()
    };
    let mut store = open_with(dir.path(), quiet().limits(limits));
    let handle = store.handle();
    let taken = (0..1_000)
        .filter(|n| store.add_provider(provider(*n, *n)).is_ok())
        .count();
    assert_eq!(taken, 100);
    let stats = handle.stats();
    assert_eq!(
        (stats.queue_records, stats.refused.of(Refusal::Queue)),
        (100, 900)
    );
    assert_eq!(
        stats.provider_records, 100,
        "what was refused left no trace"
    );
    handle.step().expect("stepped");
    store
        .add_provider(provider(5_000, 1))
        .expect("there is room again");
}
