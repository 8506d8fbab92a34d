//! Merge loses nothing, revives nothing and leaves nothing dead behind: after partial merges, with
//! hints and manifests lost, broken off at every step, beside damage, and under a bound on space.

mod broken_off;
mod revive;
mod space;

use std::fs;
use std::sync::Arc;

use peercask::{ErrorKind, Keyspace, Merge, Seq, Store, Value, Write};

use crate::support::{
    Contents, Place, assert_same, contents, delete_hints, delete_manifests, find_bytes, hash,
    ordered, segments,
};

/// Closes, deletes what can be made again, opens, and expects the same.
#[track_caller]
fn reopens_the_same(place: &Place, store: Store, expected: &Contents) -> Store {
    type Lose = fn(&Place);
    let ways: [(&str, Lose); 4] = [
        ("as it was closed", |_| {}),
        ("without hints", |place| delete_hints(place.path())),
        ("without manifests", |place| delete_manifests(place.path())),
        ("without hints and manifests", |place| {
            delete_hints(place.path());
            delete_manifests(place.path());
        }),
    ];
    let mut store = store;
    for (what, lose) in ways {
        store.clone().close().expect("closed");
        lose(place);
        store = place.open();
        assert_same(&contents(&store), expected, &format!("reopened {what}"));
    }
    store
}

/// A full merge, after which no byte is dead.
#[track_caller]
fn merge_fully(store: &Store) {
    store.merge(Merge::Full).expect("merged");
    let stats = store.stats();
    assert_eq!(
        (stats.dead_bytes, stats.tombstone_bytes),
        (0, 0),
        "{stats:?}"
    );
}

fn fill(space: &Keyspace, keys: std::ops::Range<u32>, what: &str) {
    for key in keys {
        space
            .put(format!("key {key}"), format!("{what} {key}"))
            .expect("put");
    }
}

#[test]
fn a_full_merge_leaves_nothing_of_what_was_deleted_in_any_file() {
    for kind in [hash, ordered] {
        let place = Place::new();
        let store = place.open();
        let space = kind(&store, "things");
        fill(&space, 0..30, "before");
        space.put("SECRET-KEY-1", "SECRET-VALUE-1").expect("put");
        space.put("kept", "SECRET-VALUE-2").expect("put");
        let expires = Write::new().expires_at_ms(place.clock_ms() + 1_000);
        let commit = space
            .put_with("SECRET-KEY-3", "SECRET-VALUE-3", expires)
            .expect("put");
        commit.wait().expect("in the kernel");
        fill(&space, 30..60, "between");
        store.merge(Merge::Full).expect("merged");
        for secret in [
            "SECRET-KEY-1",
            "SECRET-VALUE-1",
            "SECRET-VALUE-2",
            "SECRET-KEY-3",
        ] {
            assert!(
                find_bytes(place.path(), secret.as_bytes()).is_some(),
                "{secret} is there yet"
            );
        }
        assert!(space.delete("SECRET-KEY-1").expect("deleted"));
        space.put("kept", "harmless").expect("put");
        place.clock.advance(std::time::Duration::from_secs(2));
        fill(&space, 50..70, "after");
        let expected = contents(&store);
        merge_fully(&store);
        assert_same(&contents(&store), &expected, "after the merge");
        for place_of in ["while open", "after close"] {
            let found = find_bytes(place.path(), b"SECRET");
            assert_eq!(found, None, "{place_of}: {:?}", find_context(&place));
            store.clone().close().expect("closed");
        }
        drop((space, reopens_the_same(&place, store, &expected)));
    }
}

/// What stands around the secret, for the message.
fn find_context(place: &Place) -> Option<String> {
    let name = find_bytes(place.path(), b"SECRET")?;
    let bytes = fs::read(place.file(&name)).ok()?;
    let at = bytes.windows(6).position(|window| window == b"SECRET")?;
    let part = bytes.get(at..(at + 20).min(bytes.len()))?;
    Some(format!("{name} at {at}: {}", part.escape_ascii()))
}

#[test]
fn a_full_merge_leaves_nothing_of_a_dropped_keyspace() {
    let place = Place::new();
    let store = place.open();
    fill(&ordered(&store, "kept"), 0..40, "kept");
    fill(&ordered(&store, "SECRET-SPACE"), 0..40, "SECRET-VALUE");
    store.merge(Merge::Full).expect("merged");
    fill(&ordered(&store, "SECRET-SPACE"), 20..60, "SECRET-AGAIN");
    assert!(store.drop_keyspace("SECRET-SPACE").expect("dropped"));
    let expected = contents(&store);
    assert_eq!(expected.len(), 40);
    merge_fully(&store);
    assert_eq!(
        find_bytes(place.path(), b"SECRET"),
        None,
        "{:?}",
        find_context(&place)
    );
    assert_eq!(store.stats().keys, 40);
    reopens_the_same(&place, store, &expected);
}

