//! Watches: what is written to a keyspace, in commit order, whole or with a gap that is told. The
//! model is the list of all writes that were acknowledged, with their seqs; a watch must tell
//! exactly its share of that list, however it was asked and wherever it was resumed.

use std::time::Duration;

use peercask::{
    Durability, ErrorKind, EventKind, Keyspace, Lagged, Merge, Notice, Seq, Watch, WatchOptions,
    Write,
};

use crate::support::{Place, Rng, hash, ordered, refused, rounds};
use crate::ticket::block_on;

/// A change as a test writes it down: seq, what happened, key, and the value of a put.
type Change = (u64, EventKind, Vec<u8>, Option<Vec<u8>>);

/// What is in the queue now; fails at a gap.
fn drain(watch: &mut Watch) -> Vec<Change> {
    let mut seen = Vec::new();
    while let Some(notice) = watch.try_recv().expect("the watch goes on") {
        seen.push(change_of(notice));
    }
    seen
}

fn change_of(notice: Notice) -> Change {
    let event = notice.event().expect("no lag here");
    let value = event.value().expect("the record is readable");
    let value = value.map(|value| value.to_vec());
    (event.seq().0, event.kind(), event.key().to_vec(), value)
}

fn put(keyspace: &Keyspace, key: &str, value: &str) -> Change {
    let commit = keyspace.put_with(key, value, Write::new()).expect("stored");
    let seq = commit.wait().expect("durable").0;
    (seq, EventKind::Put, key.into(), Some(value.into()))
}

fn delete(keyspace: &Keyspace, key: &str) -> Change {
    let (existed, commit) = keyspace
        .delete_with(key, Durability::Kernel)
        .expect("deleted");
    assert!(existed);
    let seq = commit.wait().expect("durable").0;
    (seq, EventKind::Delete, key.into(), None)
}

fn put_for(keyspace: &Keyspace, key: &str, seconds: u64) -> u64 {
    let write = Write::new().ttl(Duration::from_secs(seconds));
    let commit = keyspace.put_with(key, "value", write).expect("stored");
    commit.wait().expect("durable").0
}

fn lag_of(notice: Notice) -> Lagged {
    match notice {
        Notice::Lagged(gap) => gap,
        Notice::Event(event) => panic!("a gap was to be told, not {event:?}"),
    }
}

fn seqs(changes: &[Change]) -> Vec<u64> {
    changes.iter().map(|change| change.0).collect()
}

#[test]
fn a_watch_tells_its_share_of_the_writes_in_commit_order() {
    let place = Place::new();
    let store = place.open();
    for keyspace in [hash(&store, "hash"), ordered(&store, "ordered")] {
        let other = hash(&store, "other");
        put(&keyspace, "a/0", "written before");
        let mut all = keyspace.watch(WatchOptions::all()).expect("watched");
        let mut prefix = keyspace.watch(WatchOptions::prefix("a/")).expect("watched");
        let mut key = keyspace.watch(WatchOptions::key("b")).expect("watched");
        let mut model = vec![put(&keyspace, "a/1", "one"), put(&keyspace, "b", "two")];
        put(&other, "a/1", "of another keyspace");
        model.push(delete(&keyspace, "a/1"));
        // What is not there is not deleted, and tells nothing.
        assert!(!keyspace.delete("a/1").expect("asked"));
        let mut batch = store.batch();
        batch.put(&keyspace, "z", "9");
        batch.put(&other, "z", "9");
        batch.delete(&keyspace, "b");
        batch.put(&keyspace, "a/2", "8");
        let last = batch.commit().expect("applied").0;
        model.push((last - 3, EventKind::Put, "z".into(), Some("9".into())));
        model.push((last - 1, EventKind::Delete, "b".into(), None));
        model.push((last, EventKind::Put, "a/2".into(), Some("8".into())));
        let share = |wanted: &dyn Fn(&[u8]) -> bool| -> Vec<Change> {
            model
                .iter()
                .filter(|change| wanted(&change.2))
                .cloned()
                .collect()
        };
        assert_eq!(drain(&mut all), model);
        assert_eq!(drain(&mut prefix), share(&|key| key.starts_with(b"a/")));
        assert_eq!(drain(&mut key), share(&|key| key == b"b"));
    }
}

