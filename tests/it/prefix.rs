//! Deleting by prefix: all keys that start with it and no other, together, at any size; whole or
//! not at all after a kill, and in snapshots.
#![expect(
    clippy::cast_possible_truncation,
    reason = "counts of a test are small"
)]

use std::thread;
use std::time::Duration;

use peercask::{Durability, ErrorKind, EventKind, Merge, Seq, Watch, WatchOptions, Write};

use crate::history::records;
use crate::support::{
    Contents, Image, Place, SMALL_SEGMENT, assert_same, contents, delete_hints, delete_manifests,
    hash, ordered, refused, rounds, write_image,
};

#[test]
fn all_keys_with_the_prefix_go_and_no_other() {
    let place = Place::new();
    let store = place.open();
    let (space, other) = (ordered(&store, "sorted"), ordered(&store, "other"));
    let keys: [&[u8]; 9] = [
        b"",
        b"a",
        b"a/",
        b"a/1",
        b"a/\xFF",
        b"a0",
        b"b",
        b"\xFF",
        b"\xFF\xFF",
    ];
    let cases: [(&[u8], usize); 6] = [
        (b"a/", 3),
        (b"a", 5),
        (b"c", 0),
        (b"\xFF", 2),
        (b"\xFF\xFF\xFF", 0),
        (b"", 9),
    ];
    for (prefix, removed) in cases {
        for key in keys {
            space.put(key, "value").expect("put");
            other.put(key, "value").expect("put");
        }
        assert_eq!(
            space.delete_prefix(prefix).expect("deleted"),
            removed as u64
        );
        let left: Vec<_> = space
            .iter()
            .expect("ordered")
            .map(|entry| entry.expect("read").key.to_vec())
            .collect();
        let wanted = keys.iter().filter(|key| !key.starts_with(prefix));
        assert!(
            left.iter().map(Vec::as_slice).eq(wanted.copied()),
            "{prefix:?}"
        );
        assert_eq!(other.iter().expect("ordered").count(), 9);
    }
    let before = store.stats();
    assert_eq!(space.delete_prefix("a").expect("deleted"), 0);
    assert_eq!(
        store.stats().written_bytes,
        before.written_bytes,
        "nothing to write"
    );
}

#[test]
fn what_was_deleted_stays_deleted_through_merges_and_reopens() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for n in 0..900_u32 {
        space
            .put(format!("{}/{n:04}", n % 3), vec![7; 40])
            .expect("put");
    }
    // More tombstones than a segment has room for.
    assert_eq!(space.delete_prefix("1/").expect("deleted"), 300);
    space.put("1/0001", "anew").expect("put");
    let expected = contents(&store);
    assert_eq!(expected.len(), 601);
    let copy = Place::copy_of(place.path());
    delete_hints(copy.path());
    assert_same(
        &contents(&copy.open()),
        &expected,
        "as after a kill, without hints",
    );
    store.merge(Merge::Needed).expect("merged");
    assert_same(&contents(&store), &expected, "merged");
    store.merge(Merge::Full).expect("merged");
    let stats = store.stats();
    assert_eq!((stats.dead_bytes, stats.tombstone_bytes), (0, 0));
    drop(space);
    store.close().expect("closed");
    assert_same(&contents(&place.open()), &expected, "reopened");
}

#[test]
fn a_copy_taken_at_any_moment_has_all_or_none() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for round in 0..rounds(12) {
        for n in 0..50 + round * 10 {
            space.put(format!("p{n:04}"), [1; 30]).expect("put");
        }
        let whole = contents(&store).len();
        let before = Place::copy_of(place.path());
        let durability = [Durability::Buffered, Durability::Kernel][(round % 2) as usize];
        let (removed, _commit) = space.delete_prefix_with("p", durability).expect("deleted");
        assert_eq!(removed as usize, whole);
        let after = Place::copy_of(place.path());
        assert_eq!(contents(&before.open()).len(), whole);
        let left = contents(&after.open()).len();
        assert!(
            left == 0 || (left == whole && durability == Durability::Buffered),
            "{left}"
        );
    }
}

#[test]
fn snapshots_see_all_or_nothing_of_it_and_transactions_notice_it() {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(SMALL_SEGMENT * 16));
    let space = ordered(&store, "sorted");
    let fill = || {
        let mut batch = store.batch();
        for n in 0..80_u8 {
            batch.put(&space, [b'p', n], [n; 20]);
        }
        drop(batch.commit_with(Durability::Buffered).expect("committed"));
    };
    fill();
    let snapshot = store.snapshot().expect("open");
    let mut tx = store.begin().expect("its turn");
    tx.get(&space, [b'p', 7]).expect("read");
    tx.put(&space, "other", "mine").expect("put");
    assert_eq!(space.delete_prefix("p").expect("deleted"), 80);
    refused(tx.commit(), ErrorKind::Conflict, &["touched key"]);
    assert_eq!(snapshot.prefix(&space, "p").expect("ordered").count(), 80);
    drop(snapshot);
    let turns = rounds(60);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..turns {
                fill();
                let how = Durability::Buffered;
                drop(space.delete_prefix_with("p", how).expect("deleted"));
            }
        });
        while !writer.is_finished() {
            let snapshot = store.snapshot().expect("open");
            let count = snapshot.prefix(&space, "p").expect("ordered").rev().count();
            assert!(count == 0 || count == 80, "{count} of 80");
        }
    });
}

