//! Transactions: one at a time, on a moment of their own with their writes on top; committed as
//! one batch, refused when a plain write came between, gone without a trace when dropped.
#![expect(
    clippy::big_endian_bytes,
    reason = "keys that sort as their numbers do"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "counts of a test are small"
)]

mod turns;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use peercask::{
    Durability, ErrorKind, Keyspace, Merge, Result, Store, Swap, Transaction, Value, Write,
};

use crate::support::{
    Place, Rng, SMALL_SEGMENT, SetAtEnd, assert_same, contents, files, hash, ordered, refused,
    rounds, seed, wait_until,
};

fn both(store: &Store) -> [Keyspace; 2] {
    [hash(store, "flat"), ordered(store, "sorted")]
}

fn text(pair: Result<(Value, Value)>) -> (String, String) {
    let (key, value) = pair.expect("readable");
    let text = |value: Value| String::from_utf8(value.to_vec()).expect("text");
    (text(key), text(value))
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn a_transaction_reads_its_own_writes_and_nobody_else_does() {
    let place = Place::new();
    let store = place.open();
    let [flat, sorted] = both(&store);
    for space in [&flat, &sorted] {
        space.put("replaced", "old").expect("put");
        space.put("deleted", "old").expect("put");
        space.put("left", "old").expect("put");
    }
    let before = contents(&store);
    let mut tx = store.begin().expect("its turn");
    for space in [&flat, &sorted] {
        tx.put(space, "replaced", "new").expect("put");
        tx.put(space, "added", "new").expect("put");
        assert!(tx.delete(space, "deleted").expect("deleted"));
        assert!(!tx.delete(space, "never was").expect("deleted"));
        let get = |key: &str| {
            tx.get(space, key)
                .expect("read")
                .map(|value| value.to_vec())
        };
        assert_eq!(get("replaced").as_deref(), Some(&b"new"[..]));
        assert_eq!(get("added").as_deref(), Some(&b"new"[..]));
        assert_eq!(get("left").as_deref(), Some(&b"old"[..]));
        assert_eq!((get("deleted"), get("never was")), (None, None));
        assert!(tx.contains(space, "added").expect("read"));
        assert!(!tx.contains(space, "deleted").expect("read"));
    }
    assert_same(&contents(&store), &before, "nothing before the commit");
    let seq = tx.commit().expect("committed");
    assert_eq!(seq.0, store.stats().last_seq);
    let after = contents(&store);
    assert_eq!(after.len(), 6);
    drop((flat, sorted));
    store.close().expect("closed");
    assert_same(&contents(&place.open()), &after, "reopened");
}

#[test]
fn ranges_show_own_writes_among_the_others_in_both_directions() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for key in ["b", "d", "f", "h", "j"] {
        space.put(key, "old").expect("put");
    }
    let mut tx = store.begin().expect("its turn");
    for key in ["a", "d", "e", "k"] {
        tx.put(&space, key, "own").expect("put");
    }
    tx.delete(&space, "f").expect("deleted");
    tx.delete(&space, "h").expect("deleted");
    tx.put(&space, "h", "own").expect("put");
    tx.put(&space, "g", "own").expect("put");
    tx.delete(&space, "g").expect("deleted");
    let past = Write::new().expires_at_ms(1);
    tx.put_with(&space, "i", "expired", past).expect("put");
    let all = owned(&[
        ("a", "own"),
        ("b", "old"),
        ("d", "own"),
        ("e", "own"),
        ("h", "own"),
        ("j", "old"),
        ("k", "own"),
    ]);
    let forth: Vec<_> = tx.iter(&space).expect("ordered").map(text).collect();
    assert_eq!(forth, all);
    let mut back: Vec<_> = tx.iter(&space).expect("ordered").rev().map(text).collect();
    back.reverse();
    assert_eq!(back, all);
    let part: Vec<_> = tx
        .range(&space, "b"..="e")
        .expect("ordered")
        .map(text)
        .collect();
    assert_eq!(part, all[1..4]);
    assert_eq!(tx.range(&space, "k".."a").expect("ordered").count(), 0);
    assert_eq!(tx.prefix(&space, "h").expect("ordered").count(), 1);
    tx.commit().expect("committed");
    let stored: Vec<_> = space
        .iter()
        .expect("ordered")
        .map(|entry| entry.expect("read"))
        .collect();
    assert!(
        stored
            .iter()
            .map(|entry| &*entry.key)
            .eq(all.iter().map(|(key, _)| key.as_bytes()))
    );
}

