//! Ordered keyspaces against a sorted map: ranges and prefixes with any bounds, from both ends,
//! while writes and merges go on.

use std::collections::BTreeMap;
use std::ops::Bound;

use peercask::{Entry, IndexKind, Keyspace, Merge, Result, Store};

use crate::support::{Place, Rng, hash, ordered, rounds};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Keys that share prefixes, with bytes at both ends of their range among them.
fn random_key(rng: &mut Rng) -> Vec<u8> {
    const BYTES: [u8; 6] = [0, 1, b'a', b'b', 0xFE, 0xFF];
    (0..rng.below(5))
        .map(|_| BYTES[rng.index(BYTES.len())])
        .collect()
}

fn random_bounds(rng: &mut Rng) -> Bounds {
    let mut bound = || match rng.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(random_key(rng)),
        _ => Bound::Excluded(random_key(rng)),
    };
    (bound(), bound())
}

/// A map panics where the bounds cross; a store answers with nothing.
fn within(bounds: &Bounds, key: &[u8]) -> bool {
    let after = match &bounds.0 {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
    };
    after
        && match &bounds.1 {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
        }
}

/// Keys that sort as their numbers do.
fn by_number(number: u32) -> String {
    format!("{number:06}")
}

fn pair(entry: Result<Entry>) -> (Vec<u8>, Vec<u8>) {
    let entry = entry.expect("readable");
    (entry.key.to_vec(), entry.value.to_vec())
}

fn random_write(rng: &mut Rng, space: &Keyspace, model: &mut Map) {
    let key = random_key(rng);
    if rng.below(4) == 0 {
        let existed = space.delete(&key).expect("deleted");
        assert_eq!(existed, model.remove(&key).is_some());
    } else {
        let value = rng.bytes(8);
        space.put(&key, &value).expect("put");
        model.insert(key, value);
    }
}

fn range_agrees(rng: &mut Rng, space: &Keyspace, model: &Map) {
    let bounds = random_bounds(rng);
    let inside = |(key, _): &(&Vec<u8>, &Vec<u8>)| within(&bounds, key);
    let expected: Vec<(Vec<u8>, Vec<u8>)> = model
        .iter()
        .filter(inside)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let range = || space.range::<Vec<u8>, _>(bounds.clone()).expect("ordered");
    assert_eq!(
        range().map(pair).collect::<Vec<_>>(),
        expected,
        "{bounds:?}"
    );
    let mut back: Vec<_> = range().rev().map(pair).collect();
    back.reverse();
    assert_eq!(back, expected, "{bounds:?} from the back");
    let counted = space.count::<Vec<u8>, _>(bounds.clone()).expect("counted");
    assert_eq!(
        usize::try_from(counted).expect("small"),
        expected.len(),
        "{bounds:?}"
    );

    // Both ends by turns: each entry once, wherever they meet.
    let mut iter = range();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let from_back = rng.below(2) == 0;
        let next = if from_back {
            iter.next_back()
        } else {
            iter.next()
        };
        let Some(entry) = next else { break };
        if from_back {
            back.push(pair(entry))
        } else {
            front.push(pair(entry))
        }
    }
    assert!(
        iter.next().is_none() && iter.next_back().is_none(),
        "an end is an end"
    );
    front.extend(back.into_iter().rev());
    assert_eq!(front, expected, "{bounds:?} from both ends");
}

fn prefix_agrees(rng: &mut Rng, space: &Keyspace, model: &Map) {
    let prefix = random_key(rng);
    let expected: Vec<_> = model
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let found: Vec<_> = space.prefix(&prefix).expect("ordered").map(pair).collect();
    assert_eq!(found, expected, "prefix {prefix:?}");
    let last = space
        .prefix(&prefix)
        .expect("ordered")
        .next_back()
        .map(pair);
    assert_eq!(
        last.as_ref(),
        expected.last(),
        "the last with prefix {prefix:?}"
    );
}

fn ends_agree(space: &Keyspace, model: &Map) {
    let ends = [space.first().expect("read"), space.last().expect("read")];
    let expected = [model.first_key_value(), model.last_key_value()];
    for (entry, expected) in ends.into_iter().zip(expected) {
        let found = entry.map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.clone(), value.clone()))
        );
    }
}

#[test]
fn ranges_prefixes_ends_and_counts_agree_with_a_sorted_map() {
    let place = Place::new();
    let mut rng = Rng::new(0x04D3);
    let mut model = Map::new();
    let mut store: Store = place.open();
    let mut space = ordered(&store, "sorted");
    ends_agree(&space, &model);
    for round in 0..rounds(60) {
        for _ in 0..rng.below(40) {
            random_write(&mut rng, &space, &mut model);
        }
        for _ in 0..8 {
            range_agrees(&mut rng, &space, &model);
            prefix_agrees(&mut rng, &space, &model);
        }
        ends_agree(&space, &model);
        match round % 6 {
            2 => drop(store.merge(Merge::Full).expect("merged")),
            4 => drop(store.merge(Merge::Needed).expect("merged")),
            5 => {
                drop(space);
                store.close().expect("closed");
                if round % 12 == 5 {
                    crate::support::delete_hints(place.path());
                }
                store = place.open();
                space = ordered(&store, "sorted");
            }
            _ => {}
        }
    }
    assert!(model.len() > 100, "{}", model.len());
}