#[test]
fn a_slow_watcher_is_told_of_one_gap_and_fills_it_from_the_log() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    let mut watch = keyspace
        .watch(WatchOptions::all().capacity(3))
        .expect("watched");
    let model: Vec<Change> = (0..40)
        .map(|n| put(&keyspace, &format!("key {n}"), &"v".repeat(200)))
        .collect();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(change_of(watch.recv().expect("queued")));
    }
    let gap = lag_of(watch.recv().expect("told"));
    assert_eq!(
        gap,
        Lagged {
            missed: 37,
            after: Seq(3)
        }
    );
    assert!(watch.try_recv().expect("open").is_none(), "told once");
    watch.resume_after(gap.after).expect("nothing was merged");
    seen.extend(drain(&mut watch));
    assert_eq!(seen, model);
    // Live again.
    let next = put(&keyspace, "next", "value");
    assert_eq!(drain(&mut watch), [next]);
    // Who does not resume goes on behind the gap.
    for n in 0..5 {
        put(&keyspace, &format!("more {n}"), "value");
    }
    assert_eq!(drain_until_gap(&mut watch), 3);
    let next = put(&keyspace, "last", "value");
    assert_eq!(drain(&mut watch), [next]);
}

fn drain_until_gap(watch: &mut Watch) -> u64 {
    for events in 0.. {
        if let Notice::Lagged(_) = watch.recv().expect("told") {
            return events;
        }
    }
    unreachable!("the loop has no end")
}

#[test]
fn random_writes_reach_watchers_that_ask_at_random_and_resume_at_random() {
    for round in 0..rounds(12) {
        let place = Place::new();
        let mut rng = Rng::new(0x3A7C_0000 + round);
        let mut store = place.open();
        let mut keyspace = hash(&store, "k");
        let (mut model, mut seen) = (Vec::new(), Vec::new());
        let options = || WatchOptions::prefix("a").capacity(4);
        let mut watch = keyspace.watch(options()).expect("watched");
        for _ in 0..300 {
            let key = format!("{}{}", ["a", "b"][rng.index(2)], rng.below(9));
            match rng.below(12) {
                0..6 => model.push(put(&keyspace, &key, &"x".repeat(rng.index(300)))),
                6..8 if keyspace.contains(&key).expect("asked") => {
                    model.push(delete(&keyspace, &key));
                }
                8 => {
                    let last = seen.last().map_or(Seq(0), |change: &Change| Seq(change.0));
                    watch.resume_after(last).expect("nothing was merged");
                }
                9 => {
                    drop(watch);
                    drop(keyspace);
                    store.close().expect("closed");
                    store = place.open();
                    keyspace = hash(&store, "k");
                    let last = seen.last().map_or(Seq(0), |change: &Change| Seq(change.0));
                    watch = keyspace.watch(options().after(last)).expect("watched");
                }
                _ => ask(&mut watch, &mut seen, rng.index(8)),
            }
        }
        ask(&mut watch, &mut seen, usize::MAX);
        model.retain(|change| change.2.starts_with(b"a"));
        assert_eq!(seqs(&seen), seqs(&model), "no event twice, none missing");
        for (seen, wrote) in seen.iter().zip(&model) {
            assert_eq!((&seen.1, &seen.2), (&wrote.1, &wrote.2));
            // Nothing was merged, so every version can still be read.
            assert_eq!(seen.3, wrote.3);
        }
    }
}

/// Takes up to `max` notices; fills gaps.
fn ask(watch: &mut Watch, seen: &mut Vec<Change>, max: usize) {
    for _ in 0..max {
        match watch.try_recv().expect("the watch goes on") {
            Some(Notice::Lagged(gap)) => watch.resume_after(gap.after).expect("nothing merged"),
            Some(notice) => seen.push(change_of(notice)),
            None => return,
        }
    }
}

#[test]
fn what_merge_took_is_told_with_the_earliest_seq_that_can_be_had() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    for n in 0..60 {
        put(&keyspace, &format!("key {}", n % 6), &"v".repeat(300));
    }
    let mut behind = keyspace
        .watch(WatchOptions::all().after(Seq(0)))
        .expect("whole");
    assert_eq!(seqs(&[change_of(behind.recv().expect("read"))]), [1]);
    store.merge(Merge::Full).expect("merged");
    let error = refused(
        keyspace.watch(WatchOptions::all().after(Seq(10))),
        ErrorKind::HistoryGone,
        &["seq 10", "is 60"],
    );
    assert_eq!(error.earliest_seq(), Some(Seq(60)));
    let next = put(&keyspace, "next", "value");
    let mut watch = keyspace
        .watch(WatchOptions::all().after(Seq(60)))
        .expect("held");
    assert_eq!(drain(&mut watch), std::slice::from_ref(&next));
    // A watch that was reading there ends with the same answer, and can be resumed later on.
    let error = loop {
        match behind.recv() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::HistoryGone);
    behind
        .resume_after(error.earliest_seq().expect("told"))
        .expect("held");
    assert_eq!(drain(&mut behind), [next]);
}