/// All pairs, taken from either end by chance.
fn from_both_ends(
    mut iter: impl DoubleEndedIterator<Item = Result<(Value, Value)>>,
    rng: &mut Rng,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let from_back = rng.below(2) == 0;
        let next = if from_back {
            iter.next_back()
        } else {
            iter.next()
        };
        let Some(pair) = next else { break };
        let (key, value) = pair.expect("readable");
        let end = if from_back { &mut back } else { &mut front };
        end.push((key.to_vec(), value.to_vec()));
    }
    front.extend(back.into_iter().rev());
    front
}

/// Random transactions beside a map, their iterators from both ends at once.
#[test]
fn a_transaction_sees_what_a_map_would() {
    for round in 0..rounds(20) {
        let mut rng = Rng::quiet(seed(), round);
        let place = Place::new();
        let store = place.open_with(place.options().segment_bytes(1 << 20));
        let space = ordered(&store, "sorted");
        let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let key = |rng: &mut Rng| {
            u16::try_from(rng.below(700))
                .expect("small")
                .to_be_bytes()
                .to_vec()
        };
        for _ in 0..4 {
            for _ in 0..150 {
                let key = key(&mut rng);
                space.put(&key, "plain").expect("put");
                map.insert(key, b"plain".to_vec());
            }
            let mut tx = store.begin().expect("its turn");
            let mut mine = map.clone();
            for count in 0..250_u32 {
                let key = key(&mut rng);
                if rng.below(3) == 0 {
                    let existed = tx.delete(&space, &key).expect("deleted");
                    assert_eq!(existed, mine.remove(&key).is_some());
                } else {
                    tx.put(&space, &key, count.to_le_bytes()).expect("put");
                    mine.insert(key, count.to_le_bytes().to_vec());
                }
            }
            let (low, high) = (key(&mut rng), key(&mut rng));
            let iter = tx
                .range(&space, low.clone()..high.clone())
                .expect("ordered");
            let found = from_both_ends(iter, &mut rng);
            let wanted: Vec<_> = mine
                .iter()
                .filter(|(key, _)| **key >= low && **key < high)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(found, wanted, "round {round}");
            if rng.below(2) == 0 {
                tx.commit().expect("committed");
                map = mine;
            }
        }
        let stored: BTreeMap<_, _> = space
            .iter()
            .expect("ordered")
            .map(|entry| entry.expect("read"))
            .map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
            .collect();
        assert_eq!(stored, map, "round {round}");
    }
}

#[test]
fn a_plain_write_of_a_key_that_was_read_or_written_is_a_conflict() {
    let place = Place::new();
    let store = place.open();
    for space in both(&store) {
        for key in ["read", "written", "deleted", "bystander"] {
            space.put(key, "old").expect("put");
        }
        type Uses = fn(&mut Transaction, &Keyspace) -> Result<()>;
        let uses: [(&str, Uses); 6] = [
            ("read", |tx, space| tx.get(space, "read").map(drop)),
            ("read", |tx, space| tx.contains(space, "read").map(drop)),
            ("written", |tx, space| tx.put(space, "written", "mine")),
            ("deleted", |tx, space| tx.delete(space, "deleted").map(drop)),
            ("absent", |tx, space| tx.get(space, "absent").map(drop)),
            ("new", |tx, space| tx.put(space, "new", "mine")),
        ];
        for (key, used) in uses {
            for first in [true, false] {
                let mut tx = store.begin().expect("its turn");
                tx.put(&space, "other", "mine").expect("put");
                if first {
                    used(&mut tx, &space).expect("used");
                }
                space.put(key, "plain").expect("put");
                space.put("bystander", "plain").expect("put");
                if !first {
                    used(&mut tx, &space).expect("used");
                }
                let before = contents(&store);
                refused(
                    tx.commit(),
                    ErrorKind::Conflict,
                    &[&format!("\"{key}\""), space.name()],
                );
                assert_same(&contents(&store), &before, "nothing was applied");
                space.delete("absent").expect("deleted");
                space.delete("new").expect("deleted");
            }
        }
        // A write that came and went, a batch, and a comparison are plain writes too.
        type Plain = fn(&Store, &Keyspace);
        let plain: [Plain; 3] = [
            |_, space| {
                space.put("absent", "here").expect("put");
                space.delete("absent").expect("deleted");
            },
            |store, space| {
                let mut batch = store.batch();
                batch.put(space, "absent", "here");
                batch.commit().expect("committed");
            },
            |_, space| {
                space.delete("absent").expect("deleted");
                assert!(matches!(
                    space.put_if_absent("absent", "x"),
                    Ok(Swap::Applied(_))
                ));
            },
        ];
        for write in plain {
            let mut tx = store.begin().expect("its turn");
            tx.get(&space, "absent").expect("read");
            tx.put(&space, "other", "mine").expect("put");
            write(&store, &space);
            refused(tx.commit(), ErrorKind::Conflict, &["\"absent\""]);
        }
    }
}

