//! Snapshots: one moment of all keyspaces, whatever is written, merged or expires afterwards; what
//! they cost is what changes; leaked ones hold nothing up.
#![expect(
    clippy::big_endian_bytes,
    reason = "keys that sort as their numbers do"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "what leaks on purpose is what is tried"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use peercask::{
    Durability, Entry, ErrorKind, IndexKind, Keyspace, Merge, Result, Snapshot, Store, Write,
};

use crate::support::{Place, Rng, hash, ordered, refused, rounds, seed};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn both(store: &Store) -> [Keyspace; 2] {
    [hash(store, "flat"), ordered(store, "sorted")]
}

fn pair(entry: Result<Entry>) -> (Vec<u8>, Vec<u8>) {
    let entry = entry.expect("readable");
    (entry.key.to_vec(), entry.value.to_vec())
}

/// All that a snapshot shows of a keyspace; every way of reading agrees.
#[track_caller]
fn seen(snapshot: &Snapshot, space: &Keyspace) -> Map {
    let walked: Vec<_> = snapshot.walk(space).expect("walk").map(pair).collect();
    let map: Map = walked.iter().cloned().collect();
    assert_eq!(map.len(), walked.len(), "no key twice");
    for (key, value) in &map {
        let got = snapshot.get(space, key).expect("read").expect("walked");
        assert_eq!(*got, value[..]);
        assert!(snapshot.contains(space, key).expect("read"));
    }
    if space.kind() == IndexKind::Ordered {
        let forth: Vec<_> = snapshot.iter(space).expect("ordered").map(pair).collect();
        let mut back: Vec<_> = snapshot
            .iter(space)
            .expect("ordered")
            .rev()
            .map(pair)
            .collect();
        back.reverse();
        assert!(
            forth == walked && back == walked,
            "one order in every direction"
        );
        let first = snapshot
            .first(space)
            .expect("read")
            .map(|entry| entry.key.to_vec());
        let last = snapshot
            .last(space)
            .expect("read")
            .map(|entry| entry.key.to_vec());
        assert_eq!(
            (first.as_ref(), last.as_ref()),
            (map.keys().next(), map.keys().next_back())
        );
    }
    map
}

#[test]
fn a_snapshot_shows_what_was_there_whatever_is_written_and_merged_afterwards() {
    let place = Place::new();
    let store = place.open();
    let spaces = both(&store);
    let key = |n: usize| format!("key {n:03}");
    for space in &spaces {
        for n in 0..120 {
            space.put(key(n), [b'a'; 60]).expect("put");
        }
    }
    let snapshot = store.snapshot().expect("open");
    assert_eq!(snapshot.seq().0, store.stats().last_seq);
    let before: Vec<Map> = spaces.iter().map(|space| seen(&snapshot, space)).collect();
    assert_eq!(before[0].len(), 120);
    for round in 0..4 {
        for space in &spaces {
            for n in (round..120).step_by(2) {
                space.put(key(n), format!("round {round}")).expect("put");
            }
            for n in (0..120).step_by(5) {
                space.delete(key(n)).expect("deleted");
            }
            for n in 200..260 {
                space.put(key(n), "new").expect("put");
            }
        }
        store.merge(Merge::Full).expect("merged");
        for (space, before) in spaces.iter().zip(&before) {
            assert_eq!(&seen(&snapshot, space), before, "round {round}");
            assert_eq!(snapshot.get(space, key(250)).expect("read"), None);
        }
    }
    let stats = store.stats();
    assert_eq!((stats.dead_bytes, stats.snapshots), (0, 1));
    assert!(stats.removed_bytes > 0, "files are held that merge removed");
    drop(snapshot);
    let stats = store.stats();
    assert_eq!(
        (stats.snapshots, stats.kept_versions, stats.removed_bytes),
        (0, 0, 0)
    );
}