#[test]
fn bounds_that_cross_or_touch_give_nothing_and_do_not_panic() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for key in ["a", "b", "c"] {
        space.put(key, key).expect("put");
    }
    let count = |bounds: (Bound<&str>, Bound<&str>)| {
        let counted = space.count::<&str, _>(bounds).expect("counted");
        let iterated = space.range::<&str, _>(bounds).expect("ordered").count();
        let back = space
            .range::<&str, _>(bounds)
            .expect("ordered")
            .rev()
            .count();
        assert_eq!(
            (iterated, back),
            (usize::try_from(counted).expect("small"), iterated)
        );
        iterated
    };
    assert_eq!(count((Bound::Included("c"), Bound::Included("a"))), 0);
    assert_eq!(count((Bound::Excluded("b"), Bound::Excluded("b"))), 0);
    assert_eq!(count((Bound::Included("b"), Bound::Excluded("b"))), 0);
    assert_eq!(count((Bound::Excluded("b"), Bound::Included("b"))), 0);
    assert_eq!(count((Bound::Included("b"), Bound::Included("b"))), 1);
    assert_eq!(count((Bound::Excluded("a"), Bound::Excluded("b"))), 0);
    assert_eq!(count((Bound::Unbounded, Bound::Unbounded)), 3);
    assert_eq!(space.prefix("").expect("ordered").count(), 3);
}

#[test]
fn many_keys_come_in_order_from_both_ends_and_meet_in_the_middle() {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(1 << 20));
    let space = ordered(&store, "sorted");
    let mut batch = store.batch();
    for key in 0..2_000_u32 {
        batch.put(&space, by_number(key), key.to_le_bytes());
    }
    batch.commit().expect("committed");
    for (front_steps, back_steps) in [(1, 1), (3, 1), (1, 7), (200, 1), (127, 129), (128, 128)] {
        let mut iter = space.iter().expect("ordered");
        let (mut low, mut high) = (0_u32, 2_000_u32);
        'all: loop {
            for _ in 0..front_steps {
                let Some(entry) = iter.next() else { break 'all };
                assert_eq!(pair(entry).0, by_number(low).as_bytes());
                low += 1;
            }
            for _ in 0..back_steps {
                let Some(entry) = iter.next_back() else {
                    break 'all;
                };
                high -= 1;
                assert_eq!(pair(entry).0, by_number(high).as_bytes());
            }
        }
        assert_eq!(low, high, "they meet, {front_steps} to {back_steps}");
    }
}

/// Keys that nobody touches are met exactly once and in order, whatever goes on beside them.
#[test]
fn an_iteration_goes_on_through_writes_and_merges() {
    let place = Place::new();
    let store = place.open();
    let mut rng = Rng::new(0x17E4);
    for space in [ordered(&store, "sorted"), hash(&store, "flat")] {
        for key in 0..600_u32 {
            space.put(by_number(key), [1; 20]).expect("put");
        }
        let is_still = |key: &[u8]| key[5].is_multiple_of(2);
        let mut met = Vec::new();
        let ordered = space.kind() == IndexKind::Ordered;
        let walk = space.walk();
        let mut step = 0;
        for entry in walk {
            let entry = entry.expect("readable");
            let first = entry.value[0];
            assert!(
                entry.value.iter().all(|byte| *byte == first),
                "one version, not two"
            );
            met.push(entry.key.to_vec());
            step += 1;
            if step % 10 == 0 {
                let key = u32::try_from(rng.below(300)).expect("small") * 2 + 1;
                space.put(by_number(key), [2; 20]).expect("put");
                space.delete(by_number(key + 2)).expect("deleted");
            }
            if step % 100 == 0 {
                store.merge(Merge::Full).expect("merged");
            }
        }
        let still: Vec<Vec<u8>> = met.iter().filter(|key| is_still(key)).cloned().collect();
        let mut sorted = still.clone();
        sorted.sort();
        if ordered {
            assert_eq!(still, sorted, "in order");
            assert!(
                met.windows(2).all(|pair| pair[0] < pair[1]),
                "in order, none twice"
            );
        }
        assert_eq!(
            sorted.len(),
            300,
            "each untouched key once: {}",
            sorted.len()
        );
        sorted.dedup();
        assert_eq!(sorted.len(), 300);
    }
}

#[test]
fn a_key_deleted_ahead_of_an_iteration_is_not_met_and_one_put_behind_it_neither() {
    let place = Place::new();
    let store = place.open();
    let space = ordered(&store, "sorted");
    for key in ["b", "d", "f", "h"] {
        space.put(key, "1").expect("put");
    }
    let mut iter = space.iter().expect("ordered");
    assert_eq!(pair(iter.next().expect("there")).0, b"b");
    space.delete("f").expect("deleted");
    space.put("a", "behind").expect("put");
    space.put("h", "2").expect("put");
    let rest: Vec<_> = iter.map(pair).collect();
    let expected = [
        (b"d".to_vec(), b"1".to_vec()),
        (b"h".to_vec(), b"2".to_vec()),
    ];
    assert_eq!(
        rest, expected,
        "what is read is the version at the moment of reading"
    );
}