#[test]
fn what_a_transaction_has_nothing_to_do_with_is_no_conflict() {
    let place = Place::new();
    let store = place.open();
    let [flat, sorted] = both(&store);
    let mut tx = store.begin().expect("its turn");
    tx.get(&flat, "key").expect("read");
    tx.put(&flat, "mine", "1").expect("put");
    // The same key elsewhere, other keys here, and a delete of what is not there.
    sorted.put("key", "plain").expect("put");
    flat.put("other", "plain").expect("put");
    flat.delete("key").expect("deleted");
    store.merge(Merge::Full).expect("merged");
    tx.commit().expect("committed");
    // One that only reads has read one moment, whatever came after it.
    let tx = store.begin().expect("its turn");
    assert_eq!(
        tx.get(&sorted, "key").expect("read").expect("there"),
        b"plain"
    );
    sorted.put("key", "again").expect("put");
    assert_eq!(
        tx.get(&sorted, "key").expect("read").expect("there"),
        b"plain"
    );
    tx.commit().expect("committed");
    // What was touched before the beginning is long past.
    let mut tx = store.begin().expect("its turn");
    assert_eq!(
        tx.get(&sorted, "key").expect("read").expect("there"),
        b"again"
    );
    tx.put(&sorted, "key", "mine").expect("put");
    tx.commit().expect("committed");
    assert_eq!(sorted.get("key").expect("read").expect("there"), b"mine");
}

#[test]
fn a_write_into_a_stretch_that_was_iterated_over_is_a_conflict_and_behind_it_none() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    let key = |n: u32| format!("k{n:03}");
    for n in (0..300).step_by(10) {
        space.put(key(n), "old").expect("put");
    }
    let taken = |tx: &Transaction, front: usize, back: usize| {
        let mut iter = tx.range(&space, key(100)..key(200)).expect("ordered");
        assert_eq!(iter.by_ref().take(front).count(), front.min(10));
        assert_eq!(iter.rev().take(back).count(), back.min(10 - front.min(10)));
    };
    // How far each end went, the key that is written, and whether that is seen.
    for (front, back, written, conflict) in [
        (3, 0, 105, true),
        (3, 0, 120, true),
        (3, 0, 121, false),
        (3, 0, 99, false),
        (0, 3, 175, true),
        (0, 3, 169, false),
        (0, 3, 200, false),
        (2, 2, 150, false),
        (2, 2, 185, true),
        (100, 0, 199, true),
        (100, 0, 100, true),
        (0, 100, 101, true),
    ] {
        let mut tx = store.begin().expect("its turn");
        taken(&tx, front, back);
        tx.put(&space, "mine", "1").expect("put");
        let fresh = space.put_if_absent(key(written), "plain").expect("put");
        if matches!(fresh, Swap::Refused(_)) {
            space.put(key(written), "plain").expect("put");
        }
        let what = format!("{front} and {back} taken, {written} written");
        match tx.commit() {
            Ok(_) => assert!(!conflict, "{what}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert!(conflict, "{what}: {error}");
            }
        }
        if written % 10 > 0 {
            space.delete(key(written)).expect("deleted");
        }
    }
}