#[test]
fn a_snapshot_costs_one_version_for_each_key_that_changes_and_nothing_for_new_ones() {
    let place = Place::new();
    let store = place.open();
    for space in both(&store) {
        for n in 0..10_u8 {
            space.put([n], "old").expect("put");
        }
        let kept = || store.stats().kept_versions;
        space.put([1], "before").expect("put");
        assert_eq!(kept(), 0, "nothing while no snapshot lives");
        let snapshot = store.snapshot().expect("open");
        for n in 20..90_u8 {
            space.put([n], "new").expect("put");
            space.put([n], "newer").expect("put");
            space.delete([n]).expect("deleted");
        }
        assert_eq!(kept(), 0, "what is younger is not kept");
        for _ in 0..50 {
            space.put([1], "changed").expect("put");
        }
        assert_eq!(kept(), 1);
        space.delete([2]).expect("deleted");
        space.put([2], "again").expect("put");
        assert_eq!(kept(), 2);
        let second = store.snapshot().expect("open");
        space.put([1], "once more").expect("put");
        space.put([3], "changed").expect("put");
        assert_eq!(kept(), 4, "each of two sees another version of 1");
        let third = second.clone();
        drop((snapshot, second));
        assert_eq!(kept(), 2, "a clone holds what it sees");
        assert_eq!(
            third.get(&space, [1]).expect("read").expect("there"),
            b"changed"
        );
        drop(third);
        assert_eq!(kept(), 0);
    }
}

/// Snapshots come and go in any order between random writes and merges; each goes on showing the
/// state at which it was taken.
#[test]
fn many_snapshots_each_keep_their_own_moment() {
    for round in 0..rounds(6) {
        let mut dice = Rng::quiet(seed(), round);
        let place = Place::new();
        let store = place.open();
        let spaces = both(&store);
        let mut now = [Map::new(), Map::new()];
        let mut held: Vec<(Snapshot, [Map; 2])> = Vec::new();
        for count in 0..600_u32 {
            let which = dice.index(2);
            let key = vec![b'k', u8::try_from(dice.below(40)).expect("small")];
            match dice.below(20) {
                0..=10 => {
                    let value = [&count.to_le_bytes()[..], &[7; 40]].concat();
                    spaces[which].put(&key, &value).expect("put");
                    now[which].insert(key, value);
                }
                11..=13 => {
                    spaces[which].delete(&key).expect("deleted");
                    now[which].remove(&key);
                }
                14..=15 => held.push((store.snapshot().expect("open"), now.clone())),
                16..=17 if !held.is_empty() => {
                    let at = dice.index(held.len());
                    drop(held.swap_remove(at));
                }
                18 if count % 7 == 0 => drop(store.merge(Merge::Full).expect("merged")),
                19 if !held.is_empty() => {
                    let (snapshot, maps) = &held[dice.index(held.len())];
                    for (space, map) in spaces.iter().zip(maps) {
                        assert_eq!(seen(snapshot, space), *map, "round {round} step {count}");
                    }
                }
                _ => {}
            }
            while held.len() > 8 {
                drop(held.remove(0));
            }
        }
        for (snapshot, maps) in &held {
            for (space, map) in spaces.iter().zip(maps) {
                assert_eq!(seen(snapshot, space), *map, "round {round} in the end");
            }
        }
        drop(held);
        let stats = store.stats();
        assert_eq!(
            (stats.snapshots, stats.kept_versions),
            (0, 0),
            "round {round}"
        );
    }
}

