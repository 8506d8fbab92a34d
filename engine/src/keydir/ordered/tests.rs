//! The ordered keydir against a balanced tree: any keys, any order, both directions, and readers
//! and ranges that must not miss a key while leaves and branches are split and joined.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

fn at(offset: u32) -> Location {
    Location { slot: 0, offset }
}

fn all(keydir: &OrderedKeydir, from_back: bool) -> Vec<(Box<[u8]>, Location)> {
    keydir.part((Bound::Unbounded, Bound::Unbounded), from_back, usize::MAX)
}

fn keys(part: &[(Box<[u8]>, Location)]) -> Vec<&[u8]> {
    part.iter().map(|(key, _)| &**key).collect()
}

/// Bytes in the order of their numbers.
fn rising(i: u32) -> [u8; 4] {
    let mut bytes = i.to_le_bytes();
    bytes.reverse();
    bytes
}

/// Keys that are spread over all of their order.
fn key(i: u32) -> [u8; 12] {
    let mut key = *b"node-xxxx-12";
    let spread = i.wrapping_mul(0x9E37_79B9).to_le_bytes();
    key[5..9].copy_from_slice(&spread);
    key
}

#[test]
fn parts_come_from_either_end_within_the_bounds() {
    let keydir = OrderedKeydir::new();
    for (i, key) in [b"a", b"b", b"c", b"d"].iter().enumerate() {
        assert!(keydir.change(&key[..], None, Some(at(u32::try_from(i).expect("small")))));
    }
    let from_b = (Bound::Excluded(&b"a"[..]), Bound::Unbounded);
    assert_eq!(keys(&keydir.part(from_b, false, 2)), [b"b", b"c"]);
    assert_eq!(keys(&keydir.part(from_b, true, 2)), [b"d", b"c"]);
}

#[test]
fn bounds_that_hold_nothing_are_empty_not_a_panic() {
    let keydir = OrderedKeydir::new();
    keydir.change(b"k", None, Some(at(1)));
    let k = &b"k"[..];
    for bounds in [
        (Bound::Excluded(k), Bound::Excluded(k)),
        (Bound::Included(k), Bound::Excluded(k)),
        (Bound::Included(&b"z"[..]), Bound::Included(&b"a"[..])),
    ] {
        assert!(keydir.part(bounds, false, 9).is_empty());
    }
    let one = (Bound::Included(k), Bound::Included(k));
    assert_eq!(keydir.part(one, false, 9).len(), 1);
}

#[test]
fn a_change_happens_only_if_the_old_location_stands_there() {
    let keydir = OrderedKeydir::new();
    assert!(!keydir.change(b"k", Some(at(1)), Some(at(2))));
    assert!(keydir.change(b"k", None, Some(at(1))));
    assert!(!keydir.change(b"k", None, Some(at(3))));
    assert!(keydir.change(b"k", Some(at(1)), Some(at(2))));
    assert!(!keydir.change(b"k", Some(at(1)), None));
    assert!(keydir.change(b"k", Some(at(2)), None));
    assert!(keydir.change(b"absent", None, None));
    assert_eq!(keydir.len(), 0);
}

/// The longest keys there are: a leaf of many of them would be copied at every write.
#[test]
fn long_keys_stand_in_leaves_of_few() {
    let keydir = OrderedKeydir::new();
    let long = |i: u8| [vec![b'k'; 65_000], vec![i; 500]].concat();
    for i in (0..=255).rev() {
        assert!(keydir.change(&long(i), None, Some(at(u32::from(i)))));
    }
    for i in 0..=255 {
        assert!(keydir.candidates(&long(i)).contains(at(u32::from(i))));
    }
    assert_eq!(all(&keydir, false).len(), 256);
}

#[test]
fn a_keydir_is_within_sixteen_bytes_and_the_key() {
    let orders: [fn(u32) -> Vec<u8>; 3] = [
        |i| key(i).to_vec(),
        |i| rising(i).to_vec(),
        |i| rising(u32::MAX - i).to_vec(),
    ];
    for order in orders {
        let keydir = OrderedKeydir::new();
        for i in 0..60_000 {
            keydir.change(&order(i), None, Some(at(i)));
            if i > 2_000 && i % 1_000 == 0 {
                let per_key = keydir.index_bytes() / keydir.len();
                let bound = order(i).len() as u64 + 16;
                assert!(per_key <= bound, "{per_key} bytes at {i}, {bound} allowed");
            }
        }
    }
}

#[test]
fn memory_goes_with_the_keys() {
    let keydir = OrderedKeydir::new();
    let empty = keydir.index_bytes();
    (0..50_000).for_each(|i| assert!(keydir.change(&key(i), None, Some(at(i)))));
    let full = keydir.index_bytes();
    (0..50_000).for_each(|i| assert!(keydir.change(&key(i), Some(at(i)), None)));
    let left = keydir.index_bytes();
    assert!(
        full > 600_000 && left < empty + 2_000,
        "{empty} {full} {left}"
    );
    assert!(all(&keydir, true).is_empty());
}