#[test]
fn the_closure_form_commits_what_succeeds_and_rolls_back_what_fails_or_panics() {
    let place = Place::new();
    let store = place.open();
    let [flat, sorted] = both(&store);
    let answer = store.transaction(|tx| {
        tx.put(&flat, "a", "1")?;
        tx.put(&sorted, "b", "2")?;
        Ok(42)
    });
    assert_eq!(answer.expect("committed"), 42);
    let before = contents(&store);
    let failed: Result<()> = store.transaction(|tx| {
        tx.put(&flat, "a", "changed")?;
        tx.delete(&sorted, "b")?;
        tx.range(&flat, "a".."b").map(drop)
    });
    refused(
        failed,
        ErrorKind::InvalidArgument,
        &["needs an ordered keyspace"],
    );
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.transaction::<()>(|tx| {
            tx.put(&flat, "a", "changed")?;
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_same(&contents(&store), &before, "nothing of either");
    let inner = store.transaction(|_| store.transaction(|_| Ok(())));
    refused(
        inner,
        ErrorKind::InvalidArgument,
        &["inside the closure of another"],
    );
    store
        .transaction(|tx| tx.put(&flat, "a", "2"))
        .expect("the turn is free");
    let stats = store.stats();
    assert_eq!((stats.snapshots, stats.kept_versions), (0, 0));
}

#[test]
fn ten_thousand_cancelled_transactions_leave_nothing() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    space.put("key", "old").expect("put");
    let (before, listed) = (store.stats(), files(place.path()));
    for turn in 0..10_000_u32 {
        let mut tx = store.begin().expect("the last one let go at once");
        tx.put(&space, turn.to_le_bytes(), [7; 100]).expect("put");
        tx.delete(&space, "key").expect("deleted");
        assert_eq!(tx.iter(&space).expect("ordered").count(), 1);
        if turn % 2 == 0 {
            tx.rollback();
        }
    }
    let after = store.stats();
    assert_eq!(
        (
            after.last_seq,
            after.written_bytes,
            after.syncs,
            after.index_bytes
        ),
        (
            before.last_seq,
            before.written_bytes,
            before.syncs,
            before.index_bytes
        )
    );
    assert_eq!(
        (after.snapshots, after.kept_versions, after.removed_bytes),
        (0, 0, 0)
    );
    assert_eq!(files(place.path()), listed);
    assert_eq!(contents(&store).len(), 1);
}

#[test]
fn one_transaction_runs_at_a_time_and_no_increment_is_lost() {
    let place = Place::new();
    let store = place.open();
    let [flat, sorted] = both(&store);
    let (turns, inside) = (rounds(120), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..turns {
                    store
                        .transaction(|tx| {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
                            let count = tx.get(&flat, "count")?.map_or(0, number) + 1;
                            tx.put(&flat, "count", count.to_le_bytes())?;
                            tx.put(&sorted, count.to_be_bytes(), "x")?;
                            inside.fetch_sub(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .expect("no plain write comes between");
                }
            });
        }
        // Others read on meanwhile, and see both keyspaces of one moment.
        scope.spawn(|| {
            while flat.get("count").expect("read").map_or(0, number) < 4 * turns {
                let snapshot = store.snapshot().expect("open");
                let count = snapshot
                    .get(&flat, "count")
                    .expect("read")
                    .map_or(0, number);
                assert_eq!(
                    snapshot.iter(&sorted).expect("ordered").count() as u64,
                    count
                );
            }
        });
    });
    assert_eq!(
        flat.get("count").expect("read").map_or(0, number),
        4 * turns
    );
    assert_eq!(sorted.iter().expect("ordered").count() as u64, 4 * turns);
}

fn number(value: Value) -> u64 {
    u64::from_le_bytes(value[..].try_into().expect("eight bytes"))
}

/// Transfers between accounts by transactions, beside deposits by plain writes that make some of
/// them conflict; the sum is right in every snapshot and in the end.
#[test]
fn transfers_beside_plain_writes_keep_the_sum() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "accounts");
    for account in 0..6_u8 {
        space.put([account], 100_u64.to_le_bytes()).expect("put");
    }
    let (done, conflicts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let transfer = |rng: &mut Rng| {
        store.transaction(|tx| {
            let sum: u64 = tx
                .iter(&space)?
                .map(|pair| number(pair.expect("read").1))
                .sum();
            assert_eq!(sum % 100, 0, "one moment");
            let (from, to) = ([rng.index(6) as u8], [rng.index(6) as u8]);
            let have = number(tx.get(&space, from)?.expect("there"));
            if have > 0 && from != to {
                tx.put(&space, from, (have - 1).to_le_bytes())?;
                let there = number(tx.get(&space, to)?.expect("there"));
                tx.put(&space, to, (there + 1).to_le_bytes())?;
            }
            Ok(())
        })
    };
    thread::scope(|scope| {
        for stream in 0..2 {
            let (transfer, done, conflicts) = (&transfer, &done, &conflicts);
            scope.spawn(move || {
                let _set_at_end = SetAtEnd(done);
                let mut rng = Rng::quiet(seed(), stream);
                for _ in 0..rounds(150) {
                    match transfer(&mut rng) {
                        Ok(()) => {}
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                            conflicts.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut account = 0_u8;
            while !done.load(Ordering::SeqCst) {
                account = (account + 1) % 6;
                let Some(entry) = space.entry([account]).expect("read") else {
                    continue;
                };
                let more = (number(entry.value) + 100).to_le_bytes();
                let expected = peercask::Expected::Seq(entry.seq);
                let _may_be_refused = space
                    .put_if([account], more, expected, Write::new())
                    .expect("no error");
                thread::sleep(Duration::from_micros(50));
            }
        });
    });
    let sum: u64 = space
        .iter()
        .expect("ordered")
        .map(|e| number(e.expect("read").value))
        .sum();
    assert_eq!(sum % 100, 0);
}
