//! An end that takes long: a merge or a sync that is under way holds up closing, and neither holds
//! up the thread of the swarm, its last calls, or statistics and health.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libp2p_kad::store::RecordStore;
use peercask::{ErrorKind, Merge};
use peercask_kad::{Handle, Options, PersistentStore, Refusal, State};

use crate::skip::skipped;
use crate::support::*;

const LONG: Duration = Duration::from_secs(60);

/// A merge that stands still in the middle until it is let go.
struct Held {
    merge: JoinHandle<peercask::Result<peercask::MergeReport>>,
    go_on: SyncSender<()>,
}

impl Held {
    fn begin(handle: &Handle) -> Held {
        let (reached, is_reached): (SyncSender<()>, Receiver<()>) = sync_channel(64);
        let (go_on, may_go_on) = sync_channel(1);
        let engine = handle.engine().clone();
        let merge = std::thread::spawn(move || {
            let mut first = true;
            engine.merge_with(Merge::Full, &mut |_| {
                if std::mem::take(&mut first) {
                    reached.send(()).expect("the test waits");
                    // Let go, or the test has ended.
                    let _ended = may_go_on.recv();
                }
            })
        });
        is_reached
            .recv_timeout(LONG)
            .expect("the merge is under way");
        Held { merge, go_on }
    }

    /// Lets it go on; it ends well, or is told that the store was closed.
    fn let_go(self) {
        self.go_on.send(()).expect("it waits");
        if let Err(error) = self.merge.join().expect("no panic") {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        }
    }
}