#[test]
fn a_filled_keydir_is_as_one_grown() {
    let keydir = OrderedKeydir::new();
    let keys: Vec<_> = (0..40_000).map(|i| (key(i), at(i))).collect();
    let mut entries: Vec<(&[u8], Location)> =
        keys.iter().map(|(key, at)| (&key[..], *at)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    // In parts, as the blocks of an image come.
    let parts: Vec<Vec<_>> = entries.chunks(9_999).map(<[_]>::to_vec).collect();
    keydir.fill(&parts, 2);
    (40_000..50_000).for_each(|i| assert!(keydir.change(&key(i), None, Some(at(i)))));
    let mut sorted: Vec<_> = (0..50_000).map(|i| (Box::from(key(i)), at(i))).collect();
    sorted.sort();
    assert!(all(&keydir, false) == sorted);
    assert_eq!(keydir.len(), 50_000);
    let grown = OrderedKeydir::new();
    (0..50_000).for_each(|i| assert!(grown.change(&key(i), None, Some(at(i)))));
    assert!(all(&grown, false) == sorted);
    assert!(keydir.index_bytes() <= grown.index_bytes() + grown.index_bytes() / 4);
}

/// Ends the threads that work until then, also when a check of the test fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every second key stays; readers and ranges must find each of them whatever happens beside it.
#[test]
fn no_reader_misses_a_key_while_leaves_are_split_and_joined() {
    const KEYS: u32 = 20_000;
    let keydir = OrderedKeydir::new();
    for i in (0..KEYS).step_by(2) {
        keydir.change(&key(i), None, Some(at(i)));
    }
    let (stop, looks) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let _set_at_end = SetAtEnd(&stop);
        for reader in 0..2_u32 {
            let (keydir, stop, looks) = (&keydir, &stop, &looks);
            scope.spawn(move || {
                let mut i = reader;
                while !stop.load(Ordering::Relaxed) {
                    i = i.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let here = (i % KEYS) & !1;
                    assert!(keydir.candidates(&key(here)).contains(at(here)), "{here}");
                    if looks.fetch_add(1, Ordering::Relaxed) % 1_000 == 0 {
                        let part = all(keydir, reader == 1);
                        let kept = part.iter().filter(|(_, at)| at.offset % 2 == 0);
                        assert_eq!(kept.count(), KEYS as usize / 2, "a range misses none");
                    }
                }
            });
        }
        for _ in 0..3 {
            for i in (1..KEYS).step_by(2) {
                assert!(keydir.change(&key(i), None, Some(at(i))));
            }
            for i in (1..KEYS).step_by(2) {
                assert!(keydir.change(&key(i), Some(at(i)), None));
            }
        }
    });
    assert!(looks.load(Ordering::Relaxed) > 1);
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(prop_oneof![Just(0_u8), Just(b'a'), Just(255)], 0..6),
        (0..300_u32).prop_map(|i| format!("peer/{i:04}").into_bytes()),
        (0..3_000_u32).prop_map(|i| key(i).to_vec()),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        any_key().prop_map(Bound::Included),
        any_key().prop_map(Bound::Excluded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_keydir_is_a_sorted_map(
        changes in proptest::collection::vec((any_key(), 0..3_u8), 1..1_200),
        ranges in proptest::collection::vec((bound(), bound(), any::<bool>(), 0..400_usize), 8),
    ) {
        let keydir = OrderedKeydir::new();
        let mut model: BTreeMap<Vec<u8>, Location> = BTreeMap::new();
        for (i, (key, kind)) in changes.into_iter().enumerate() {
            let old = model.get(&key).copied();
            let new = (kind > 0).then(|| at(u32::try_from(i).expect("few")));
            prop_assert!(keydir.change(&key, old, new));
            match new {
                Some(new) => model.insert(key, new),
                None => model.remove(&key),
            };
        }
        prop_assert_eq!(keydir.len(), model.len() as u64);
        for (lower, upper, from_back, max) in ranges {
            let bounds = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
            let inside = |key: &[u8]| std::ops::RangeBounds::<[u8]>::contains(&bounds, key);
            let mut expected: Vec<_> = model.iter().filter(|(key, _)| inside(key)).collect();
            if from_back {
                expected.reverse();
            }
            expected.truncate(max);
            let found = keydir.part(bounds, from_back, max);
            let found: Vec<_> = found.iter().map(|(key, at)| (key.to_vec(), at)).collect();
            let expected: Vec<_> = expected.into_iter().map(|(k, at)| (k.clone(), at)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
