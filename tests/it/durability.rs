//! The durability words, as far as a running system shows them: what a copy of the directory has
//! right after a write, how many syncs it took, and that threads share them. What a power cut does
//! is the simulator's to try.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use peercask::{Durability, Keyspace, Store, Write};

use crate::support::{Contents, Place, assert_same, contents, hash, segments, wait_until};

fn put_as(space: &Keyspace, key: &str, durability: Durability) {
    let commit = space
        .put_with(key, "value", Write::new().durability(durability))
        .expect("put");
    assert_eq!(commit.durability(), durability);
    commit.wait().expect("durable");
}

/// What another process would find if this one died now.
fn survives(place: &Place) -> Contents {
    contents(&Place::copy_of(place.path()).open())
}

fn large(place: &Place) -> peercask::Options {
    place.options().segment_bytes(1 << 20)
}

#[test]
fn a_buffered_write_is_in_memory_until_the_buffer_is_full() {
    let place = Place::new();
    let store = place.open_with(large(&place).buffer_bytes(4_096));
    let space = hash(&store, "things");
    put_as(&space, "first", Durability::Buffered);
    assert_eq!(contents(&store).len(), 1, "visible at once");
    assert_eq!(
        survives(&place).len(),
        0,
        "a copy would show that it is cheaper than it is"
    );
    let before = store.stats().syncs;
    for key in 0..400 {
        put_as(&space, &format!("key {key}"), Durability::Buffered);
    }
    let survived = survives(&place).len();
    assert!(
        (200..=400).contains(&survived),
        "all but the last buffer: {survived}"
    );
    assert_eq!(
        store.stats().syncs,
        before,
        "none of it waits for the device"
    );
    assert_same(&contents(&store), &all_keys(400), "visible");
}

fn all_keys(keys: u32) -> Contents {
    let names = (0..keys)
        .map(|key| format!("key {key}"))
        .chain(["first".to_owned()]);
    let entry = |name: String| (("things".to_owned(), name.into_bytes()), b"value".to_vec());
    names.map(entry).collect()
}

#[test]
fn a_stronger_write_takes_the_weaker_ones_before_it_along() {
    for stronger in [Durability::Kernel, Durability::Device] {
        let place = Place::new();
        let store = place.open_with(large(&place));
        let space = hash(&store, "things");
        put_as(&space, "weak", Durability::Buffered);
        put_as(&space, "strong", stronger);
        put_as(&space, "weak again", Durability::Buffered);
        assert_eq!(
            survives(&place).len(),
            2,
            "{stronger}: in the order of the log"
        );
    }
}

#[test]
fn a_delete_that_finds_nothing_makes_the_absence_as_durable_as_asked() {
    let place = Place::new();
    let store = place.open_with(large(&place));
    let space = hash(&store, "things");
    put_as(&space, "key", Durability::Kernel);
    let (existed, commit) = space
        .delete_with("key", Durability::Buffered)
        .expect("deleted");
    commit.wait().expect("waited");
    assert!(existed && survives(&place).len() == 1);
    let (existed, commit) = space
        .delete_with("key", Durability::Kernel)
        .expect("deleted");
    commit.wait().expect("waited");
    assert!(!existed);
    assert_eq!(
        survives(&place).len(),
        0,
        "told that it is gone, a caller may rely on it"
    );
}

#[test]
fn a_kernel_write_is_in_a_copy_taken_right_after_it_and_costs_no_sync() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let before = store.stats().syncs;
    for key in 0..60 {
        put_as(&space, &format!("key {key}"), Durability::Kernel);
        assert_eq!(survives(&place).len(), key + 1);
    }
    let stats = store.stats();
    assert_eq!(stats.syncs, before);
    assert!(stats.synced_seq < stats.last_seq, "{stats:?}");
}

#[test]
fn a_device_write_is_synced_when_it_returns_with_everything_before_it() {
    let place = Place::on_disk();
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..150 {
        put_as(&space, &format!("weak {key}"), Durability::Kernel);
    }
    assert!(
        segments(place.path()).len() > 1,
        "older segments have to be synced, too"
    );
    let before = store.stats();
    put_as(&space, "strong", Durability::Device);
    let after = store.stats();
    assert!(after.syncs > before.syncs, "{after:?}");
    assert_eq!(after.synced_seq, after.last_seq);
    put_as(&space, "strong", Durability::Device);
    assert_eq!(
        store.stats().syncs,
        after.syncs + 1,
        "one sync for one write"
    );
}