#[test]
fn a_full_merge_of_many_segments_leaves_no_dead_byte() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let mut rng = crate::support::Rng::new(0x3E26);
    for round in 0..60 {
        for key in 0..60 {
            if rng.below(4) == 0 {
                space.delete(format!("key {key}")).expect("deleted");
            } else {
                let value = vec![b'v'; rng.index(300)];
                space.put(format!("key {key}"), value).expect("put");
            }
        }
        if round == 10 {
            store.merge(Merge::Full).expect("merged");
        }
    }
    let expected = contents(&store);
    assert!(
        segments(place.path()).len() > 40,
        "{}",
        segments(place.path()).len()
    );
    merge_fully(&store);
    assert!(
        segments(place.path()).len() < 10,
        "{:?}",
        segments(place.path())
    );
    assert_same(&contents(&store), &expected, "after the merge");
    let report = store.verify(&mut |_| {}).expect("verified");
    assert!(report.is_clean(), "{:?}", report.damage);
    drop(space);
    reopens_the_same(&place, store, &expected);
}

#[test]
fn a_merge_of_nothing_does_nothing() {
    let place = Place::new();
    let store = place.open();
    for how in [Merge::Needed, Merge::Full] {
        assert_eq!(
            store.merge(how).expect("merged"),
            peercask::MergeReport::default()
        );
    }
    hash(&store, "things").put("key", "value").expect("put");
    store.merge(Merge::Needed).expect("merged");
    assert_eq!(contents(&store).len(), 1);
}

/// Seq and expiry.
type Fact = (Seq, Option<u64>);

#[test]
fn merge_keeps_seq_and_expiry_of_every_record() {
    let place = Place::new();
    let mut store = place.open();
    let now = store.now_ms();
    let space = hash(&store, "things");
    for key in 0..60_u32 {
        let write = match key % 3 {
            0 => Write::new(),
            1 => Write::new().expires_at_ms(now + 1_000_000 + u64::from(key)),
            _ => Write::new().expires_at_ms(now + 900_000_000_000),
        };
        space
            .put_with(key.to_le_bytes(), [7; 50], write)
            .expect("put")
            .wait()
            .expect("written");
    }
    for key in (0..60_u32).step_by(4) {
        space.delete(key.to_le_bytes()).expect("deleted");
    }
    drop(space);
    let facts = |store: &Store| -> Vec<(u32, Option<Fact>)> {
        let space = hash(store, "things");
        let fact = |key: u32| {
            let entry = space.entry(key.to_le_bytes()).expect("read");
            (key, entry.map(|entry| (entry.seq, entry.expires_at_ms)))
        };
        (0..60).map(fact).collect()
    };
    let before = facts(&store);
    assert!(before.iter().filter(|(_, fact)| fact.is_some()).count() == 45);
    for _ in 0..2 {
        merge_fully(&store);
        assert_eq!(facts(&store), before);
        let expected = contents(&store);
        store = reopens_the_same(&place, store, &expected);
        assert_eq!(facts(&store), before);
    }
    let next = hash(&store, "things")
        .put_with("next", "", Write::new())
        .expect("put")
        .seq();
    let highest = before
        .iter()
        .filter_map(|(_, fact)| fact.map(|(seq, _)| seq))
        .max();
    assert!(Some(next) > highest, "seqs go on above all that were given");
}

#[test]
fn members_of_a_batch_survive_the_merge_of_some_of_them() {
    let place = Place::new();
    let store = place.open();
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    for round in 0..30_u32 {
        let mut batch = store.batch();
        for member in 0..5_u32 {
            let key = format!("{round} {member}");
            batch.put(&flat, &key, format!("flat {key}"));
            batch.put(&sorted, &key, format!("sorted {key}"));
        }
        batch.commit().expect("committed");
        if round > 0 {
            flat.delete(format!("{} 2", round - 1)).expect("deleted");
            sorted
                .put(format!("{} 3", round - 1), "again")
                .expect("put");
        }
    }
    let expected = contents(&store);
    assert_eq!(expected.len(), 30 * 10 - 29);
    drop((flat, sorted));
    let store = reopens_the_same(&place, store, &expected);
    merge_fully(&store);
    assert_same(&contents(&store), &expected, "after the merge");
    reopens_the_same(&place, store, &expected);
}

#[test]
fn values_that_are_held_stay_readable_when_their_segments_are_gone() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "things");
    fill(&space, 0..100, "first");
    let held: Vec<Value> = (0..100)
        .map(|key| {
            space
                .get(format!("key {key}"))
                .expect("read")
                .expect("there")
        })
        .collect();
    let mut iter = space.iter().expect("ordered");
    let first = iter.next().expect("an entry").expect("read");
    let mut walk = hash(&store, "flat").walk();
    let before = segments(place.path());
    fill(&space, 0..50, "second");
    merge_fully(&store);
    let after = segments(place.path());
    assert!(
        before.iter().all(|name| !after.contains(name)),
        "{before:?} {after:?}"
    );
    for (key, value) in held.iter().enumerate() {
        assert_eq!(*value, format!("first {key}").as_bytes());
    }
    assert_eq!(first.key, b"key 0");
    let rest: Vec<peercask::Entry> = iter.map(|entry| entry.expect("read")).collect();
    assert_eq!(rest.len(), 99, "an iterator goes on, too");
    assert!(walk.next().is_none());
    drop((space, walk, store));
    for (key, value) in held.iter().enumerate() {
        assert_eq!(
            *value,
            format!("first {key}").as_bytes(),
            "the store is closed"
        );
    }
}