#[test]
fn time_stands_still_in_a_snapshot_even_when_merge_removes_what_expired() {
    let place = Place::new();
    let store = place.open();
    let spaces = both(&store);
    let minute = || Write::new().ttl(Duration::from_secs(60));
    for space in &spaces {
        for n in 0..40_u8 {
            drop(space.put_with([n], [n; 50], minute()).expect("put"));
        }
        for n in 100..120_u8 {
            space.put([n], "for ever").expect("put");
        }
        // Only these in a segment: it is dropped whole and unread.
        store.merge(Merge::Full).expect("merged");
    }
    let early = store.snapshot().expect("open");
    place.clock.advance(Duration::from_secs(61));
    let late = store.snapshot().expect("open");
    let before: Vec<Map> = spaces.iter().map(|space| seen(&early, space)).collect();
    assert_eq!(before[0].len(), 60);
    for turn in 0..3 {
        for (space, before) in spaces.iter().zip(&before) {
            assert_eq!(seen(&early, space), *before, "turn {turn}");
            assert_eq!(seen(&late, space).len(), 20, "turn {turn}");
        }
        let how = if turn == 0 {
            Merge::Needed
        } else {
            Merge::Full
        };
        store.merge(how).expect("merged");
    }
    assert_eq!(store.stats().keys, 40, "merge removed what had expired");
    for space in &spaces {
        assert_eq!(
            early.entry(space, [1]).expect("read").expect("there").value,
            [1; 50]
        );
        // It can be written again, and is no more to do with the old one.
        space.put([1], "anew").expect("put");
        assert_eq!(
            early.get(space, [1]).expect("read").expect("there"),
            [1; 50]
        );
        assert_eq!(late.get(space, [1]).expect("read"), None);
        space.delete([1]).expect("deleted");
        assert_eq!(late.get(space, [1]).expect("read"), None);
    }
    drop(early);
    assert_eq!(late.walk(&spaces[0]).expect("walk").count(), 20);
}

#[test]
fn iterators_of_a_snapshot_go_both_ways_within_bounds_and_meet() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    let key = |n: u32| format!("k{n:04}");
    for n in 0..1_000 {
        space.put(key(n), "old").expect("put");
    }
    let snapshot = store.snapshot().expect("open");
    for n in 0..1_000 {
        match n % 3 {
            0 => drop(space.delete(key(n)).expect("deleted")),
            1 => space.put(key(n), "new").expect("put"),
            _ => {}
        }
        space.put(format!("k{n:04}x"), "between").expect("put");
    }
    let text = |entry: Result<Entry>| {
        let (key, value) = pair(entry);
        assert_eq!(value, b"old");
        String::from_utf8(key).expect("text")
    };
    let wanted: Vec<String> = (100..900).map(key).collect();
    let between = || snapshot.range(&space, key(100)..key(900)).expect("ordered");
    assert!(between().map(text).eq(wanted.iter().cloned()));
    assert!(between().rev().map(text).eq(wanted.iter().rev().cloned()));
    let mut iter = between();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let Some(entry) = iter.next() else { break };
        front.push(text(entry));
        let Some(entry) = iter.next_back() else { break };
        back.push(text(entry));
    }
    front.extend(back.into_iter().rev());
    assert_eq!(front, wanted);
    assert_eq!(
        snapshot.prefix(&space, "k09").expect("ordered").count(),
        100
    );
    assert_eq!(
        snapshot
            .range(&space, key(5)..key(2))
            .expect("ordered")
            .count(),
        0
    );
    // Resumed behind each hundredth key, one that was deleted since among them.
    let mut pages = Vec::new();
    let mut from = std::ops::Bound::Unbounded;
    loop {
        let range = (from.clone(), std::ops::Bound::<String>::Unbounded);
        let page: Vec<_> = snapshot
            .range(&space, range)
            .expect("ordered")
            .take(100)
            .map(text)
            .collect();
        let Some(last) = page.last() else { break };
        from = std::ops::Bound::Excluded(last.clone());
        pages.extend(page);
    }
    assert!(pages.into_iter().eq((0..1_000).map(key)));
}