fn filled(options: Options) -> (tempfile::TempDir, PersistentStore) {
    let dir = dir();
    let engine = peercask::Options::default()
        .segment_bytes(64 << 10)
        .reserve_bytes(0);
    let mut store = open_with(dir.path(), options.engine(engine));
    for number in 0..400 {
        store.put(record(number, &[7; 500])).expect("put");
        store.add_provider(provider(number, 1)).expect("added");
        store.add_provider(own_provide(number)).expect("added");
    }
    (0..100).for_each(|number| store.remove(&key(number)));
    (dir, store)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All calls, on a thread of their own: one that waits for the merge would wait for ever.
fn all_calls(mut store: PersistentStore, closed: bool) -> PersistentStore {
    let (done, is_done) = sync_channel(1);
    let caller = std::thread::spawn(move || {
        for number in 1_000..1_200 {
            assert_eq!(store.put(record(number, b"v")).is_err(), closed);
            assert_eq!(store.add_provider(provider(number, 2)).is_err(), closed);
            assert_eq!(store.add_provider(own_provide(number)).is_err(), closed);
            assert_eq!(store.get(&key(number)).is_none(), closed);
            assert_eq!(store.providers(&key(number)).is_empty(), closed);
            assert_eq!(store.records().next().is_none(), closed);
            assert_eq!(store.provided().next().is_none(), closed);
            store.remove(&key(number));
            store.remove_provider(&key(number), &peer(2));
        }
        let handle = store.handle();
        assert_eq!(handle.health().state == State::Stopped, closed);
        assert!(handle.stats().slowest_call > Duration::ZERO);
        done.send(()).expect("the test waits");
        store
    });
    is_done
        .recv_timeout(LONG)
        .expect("no call waits for merge or close");
    caller.join().expect("no panic")
}

#[test]
fn a_close_that_waits_for_a_merge_holds_up_no_call() {
    let (dir, store) = filled(Options::default());
    let handle = store.handle();
    let held = Held::begin(&handle);
    let store = all_calls(store, false);
    let closer = {
        let handle = handle.clone();
        std::thread::spawn(move || handle.close())
    };
    until("closing has begun", || {
        handle.health().state == State::Stopped
    });
    let store = all_calls(store, true);
    assert_eq!(handle.stats().refused.of(Refusal::Closed), 1_000);
    assert!(!closer.is_finished(), "the merge still stands");
    held.let_go();
    closer.join().expect("no panic").expect("closed");
    handle.close().expect("the same answer");
    drop(store);
    let store = open(dir.path());
    assert!(store.handle().report().index_from_image);
    assert_eq!(store.handle().stats().records, 300);
    // 400 of before, of the 200 added meanwhile none was kept by both of the two kinds.
    assert_eq!(store.handle().stats().provider_records, 400);
    assert_eq!(store.handle().stats().own_keys, 600);
}

#[test]
fn a_drop_waits_no_longer_than_it_may_and_closing_goes_on_behind_it() {
    let (dir, store) = filled(Options::default().close_timeout(Duration::from_millis(20)));
    let handle = store.handle();
    let held = Held::begin(&handle);
    // As when the swarm's task ends: it would wait for ever if it waited for the merge.
    let (done, is_done) = sync_channel(1);
    let dropper = std::thread::spawn(move || {
        drop(store);
        done.send(()).expect("the test waits");
    });
    is_done
        .recv_timeout(LONG)
        .expect("drop ends while the merge stands");
    dropper.join().expect("no panic");
    let told = handle.health().last_error.expect("told");
    assert!(told.message.contains("closing takes longer"), "{told:?}");
    let second = PersistentStore::open(dir.path(), local(), quiet());
    assert_eq!(
        second.expect_err("not let go yet").engine_kind(),
        Some(ErrorKind::Locked)
    );
    held.let_go();
    handle
        .close()
        .expect("the end is waited for, and went well");
    assert_eq!(open(dir.path()).handle().stats().own_keys, 400);
}

const DIR: &str = "PEERCASK_KAD_SLOW_SYNC_DIR";
/// Each sync takes a tenth of a second longer.
const SLOW: [&str; 6] = [
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-o/dev/null",
    "-etrace=fsync,fdatasync",
    "-einject=fsync,fdatasync:delay_enter=100000",
];

#[test]
#[cfg(target_os = "linux")]
fn a_sync_that_takes_long_holds_up_no_call() {
    use std::process::Command;

    let dir = dir();
    let ran = Command::new("strace")
        .args(SLOW)
        .arg(std::env::current_exe().expect("this test has a file"))
        .args(["closing::helper_syncs_slowly", "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .output();
    let Ok(ran) = ran else {
        skipped("calls beside a slow sync", "there is no strace");
        return;
    };
    let told = String::from_utf8_lossy(&ran.stdout);
    let more = String::from_utf8_lossy(&ran.stderr);
    if !told.contains("DONE") && (more.contains("ptrace") || more.contains("seccomp")) {
        skipped("calls beside a slow sync", "this system lets nobody trace");
        return;
    }
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

/// Not a test of its own: runs as the child of the one above, where each sync is slow.
#[test]
fn helper_syncs_slowly() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let mut store = open_with(dir.as_ref(), Options::default());
    let handle = store.handle();
    let syncs_before = handle.engine().stats().syncs;
    let syncing = {
        let handle = handle.clone();
        std::thread::spawn(move || (0..4).try_for_each(|_| handle.sync()))
    };
    let (mut calls, mut number) = (0_u64, 0);
    let start = Instant::now();
    while !syncing.is_finished() && start.elapsed() < LONG {
        store.put(record(number % 500, b"v")).expect("put");
        store
            .add_provider(own_provide(number % 500))
            .expect("added");
        let _full_at_times = store.add_provider(provider(number, 1));
        number += 1;
        calls += 3;
    }
    syncing.join().expect("no panic").expect("synced");
    let syncs = handle.engine().stats().syncs - syncs_before;
    assert!(syncs > 0, "there was something to sync");
    // One call for each sync is what there would be if each waited for one.
    assert!(calls > 100 * syncs, "{calls} calls in {syncs} slow syncs");
    let closer = {
        let handle = handle.clone();
        std::thread::spawn(move || handle.close())
    };
    let mut refused = 0;
    while !closer.is_finished() && start.elapsed() < LONG {
        refused += u64::from(store.put(record(1, b"v")).is_err());
        assert!(handle.stats().slowest_call > Duration::ZERO);
    }
    closer.join().expect("no panic").expect("closed");
    assert!(refused > 100, "{refused} calls while it was closed");
    println!("\nDONE");
}