#[test]
fn progress_rises_to_the_total() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    fill(&space, 0..500, &"long value ".repeat(10));
    let mut told = Vec::new();
    store
        .merge_with(Merge::Full, &mut |progress| told.push(progress))
        .expect("merged");
    assert!(told.len() > 1, "{told:?}");
    assert!(
        told.windows(2)
            .all(|pair| pair[0].done_bytes < pair[1].done_bytes),
        "{told:?}"
    );
    let last = told.last().expect("told");
    assert_eq!(last.done_bytes, last.total_bytes);
}

// ---- beside damage

/// A closed store of three segments, of which the first has a live value that is damaged: the
/// value of `key 5`.
fn damaged() -> (Place, String) {
    let place = Place::new();
    for (round, name) in ["first", "second", "third"].into_iter().enumerate() {
        let store = place.open();
        let from = u32::try_from(round).expect("small") * 20;
        fill(&hash(&store, "things"), from..from + 20, name);
        store.close().expect("closed");
    }
    let name = segments(place.path()).remove(0);
    let mut bytes = fs::read(place.file(&name)).expect("read");
    let at = bytes
        .windows(7)
        .position(|window| window == b"first 5")
        .expect("it is there");
    bytes[at] ^= 0x40;
    fs::write(place.file(&name), bytes).expect("written");
    (place, name)
}

#[test]
fn a_segment_with_a_damaged_live_record_is_left_alone_and_counted() {
    let (place, name) = damaged();
    let store = place.open();
    let space = hash(&store, "things");
    fill(&space, 10..15, "newer");
    let before = fs::read(place.file(&name)).expect("read");
    for how in [Merge::Needed, Merge::Full, Merge::Full] {
        let report = store.merge(how).expect("the others are merged");
        if how == Merge::Full {
            assert_eq!(report.segments_damaged, 1, "{report:?}");
        }
        assert_eq!(fs::read(place.file(&name)).expect("still there"), before);
        let error = space.get("key 5").expect_err("it cannot be read");
        assert_eq!(
            (error.kind(), error.file()),
            (ErrorKind::Corrupted, Some(name.as_str()))
        );
        for key in (0..60).filter(|key| *key != 5) {
            let value = space
                .get(format!("key {key}"))
                .expect("read")
                .expect("there");
            let round = match key {
                10..15 => "newer",
                0..20 => "first",
                20..40 => "second",
                _ => "third",
            };
            assert_eq!(value, format!("{round} {key}").as_bytes());
        }
    }
    let report = store.verify(&mut |_| {}).expect("verified");
    assert!(
        report.damage.iter().all(|damage| damage.file == name),
        "{:?}",
        report.damage
    );
    assert!(
        report
            .damage
            .iter()
            .any(|damage| damage.key.as_deref() == Some(b"key 5"))
    );
}

#[test]
fn a_tombstone_stays_while_a_damaged_segment_may_hold_what_it_hides() {
    let (place, name) = damaged();
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..20 {
        if key != 5 {
            assert!(space.delete(format!("key {key}")).expect("deleted"));
        }
    }
    store.merge(Merge::Full).expect("merged");
    store.merge(Merge::Full).expect("merged");
    assert!(place.file(&name).exists(), "it is left alone");
    drop(space);
    store.close().expect("closed");
    for lose in [delete_hints, delete_manifests, delete_hints] {
        lose(place.path());
        let store = place.open();
        let space = hash(&store, "things");
        for key in (0..20).filter(|key| *key != 5) {
            assert_eq!(
                space.get(format!("key {key}")).expect("read"),
                None,
                "key {key}"
            );
        }
        store.merge(Merge::Full).expect("merged");
    }
}

#[test]
fn once_the_damaged_key_is_written_again_its_segment_is_merged() {
    let (place, name) = damaged();
    let store = place.open();
    let space = hash(&store, "things");
    store.merge(Merge::Full).expect("merged");
    assert!(place.file(&name).exists(), "it is left alone");
    space.put("key 5", "healed").expect("put");
    drop(space);
    store.close().expect("closed");
    let store = place.open();
    merge_fully(&store);
    assert!(
        !place.file(&name).exists(),
        "nothing live is damaged in it any more"
    );
    assert_eq!(contents(&store).len(), 60);
    let report = store.verify(&mut |_| {}).expect("verified");
    assert!(report.is_clean(), "{:?}", report.damage);
}

impl Place {
    fn clock_ms(&self) -> u64 {
        let clock: Arc<peercask::ManualClock> = self.clock.clone();
        peercask::Clock::wall_ms(&*clock)
    }
}