#[test]
fn a_walk_is_resumed_behind_any_key() {
    let place = Place::new();
    let store = place.open();
    for space in both(&store) {
        for n in 0..500_u32 {
            space.put(n.to_be_bytes(), "old").expect("put");
        }
        let snapshot = store.snapshot().expect("open");
        let keys = |snapshot: &Snapshot| -> Vec<Vec<u8>> {
            snapshot
                .walk(&space)
                .expect("walk")
                .map(|entry| pair(entry).0)
                .collect()
        };
        let all = keys(&snapshot);
        assert_eq!(all.len(), 500);
        for n in (0..500_u32).step_by(2) {
            space.delete(n.to_be_bytes()).expect("deleted");
        }
        assert_eq!(keys(&snapshot), all, "the order stays");
        let mut pages: Vec<Vec<u8>> = Vec::new();
        while let Some(page) = next_page(&snapshot, &space, pages.last()) {
            pages.extend(page);
        }
        assert_eq!(pages, all);
        // In a later snapshot, behind a key that is not there any more.
        let later = store.snapshot().expect("open");
        let left: Vec<_> = later
            .walk_after(&space, &all[99])
            .expect("walk")
            .map(|e| pair(e).0)
            .collect();
        let odd = |key: &&Vec<u8>| key[3] % 2 == 1;
        assert!(left.iter().eq(all[100..].iter().filter(odd)));
        let long = vec![0; peercask::KEY_LEN_MAX + 1];
        refused(
            snapshot.walk_after(&space, long),
            ErrorKind::InvalidArgument,
            &["65536 bytes"],
        );
    }
}

fn next_page(
    snapshot: &Snapshot,
    space: &Keyspace,
    after: Option<&Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    let walk = match after {
        None => snapshot.walk(space).expect("walk"),
        Some(key) => snapshot.walk_after(space, key).expect("walk"),
    };
    let page: Vec<_> = walk.take(37).map(|entry| pair(entry).0).collect();
    (!page.is_empty()).then_some(page)
}

/// A writer keeps all keys at one number by batches; no snapshot ever sees two numbers.
#[test]
fn a_snapshot_beside_writers_and_merge_sees_each_batch_whole_or_not_at_all() {
    let place = Place::new();
    let store = place.open();
    let spaces = both(&store);
    let write = |number: u32| {
        let mut batch = store.batch();
        for space in &spaces {
            for key in 0..9_u8 {
                if (u32::from(key) + number).is_multiple_of(4) {
                    batch.delete(space, [key]);
                } else {
                    batch.put(space, [key], number.to_le_bytes());
                }
            }
        }
        drop(batch.commit_with(Durability::Buffered).expect("committed"));
    };
    write(0);
    let done = AtomicBool::new(false);
    let writing = || !done.load(Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            let turns = u32::try_from(rounds(400)).expect("few");
            (1..turns).for_each(write);
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while writing() {
                    let snapshot = store.snapshot().expect("open");
                    let maps: Vec<Map> =
                        spaces.iter().map(|space| seen(&snapshot, space)).collect();
                    assert_eq!(maps[0], maps[1], "one moment of both");
                    let number = maps[0].values().next().expect("some").clone();
                    assert!(maps[0].values().all(|value| *value == number), "{maps:?}");
                    let count = u32::from_le_bytes(number[..].try_into().expect("four"));
                    let there = (0..9_u32).filter(|key| (key + count) % 4 != 0);
                    assert!(there.eq(maps[0].keys().map(|key| u32::from(key[0]))));
                }
            });
        }
        scope.spawn(|| {
            while writing() {
                store.merge(Merge::Full).expect("merged");
            }
        });
    });
    assert_eq!(
        (store.stats().snapshots, store.stats().kept_versions),
        (0, 0)
    );
}