#[test]
fn a_commit_that_is_not_waited_for_is_synced_by_the_next_that_is() {
    let place = Place::on_disk();
    let store = place.open();
    let space = hash(&store, "things");
    let device = Write::new().durability(Durability::Device);
    let commits: Vec<_> = (0..20_u8)
        .map(|key| space.put_with([key], "value", device).expect("put"))
        .collect();
    let before = store.stats();
    assert!(
        before.synced_seq < before.last_seq,
        "a put does not wait by itself"
    );
    let seqs: Vec<u64> = commits.iter().map(|commit| commit.seq().0).collect();
    for (commit, seq) in commits.into_iter().zip(seqs).rev() {
        assert_eq!(commit.wait().expect("durable").0, seq);
    }
    let after = store.stats();
    assert_eq!(after.synced_seq, after.last_seq);
    assert!(
        after.syncs - before.syncs <= 2,
        "one turn covers all: {before:?} {after:?}"
    );
}

#[test]
fn sync_makes_everything_before_it_durable_and_nothing_to_do_costs_nothing() {
    let place = Place::on_disk();
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..50 {
        put_as(&space, &format!("key {key}"), Durability::Buffered);
    }
    store.sync().expect("synced");
    assert_eq!(survives(&place).len(), 50);
    let stats = store.stats();
    assert_eq!(stats.synced_seq, stats.last_seq);
    store.sync().expect("nothing to do");
    assert_eq!(store.stats().syncs, stats.syncs);
}

#[test]
fn making_and_dropping_a_keyspace_is_durable_at_once() {
    let place = Place::new();
    let store = place.open();
    let names = |place: &Place| -> Vec<String> {
        let copy = Place::copy_of(place.path());
        let store = copy.open();
        store
            .keyspaces()
            .into_iter()
            .map(|info| info.name)
            .collect()
    };
    hash(&store, "one");
    hash(&store, "two");
    assert_eq!(names(&place), ["one", "two"]);
    assert!(store.drop_keyspace("one").expect("dropped"));
    assert_eq!(names(&place), ["two"]);
}

// ---- group commit

#[test]
fn threads_that_wait_at_once_share_their_syncs() {
    const THREADS: u64 = 8;
    const WRITES: u64 = 50;
    let place = Place::on_disk();
    let store = place.open_with(large(&place).durability(Durability::Device));
    let space = hash(&store, "things");
    let before = store.stats();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (space, start, store) = (space.clone(), &start, &store);
            scope.spawn(move || {
                start.wait();
                for write in 0..WRITES {
                    let key = format!("{thread} {write}");
                    let commit = space.put_with(&key, "value", Write::new()).expect("put");
                    let seq = commit.wait().expect("durable");
                    assert!(
                        store.stats().synced_seq >= seq.0,
                        "synced when acknowledged"
                    );
                }
            });
        }
    });
    let after = store.stats();
    let (writes, syncs) = (after.puts - before.puts, after.syncs - before.syncs);
    assert_eq!(writes, THREADS * WRITES);
    assert!(syncs < writes / 2, "{syncs} syncs for {writes} writes");
    assert_eq!(survives(&place).len(), 400);
}

// ---- the background thread

#[test]
fn the_flusher_hands_buffered_writes_to_the_kernel_soon() {
    let place = Place::new();
    let options = large(&place).background(true).sync_interval(None);
    let store = place.open_with(options);
    let space = hash(&store, "things");
    for round in 0..5 {
        put_as(&space, &format!("key {round}"), Durability::Buffered);
        wait_until("the write reaches the kernel", || {
            survives(&place).len() == round + 1
        });
    }
    let stats = store.stats();
    assert!(
        stats.synced_seq < stats.last_seq,
        "without an interval nothing is synced: {stats:?}"
    );
}

#[test]
fn the_flusher_syncs_weaker_writes_within_the_interval() {
    let place = Place::on_disk();
    for weaker in [Durability::Buffered, Durability::Kernel] {
        let options = large(&place).background(true);
        let store = place.open_with(options.sync_interval(Some(Duration::from_millis(50))));
        let space = hash(&store, "things");
        for _ in 0..3 {
            put_as(&space, "key", weaker);
            let seq = store.stats().last_seq;
            let start = Instant::now();
            wait_until("the write is synced", || store.stats().synced_seq >= seq);
            let took = start.elapsed();
            assert!(
                took < Duration::from_secs(5),
                "{weaker}: {took:?} for an interval of 50 ms"
            );
        }
        assert_eq!(store.stats().last_background_error, None);
    }
}

#[test]
fn without_threads_nothing_is_synced_that_nobody_asked_for_but_close_does_it() {
    let place = Place::new();
    let store: Store = place.open_with(large(&place).sync_interval(Some(Duration::from_millis(1))));
    let space = hash(&store, "things");
    put_as(&space, "key", Durability::Buffered);
    let stats = store.stats();
    assert_eq!((stats.last_seq, stats.synced_seq), (1, 0), "{stats:?}");
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    assert_eq!(contents(&store).len(), 1);
    assert_eq!(store.recovery().synced_seq, 1);
}