#[test]
fn an_event_told_late_gives_its_value_or_says_that_it_is_gone() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    let mut watch = keyspace.watch(WatchOptions::all()).expect("watched");
    put(&keyspace, "a", "replaced");
    let kept = put(&keyspace, "b", "kept");
    let newer = put(&keyspace, "a", "newer");
    store.merge(Merge::Full).expect("merged");
    let seen = drain(&mut watch);
    assert_eq!(seen[0], (1, EventKind::Put, "a".into(), None));
    assert_eq!(seen[1..], [kept, newer]);
}

#[test]
fn wrong_calls_are_refused_with_what_is_wrong() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    put(&keyspace, "a", "value");
    let future = WatchOptions::all().after(Seq(2));
    refused(
        keyspace.watch(future),
        ErrorKind::InvalidArgument,
        &["seq 2", "last one is 1"],
    );
    let none = WatchOptions::all().capacity(0);
    refused(
        keyspace.watch(none),
        ErrorKind::InvalidArgument,
        &["capacity"],
    );
    let mut watch = keyspace.watch(WatchOptions::all()).expect("watched");
    let late = put(&keyspace, "b", "value");
    store.drop_keyspace("k").expect("dropped");
    refused(
        keyspace.watch(WatchOptions::all()),
        ErrorKind::NotFound,
        &["'k' was dropped"],
    );
    // What was queued before is told, with what is left of it.
    assert_eq!(
        watch
            .recv()
            .expect("queued")
            .event()
            .expect("no lag")
            .seq()
            .0,
        late.0
    );
    refused(watch.recv(), ErrorKind::NotFound, &["'k' was dropped"]);
    assert!(watch.next().is_none(), "ended");

    let keyspace = hash(&store, "again");
    let mut watch = keyspace.watch(WatchOptions::all()).expect("watched");
    put(&keyspace, "c", "value");
    store.close().expect("closed");
    assert!(watch.recv().expect("queued").event().is_some());
    refused(watch.recv(), ErrorKind::Closed, &["closed"]);
    refused(
        keyspace.watch(WatchOptions::all()),
        ErrorKind::Closed,
        &["closed"],
    );
}

#[test]
fn blocked_watchers_are_let_go_by_a_drop_and_by_a_close() {
    let place = Place::new();
    let store = place.open();
    let (doomed, kept) = (hash(&store, "doomed"), hash(&store, "kept"));
    let blocked = |keyspace: Keyspace| {
        let mut watch = keyspace.watch(WatchOptions::all()).expect("watched");
        std::thread::spawn(move || watch.recv().map(|_| ()).map_err(|e| e.kind()))
    };
    let (dropped, closed) = (blocked(doomed), blocked(kept));
    store.drop_keyspace("doomed").expect("dropped");
    assert_eq!(dropped.join().expect("joined"), Err(ErrorKind::NotFound));
    // The watch does not keep the store open: the last handle's drop closes it.
    drop(store);
    assert_eq!(closed.join().expect("joined"), Err(ErrorKind::Closed));
}

#[test]
fn a_watch_for_durable_events_waits_for_the_sync_and_is_woken_by_it() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    let on_device = WatchOptions::all().durability(Durability::Device);
    let mut watch = keyspace.watch(on_device).expect("watched");
    let mut at_once = keyspace.watch(WatchOptions::all()).expect("watched");
    let write = Write::new().durability(Durability::Buffered);
    let commit = keyspace.put_with("a", "value", write).expect("stored");
    let event = at_once.recv().expect("visible").event().expect("no lag");
    assert_eq!(event.durability(), Durability::Buffered);
    assert!(watch.try_recv().expect("open").is_none());
    let waiting = std::thread::spawn(move || {
        let event = watch.recv().expect("told").event().expect("no lag");
        assert_eq!(event.durability(), Durability::Device);
        event.seq()
    });
    store.sync().expect("synced");
    assert_eq!(waiting.join().expect("joined"), commit.seq());
    assert_eq!(event.durability(), Durability::Device);
}

#[test]
fn a_watch_is_awaited_and_times_out() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    let mut watch = keyspace.watch(WatchOptions::all()).expect("watched");
    assert!(
        watch
            .recv_timeout(Duration::from_millis(1))
            .expect("open")
            .is_none()
    );
    let waiting = std::thread::spawn(move || {
        let (notice, polls) = block_on(watch.changed());
        (change_of(notice.expect("told")), polls)
    });
    let wrote = put(&keyspace, "a", "value");
    let (seen, polls) = waiting.join().expect("joined");
    assert_eq!(seen, wrote);
    assert!(polls <= 2, "woken once: {polls} polls");
}