#[test]
fn a_leaked_snapshot_holds_up_neither_writers_nor_merge_nor_close() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    for n in 0..100_u8 {
        space.put([n], [n; 60]).expect("put");
    }
    std::mem::forget(store.snapshot().expect("open"));
    let kept = store.snapshot().expect("open");
    for _ in 0..20 {
        for n in 0..100_u8 {
            space.put([n], [n; 61]).expect("put");
        }
        store.merge(Merge::Full).expect("merged");
    }
    let stats = store.stats();
    assert_eq!(
        (stats.kept_versions, stats.dead_bytes, stats.keys),
        (100, 0, 100)
    );
    drop(space);
    // The last handle: the store closes although two snapshots live.
    drop(store);
    let store = place.open();
    assert_eq!(hash(&store, "things").walk().count(), 100);
    let space = hash(&store, "things");
    refused(
        kept.get(&space, [1]),
        ErrorKind::InvalidArgument,
        &["another store"],
    );
}

#[test]
fn a_snapshot_dropped_by_a_panic_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "things");
    space.put("key", "old").expect("put");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let snapshot = store.snapshot().expect("open");
        let mut iter = snapshot.iter(&space).expect("ordered");
        space.put("key", "new").expect("put");
        assert_eq!(iter.next().expect("one").expect("read").value, b"old");
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let stats = store.stats();
    assert_eq!((stats.snapshots, stats.kept_versions), (0, 0));
    space.put("key", "newer").expect("writing goes on");
}

#[test]
fn an_iterator_keeps_its_snapshot() {
    let place = Place::new();
    let store = place.open();
    let [flat, sorted] = both(&store);
    for n in 0..50_u8 {
        flat.put([n], "old").expect("put");
        sorted.put([n], "old").expect("put");
    }
    let snapshot = store.snapshot().expect("open");
    let (walk, iter) = (
        snapshot.walk(&flat).expect("walk"),
        snapshot.iter(&sorted).expect("iter"),
    );
    drop(snapshot);
    for n in 0..50_u8 {
        flat.delete([n]).expect("deleted");
        sorted.delete([n]).expect("deleted");
    }
    assert_eq!(store.stats().snapshots, 1);
    assert_eq!((walk.count(), iter.count()), (50, 50));
    assert_eq!(
        (store.stats().snapshots, store.stats().kept_versions),
        (0, 0)
    );
}

#[test]
fn wrong_uses_of_a_snapshot_are_refused_with_a_reason() {
    let (place, other) = (Place::new(), Place::new());
    let (store, elsewhere) = (place.open(), other.open());
    let [flat, sorted] = both(&store);
    flat.put("key", "value").expect("put");
    sorted.put("key", "value").expect("put");
    let snapshot = store.snapshot().expect("open");
    let foreign = hash(&elsewhere, "flat");
    refused(
        snapshot.get(&foreign, "key"),
        ErrorKind::InvalidArgument,
        &["'flat' belongs to another store"],
    );
    refused(
        snapshot.iter(&flat),
        ErrorKind::InvalidArgument,
        &["needs an ordered keyspace"],
    );
    let mut walk = snapshot.walk(&flat).expect("walk");
    sorted.put("key", "changed").expect("put");
    flat.put("key", "changed").expect("put");
    assert_eq!(store.stats().kept_versions, 2);
    store.drop_keyspace("flat").expect("dropped");
    assert_eq!(store.stats().kept_versions, 1, "nobody can ask for these");
    refused(
        snapshot.get(&flat, "key"),
        ErrorKind::NotFound,
        &["'flat' was dropped"],
    );
    refused(
        walk.next().expect("told"),
        ErrorKind::NotFound,
        &["'flat' was dropped"],
    );
    assert!(walk.next().is_none(), "told once");
    // One that is made anew is not in the old snapshot.
    let flat = hash(&store, "flat");
    flat.put("key", "new").expect("put");
    assert_eq!(snapshot.get(&flat, "key").expect("read"), None);
    assert_eq!(snapshot.walk(&flat).expect("walk").count(), 0);
    let again = store.clone();
    store.close().expect("closed");
    refused(
        snapshot.get(&sorted, "key"),
        ErrorKind::Closed,
        &["the store is closed"],
    );
    refused(snapshot.walk(&sorted), ErrorKind::Closed, &[]);
    refused(again.snapshot(), ErrorKind::Closed, &[]);
}