#[test]
fn expired_keys_are_not_counted_and_do_not_come_back() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    let second = Write::new().ttl(Duration::from_secs(1));
    drop(space.put_with("p1", "short", second).expect("put"));
    space.put("p2", "long").expect("put");
    place.clock.advance(Duration::from_secs(2));
    assert_eq!(space.delete_prefix("p").expect("deleted"), 1);
    place.clock.step_wall_ms(-3_600_000);
    assert_eq!(contents(&store).len(), 0);
}

#[test]
fn wrong_uses_are_refused_with_a_reason() {
    let place = Place::new();
    let store = place.open();
    let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
    refused(
        flat.delete_prefix("p"),
        ErrorKind::InvalidArgument,
        &["needs an ordered keyspace"],
    );
    store.drop_keyspace("sorted").expect("dropped");
    refused(
        sorted.delete_prefix("p"),
        ErrorKind::NotFound,
        &["'sorted' was dropped"],
    );
    store.close().expect("closed");
    refused(flat.delete_prefix("p"), ErrorKind::Closed, &[]);
}

// ---- more than a segment holds

/// A store from before and after a deletion that takes several segments, and the names of these.
struct Spread {
    before: Image,
    after: Image,
    parts: Vec<String>,
    all: Contents,
    left: Contents,
}

fn spread() -> Spread {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for n in 0..250_u32 {
        space.put(format!("p/{n:030}"), "value").expect("put");
    }
    space.put("other", "stays").expect("put");
    let (before, all) = (place.image(), contents(&store));
    assert_eq!(space.delete_prefix("p/").expect("deleted"), 250);
    let (after, left) = (place.image(), contents(&store));
    let is_new = |name: &String| name.starts_with("seg-") && !before.contains_key(name);
    let parts: Vec<String> = after.keys().filter(|name| is_new(name)).cloned().collect();
    assert!(parts.len() >= 3, "{parts:?}");
    assert_eq!(left.len(), 1);
    Spread {
        before,
        after,
        parts,
        all,
        left,
    }
}

impl Spread {
    /// What a kill leaves when so many parts were written, and so many bytes of the next.
    fn cut(&self, whole: usize, bytes: usize) -> Image {
        let mut image = self.before.clone();
        for (at, name) in self.parts.iter().enumerate().take(whole + 1) {
            let part = &self.after[name];
            let len = if at < whole {
                part.len()
            } else {
                bytes.min(part.len())
            };
            image.insert(name.clone(), part[..len].to_vec());
        }
        image
    }
}

fn opened(image: &Image) -> (Contents, Place) {
    let place = Place::new();
    write_image(place.path(), image);
    let found = contents(&place.open());
    (found, place)
}

#[test]
fn its_members_count_down_over_the_segments_that_they_lie_in() {
    let spread = spread();
    let place = Place::new();
    write_image(place.path(), &spread.after);
    let mut due = 250_u32;
    let mut in_parts = Vec::new();
    for name in &spread.parts {
        let found = records(place.path(), name);
        assert!(!found.is_empty());
        assert!(spread.after[name].len() as u64 <= 2 * SMALL_SEGMENT);
        for record in &found {
            due -= 1;
            assert_eq!(record.batch_follow, due, "{name}");
        }
        in_parts.push(found.len());
    }
    assert_eq!(due, 0, "{in_parts:?}");
}

#[test]
fn a_kill_at_any_byte_of_it_leaves_all_or_none() {
    let spread = spread();
    for (whole, name) in spread.parts.iter().enumerate() {
        let len = spread.after[name].len();
        let is_last = whole + 1 == spread.parts.len();
        let step = if rounds(1) > 1 { 1 } else { 97 };
        for bytes in (0..=len).step_by(step).chain([len - 1]) {
            let (found, place) = opened(&spread.cut(whole, bytes));
            let none = !is_last || found.len() > 1;
            let expected = if none { &spread.all } else { &spread.left };
            assert_same(&found, expected, &format!("{bytes} bytes of part {whole}"));
            // What was cut does not come back with what is written next.
            let store = place.open();
            ordered(&store, "sorted")
                .put("p/anew", "value")
                .expect("put");
            let told = contents(&store);
            drop(store);
            assert_same(&contents(&place.open()), &told, "written on");
        }
    }
    let (found, _) = opened(&spread.after);
    assert_same(&found, &spread.left, "all of it");
}

#[test]
fn without_one_of_its_parts_nothing_of_it_counts() {
    let spread = spread();
    for lost in &spread.parts {
        let mut image = spread.after.clone();
        image.remove(lost);
        let (found, _) = opened(&image);
        assert_same(&found, &spread.all, lost);
    }
}

