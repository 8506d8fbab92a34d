//! What was deleted, replaced or has expired stays so when only some segments are merged and an
//! older version stands outside, whatever is lost of hints and manifests afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use peercask::{Durability, Keyspace, Merge, Options, Store, Write};

use super::{fill, merge_fully, reopens_the_same};
use crate::support::{
    Contents, Place, Rng, assert_same, contents, delete_hints, delete_manifests, find_bytes, hash,
    ordered, rounds, segments,
};

/// Three closed segments. The first holds old versions among records that stay live; the second
/// newer ones and a tombstone among records that the third replaces.
fn layered(make: fn(&Store, &str) -> Keyspace) -> Place {
    let place = Place::new();
    let store = place.open();
    let space = make(&store, "things");
    space.put("deleted", "OLD-VERSION-1").expect("put");
    space.put("replaced", "OLD-VERSION-2").expect("put");
    space.put("shortened", "OLD-VERSION-3").expect("put");
    fill(&space, 0..20, "stays");
    drop(space);
    store.close().expect("closed");

    let store = place.open();
    let space = make(&store, "things");
    assert!(space.delete("deleted").expect("deleted"));
    space.put("replaced", "new").expect("put");
    let short = Write::new().ttl(Duration::from_secs(60));
    space
        .put_with("shortened", "new", short)
        .expect("put")
        .wait()
        .expect("written");
    fill(&space, 100..120, "goes");
    drop(space);
    store.close().expect("closed");

    let store = place.open();
    fill(&make(&store, "things"), 100..120, "new");
    store.close().expect("closed");
    assert_eq!(segments(place.path()).len(), 3);
    place
}

#[test]
fn a_partial_merge_with_an_older_version_outside_revives_nothing() {
    for make in [hash, ordered] {
        let place = layered(make);
        place.clock.advance(Duration::from_secs(61));
        let store = place.open();
        let expected = contents(&store);
        assert_eq!(expected.len(), 41);

        let first = segments(place.path()).remove(0);
        let report = store.merge(Merge::Needed).expect("merged");
        assert!(
            report.segments_in >= 1 && place.file(&first).exists(),
            "partial: {report:?}"
        );
        assert!(
            report.tombstones_kept >= 1,
            "what hides an older version stays: {report:?}"
        );
        assert!(
            find_bytes(place.path(), b"OLD-VERSION-1").is_some(),
            "the danger is there"
        );
        assert_same(&contents(&store), &expected, "after the partial merge");
        let store = reopens_the_same(&place, store, &expected);

        merge_fully(&store);
        assert_eq!(find_bytes(place.path(), b"OLD-VERSION"), None);
        assert_same(&contents(&store), &expected, "after the full merge");
        reopens_the_same(&place, store, &expected);
    }
}

/// The tombstone's segment merged again and again, the old version's never.
#[test]
fn a_tombstone_outlives_any_number_of_merges_that_leave_the_old_version_out() {
    let place = layered(hash);
    for round in 0..5_u32 {
        let store = place.open();
        let space = hash(&store, "things");
        fill(&space, 100..120, &format!("round {round}"));
        drop(space);
        store.close().expect("closed");
        let store = place.open();
        let first = segments(place.path()).remove(0);
        store.merge(Merge::Needed).expect("merged");
        assert!(place.file(&first).exists());
        let expected = contents(&store);
        assert!(!expected.contains_key(&("things".to_owned(), b"deleted".to_vec())));
        let store = reopens_the_same(&place, store, &expected);
        assert_eq!(hash(&store, "things").get("deleted").expect("read"), None);
        assert_eq!(
            hash(&store, "things")
                .get("replaced")
                .expect("read")
                .expect("there"),
            b"new"
        );
    }
}

/// All orders of four.
fn orders() -> Vec<[u32; 4]> {
    let all = (0..256_u32).map(|n| [n / 64, n / 16 % 4, n / 4 % 4, n % 4]);
    all.filter(|order| (0..4).all(|segment| order.contains(&segment)))
        .collect()
}