#[test]
fn an_expiry_is_told_once_and_only_of_the_version_that_expired() {
    let place = Place::new();
    let store = place.open();
    for keyspace in [hash(&store, "hash"), ordered(&store, "ordered")] {
        let before = put_for(&keyspace, "before", 10);
        put_for(&keyspace, "over before the watch", 1);
        place.clock.advance(Duration::from_secs(2));
        let options = WatchOptions::all().expired(true);
        let mut watch = keyspace.watch(options).expect("watched");
        let mut plain = keyspace.watch(WatchOptions::all()).expect("watched");
        let shorter = put_for(&keyspace, "shorter", 5);
        put_for(&keyspace, "replaced", 5);
        put(&keyspace, "replaced", "for ever");
        put_for(&keyspace, "deleted", 5);
        delete(&keyspace, "deleted");
        put_for(&keyspace, "prolonged", 5);
        let prolonged = put_for(&keyspace, "prolonged", 60);
        assert_eq!(drain(&mut watch).len(), 7, "nothing has expired yet");
        place.clock.advance(Duration::from_secs(6));
        // Merge takes what has expired before the watch is asked.
        store.merge(Merge::Full).expect("merged");
        let expired = |watch: &mut Watch| -> Vec<u64> {
            let seen = drain(watch);
            assert!(seen.iter().all(|change| change.1 == EventKind::Expired));
            seqs(&seen)
        };
        assert_eq!(expired(&mut watch), [shorter]);
        assert_eq!(expired(&mut watch), [0_u64; 0], "once");
        place.clock.advance(Duration::from_secs(4));
        assert_eq!(expired(&mut watch), [before]);
        place.clock.advance(Duration::from_secs(100));
        assert_eq!(expired(&mut watch), [prolonged]);
        assert_eq!(drain(&mut plain).len(), 7, "who did not ask is not told");
    }
}

#[test]
fn an_expiry_wakes_a_blocked_watcher_within_a_sweep_and_only_in_its_scope() {
    let place = Place::new();
    let store = place.open_with(place.options().background(true));
    let keyspace = ordered(&store, "k");
    let options = WatchOptions::prefix("a").expired(true);
    let mut watch = keyspace.watch(options).expect("watched");
    let seq = put_for(&keyspace, "a", 5);
    put_for(&keyspace, "b", 5);
    let waiting = std::thread::spawn(move || {
        let put = change_of(watch.recv().expect("told"));
        let gone = change_of(watch.recv().expect("told"));
        assert!(watch.try_recv().expect("open").is_none());
        (put, gone)
    });
    place.clock.advance(Duration::from_secs(6));
    let (put, gone) = waiting.join().expect("joined");
    assert_eq!((put.0, put.1), (seq, EventKind::Put));
    assert_eq!((gone.0, gone.1), (seq, EventKind::Expired));
}

#[test]
fn watchers_beside_writers_see_every_write_once_and_in_order() {
    const WRITERS: u64 = 3;
    let place = Place::new();
    let options = place.options().background(true).segment_bytes(1 << 20);
    let store = place.open_with(options.merge_dead_share(1.0));
    let keyspace = hash(&store, "k");
    let each = rounds(400);
    std::thread::scope(|scope| {
        let watchers: Vec<_> = [2, 16, 100_000]
            .into_iter()
            .enumerate()
            .map(|(at, capacity)| {
                let options = WatchOptions::all().capacity(capacity);
                let watch = keyspace.watch(options).expect("watched");
                scope.spawn(move || follow(watch, WRITERS * each, at == 1))
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let keyspace = keyspace.clone();
                    move || write_some(&keyspace, writer, each)
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("joined");
        }
        for watcher in watchers {
            let seen = watcher.join().expect("joined");
            let expected: Vec<u64> = (1..=WRITERS * each).collect();
            assert_eq!(seen, expected, "every seq once");
        }
    });
    let mut late = keyspace
        .watch(WatchOptions::all().after(Seq(0)))
        .expect("nothing was merged");
    assert_eq!(drain(&mut late).len() as u64, WRITERS * each);
}

fn write_some(keyspace: &Keyspace, writer: u64, each: u64) {
    for n in 0..each {
        let how = [Durability::Buffered, Durability::Kernel][usize::from(n % 7 == 0)];
        let write = Write::new().durability(how);
        let key = (writer * 1_000_000 + n).to_le_bytes();
        let _seq = keyspace.put_with(key, key, write).expect("stored");
    }
}

/// The seqs told until `count` were; gaps are filled from the log.
fn follow(mut watch: Watch, count: u64, awaited: bool) -> Vec<u64> {
    let mut seen = Vec::new();
    while (seen.len() as u64) < count {
        let notice = if awaited {
            block_on(watch.changed()).0
        } else {
            watch.recv()
        };
        match notice.expect("told") {
            Notice::Event(event) => seen.push(event.seq().0),
            Notice::Lagged(gap) => watch.resume_after(gap.after).expect("nothing was merged"),
        }
    }
    seen
}