#[test]
fn a_reader_beside_the_writer_sees_it_when_all_of_it_is_there() {
    let spread = spread();
    let place = Place::new();
    write_image(place.path(), &spread.before);
    let reader = peercask::Store::open_read_only(place.path(), place.options());
    let reader = reader.expect("it opens for reading");
    for (whole, name) in spread.parts.iter().enumerate() {
        let len = spread.after[name].len();
        for bytes in [100, 160, 500, len - 1] {
            write_image(place.path(), &spread.cut(whole, bytes));
            reader.refresh().expect("refreshed");
            if whole + 1 < spread.parts.len() {
                assert_same(&contents(&reader), &spread.all, "a part");
            }
        }
    }
    write_image(place.path(), &spread.after);
    reader.refresh().expect("refreshed");
    assert_same(&contents(&reader), &spread.left, "all of it");
    let fresh = peercask::Store::open_read_only(place.path(), place.options());
    assert_same(&contents(&fresh.expect("it opens")), &spread.left, "opened");
}

#[test]
fn it_stays_deleted_through_syncs_merges_checkpoints_and_lost_manifests() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for round in 0..3_u32 {
        for n in 0..250_u32 {
            space.put(format!("p/{n:030}"), vec![7; 20]).expect("put");
        }
        space.put(format!("stays {round}"), "value").expect("put");
        let snapshot = store.snapshot().expect("open");
        assert_eq!(space.delete_prefix("p/").expect("deleted"), 250);
        assert_eq!(snapshot.prefix(&space, "p/").expect("ordered").count(), 250);
        drop(snapshot);
        store.sync().expect("synced");
        store.merge(Merge::Needed).expect("merged");
        assert_eq!(contents(&store).len() as u32, round + 1);
        assert_eq!(
            contents(&Place::copy_of(place.path()).open()).len() as u32,
            round + 1
        );
    }
    let expected = contents(&store);
    let copy = Place::new();
    store.checkpoint_to(copy.file("copy")).expect("copied");
    let kept = Place::copy_of(&copy.file("copy"));
    assert_same(&contents(&kept.open()), &expected, "a checkpoint");
    let lost = Place::copy_of(place.path());
    delete_manifests(lost.path());
    delete_hints(lost.path());
    assert_eq!(
        contents(&lost.open()).len(),
        expected.len(),
        "manifests lost"
    );
    store.merge(Merge::Full).expect("merged");
    assert_same(&contents(&store), &expected, "merged");
    assert_eq!(store.stats().tombstone_bytes, 0);
}

#[test]
fn watchers_and_transactions_are_told_of_each_key() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for n in 0..250_u32 {
        space.put(format!("p/{n:030}"), "value").expect("put");
    }
    let options = WatchOptions::prefix("p/").capacity(1_000);
    let mut watch = space.watch(options).expect("watched");
    let before = Seq(store.stats().last_seq);
    let mut tx = store.begin().expect("its turn");
    tx.put(&space, format!("p/{:030}", 249), "mine")
        .expect("put");
    assert_eq!(space.delete_prefix("p/").expect("deleted"), 250);
    refused(tx.commit(), ErrorKind::Conflict, &["touched key"]);
    let told = |watch: &mut Watch| {
        let mut keys = Vec::new();
        while let Some(notice) = watch.try_recv().expect("no end") {
            let event = notice.event().expect("no lag");
            assert_eq!(event.kind(), EventKind::Delete);
            keys.push((event.seq(), event.key().to_vec()));
        }
        keys
    };
    let live = told(&mut watch);
    assert_eq!(live.len(), 250);
    assert!(
        live.iter()
            .zip(1..)
            .all(|((seq, _), n)| seq.0 == before.0 + n)
    );
    watch.resume_after(before).expect("it is in the log");
    assert_eq!(told(&mut watch), live, "the same from the log");
}

#[test]
fn without_room_for_all_of_it_nothing_is_deleted_and_nothing_is_left_behind() {
    let place = Place::new();
    let options = || place.options().space_cap(Some(160 << 10));
    let store = place.open_with(options());
    let space = ordered(&store, "sorted");
    for n in 0..48_u32 {
        space.put(format!("p/{n:0>1000}"), "").expect("put");
    }
    let (all, used) = (contents(&store), store.stats().disk_bytes);
    refused(
        space.delete_prefix("p/"),
        ErrorKind::StorageFull,
        &["of its cap"],
    );
    assert_same(&contents(&store), &all, "nothing is deleted");
    // But the footer of the segment that was active.
    assert!(store.stats().disk_bytes < used + 1_000);
    space.put("after", "value").expect("put");
    let told = contents(&store);
    assert_same(
        &contents(&Place::copy_of(place.path()).open_with(options())),
        &told,
        "as killed",
    );
    // A shorter stretch at a time goes.
    for n in 0..48_u32 {
        if n % 8 == 0 {
            store.merge(Merge::Full).expect("merged");
        }
        assert_eq!(
            space
                .delete_prefix(format!("p/{n:0>1000}"))
                .expect("deleted"),
            1
        );
    }
    assert_eq!(contents(&store).len(), 1);
}