/// Deleted, written again, deleted again, each in a segment of its own, merged in all orders that
/// the order of dying gives; after each merge the process is killed.
#[test]
fn alternating_puts_and_deletes_end_as_they_ended_in_every_order_of_merges() {
    assert_eq!(orders().len(), 24);
    // Which of four segments lose their other records, one after the other.
    for order in orders() {
        for ends_deleted in [false, true] {
            let mut place = Place::new();
            for segment in 0..4_u32 {
                let store = place.open();
                let space = hash(&store, "things");
                fill(&space, segment * 100..segment * 100 + 10, "filler");
                let delete = (segment % 2 == 1) == ends_deleted;
                if delete {
                    space.delete("key").expect("deleted");
                } else {
                    space.put("key", format!("version {segment}")).expect("put");
                }
                drop(space);
                store.close().expect("closed");
            }
            let mut merged = 0;
            for (turn, segment) in order.into_iter().enumerate() {
                let store = place.open();
                let space = hash(&store, "things");
                fill(
                    &space,
                    segment * 100..segment * 100 + 10,
                    &format!("turn {turn}"),
                );
                drop(space);
                store.close().expect("closed");
                let store = place.open();
                let space = hash(&store, "things");
                merged += store.merge(Merge::Needed).expect("merged").segments_in;
                let value = space.get("key").expect("read");
                let expected = (!ends_deleted).then_some(&b"version 3"[..]);
                assert_eq!(value.as_deref(), expected, "{order:?} turn {turn}");
                let expected = contents(&store);
                let copy = Place::copy_of(place.path());
                drop((value, space, store));
                place = copy;
                let what = format!("{order:?} turn {turn}: after the kill");
                assert_same(&contents(&place.open()), &expected, &what);
            }
            assert!(merged >= 4, "{order:?}: {merged} segments merged");
        }
    }
}

// ---- by chance

/// Keyspace and key to value and expiry.
type Model = BTreeMap<(String, Vec<u8>), (Vec<u8>, Option<u64>)>;

/// Random writes, merges and losses against a map.
struct Chance {
    place: Place,
    rng: Rng,
    model: Model,
    count: u32,
}

impl Chance {
    fn options(&mut self) -> Options {
        let share = [0.05, 0.3, 0.5, 0.9][self.rng.index(4)];
        let amplification = [1.05, 1.35, 4.0][self.rng.index(3)];
        let options = self.place.options().merge_dead_share(share);
        options.merge_space_amplification(amplification)
    }

    fn write(&mut self, store: &Store) {
        let spaces = [hash(store, "flat"), ordered(store, "sorted")];
        for _ in 0..self.rng.below(60) {
            let space = &spaces[self.rng.index(2)];
            let key = format!("key {}", self.rng.below(25)).into_bytes();
            let place = (space.name().to_owned(), key.clone());
            self.count += 1;
            match self.rng.below(10) {
                0..3 => {
                    space.delete(&key).expect("deleted");
                    self.model.remove(&place);
                }
                kind => {
                    let value =
                        vec![b'a' + u8::try_from(kind).expect("small"); self.rng.index(250)];
                    let value = [self.count.to_le_bytes().to_vec(), value].concat();
                    let seconds = [20, 200, 5_000][self.rng.index(3)];
                    let expires = (kind > 6).then(|| store.now_ms() + seconds * 1_000);
                    let write = match expires {
                        Some(at) => Write::new().expires_at_ms(at),
                        None => Write::new(),
                    };
                    let write = write.durability(Durability::Buffered);
                    space
                        .put_with(&key, &value, write)
                        .expect("put")
                        .wait()
                        .expect("waited");
                    self.model.insert(place, (value, expires));
                }
            }
        }
    }

    fn expected(&self, store: &Store) -> Contents {
        let now = store.now_ms();
        let live = self
            .model
            .iter()
            .filter(|(_, (_, expires))| expires.is_none_or(|at| at > now));
        live.map(|(place, (value, _))| (place.clone(), value.clone()))
            .collect()
    }

    fn life(&mut self, what: &str) {
        let options = self.options();
        let store = self.place.open_with(options);
        assert_same(
            &contents(&store),
            &self.expected(&store),
            &format!("{what}: opened"),
        );
        for _ in 0..self.rng.below(3) {
            self.write(&store);
            self.place
                .clock
                .advance(Duration::from_secs(self.rng.below(40)));
            if self.rng.below(2) == 0 {
                store.merge(Merge::Needed).expect("merged");
            }
            if self.rng.below(12) == 0 {
                merge_fully(&store);
            }
            assert_same(
                &contents(&store),
                &self.expected(&store),
                &format!("{what}: open"),
            );
        }
        store.close().expect("closed");
        if self.rng.below(3) == 0 {
            delete_hints(self.place.path());
        }
        if self.rng.below(4) == 0 {
            delete_manifests(self.place.path());
        }
    }
}

#[test]
fn random_partial_merges_with_hints_and_manifests_lost_revive_and_lose_nothing() {
    for round in 0..rounds(12) {
        let mut chance = Chance {
            place: Place::new(),
            rng: Rng::new(0x9E71 + round),
            model: Model::new(),
            count: 0,
        };
        for life in 0..40 {
            chance.life(&format!("round {round} life {life}"));
        }
    }
}
