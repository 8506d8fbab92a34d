//! The hash keydir against a map: every hash in one page, tags used up, growth and shrinking under
//! readers who know what must be there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

fn at(offset: u32) -> Location {
    Location { slot: 3, offset }
}

/// Hashes as keyed hashing gives them.
fn hash(i: u32) -> u128 {
    (u128::from(i) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

fn no_records(_: Location) -> Option<u128> {
    panic!("tags have bits enough for this")
}

fn places(keydir: &HashKeydir, hash: u128) -> Vec<Location> {
    keydir.candidates(hash).iter().collect()
}

fn walked(keydir: &HashKeydir) -> Vec<Location> {
    let mut all = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let (part, next) = keydir.part(at);
        all.extend(part);
        from = next;
    }
    all.sort_unstable();
    all
}

#[test]
fn a_change_happens_only_if_the_old_location_stands_there() {
    let keydir = HashKeydir::new();
    let hash = 0xDEAD_BEEF_u128 << 64;
    assert!(!keydir.change(hash, Some(at(1)), Some(at(2))));
    assert!(keydir.change(hash, None, Some(at(1))));
    assert!(!keydir.change(hash, Some(at(9)), None));
    assert!(keydir.change(hash, Some(at(1)), Some(at(2))));
    assert_eq!(places(&keydir, hash), [at(2)]);
    assert!(keydir.change(hash, Some(at(2)), None));
    assert_eq!(keydir.len(), 0);
}

/// An image holds places far into full segments; the first records after the open lie at the
/// beginning of a new one. Pages that grow then must keep the far places.
#[test]
fn a_loaded_keydir_keeps_far_places_when_near_ones_come() {
    let far = |i: u32| Location {
        slot: 0,
        offset: (1 << 26) + i,
    };
    let saved = HashKeydir::new();
    for i in 0..3_000 {
        assert!(saved.change(hash(i), None, Some(far(i))));
        saved.tend(&no_records);
    }
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let kept = saved.save(&mut |body| {
        bodies.push(body.to_vec());
        Ok::<(), ()>(())
    });
    assert_eq!(kept, Ok(3_000));
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let mut slots = SlotMap::new();
    slots.set(0, Some((0, 1 << 27)));
    let loaded = HashKeydir::new();
    loaded
        .load(&bodies, |body| Some(body), &slots, 2)
        .expect("as it was saved");
    for i in 3_000..9_000 {
        let near = Location { slot: 1, offset: i };
        assert!(loaded.change(hash(i), None, Some(near)));
        loaded.tend(&no_records);
    }
    for i in 0..3_000 {
        assert_eq!(places(&loaded, hash(i)), [far(i)], "{i}");
    }
}

#[test]
fn the_index_of_a_page_agrees_with_its_depth_at_every_number_of_pages() {
    for pages in 1..200_u64 {
        for i in 0..500 {
            let hash = turned(hash(i));
            let index = index_of(hash, pages);
            let depth = depth_of(index, pages);
            assert!(index < pages);
            assert_eq!(hash & ((1 << depth) - 1), index, "{pages} pages");
        }
    }
}

#[test]
fn keys_of_one_hash_stand_side_by_side_however_many_they_are() {
    let keydir = HashKeydir::new();
    let hash = 7_u128 << 64;
    for offset in 1..=3_000 {
        assert!(keydir.change(hash, None, Some(at(offset))));
        keydir.tend(&no_records);
    }
    assert_eq!(places(&keydir, hash).len(), 3_000);
    for offset in (1..=3_000).rev() {
        assert!(keydir.change(hash, Some(at(offset)), None));
        assert!(!keydir.candidates(hash).contains(at(offset)));
    }
    assert!(walked(&keydir).is_empty());
}

/// Places of 48 bits leave tags of 15: each split takes one, and then the records are asked.
#[test]
fn entries_whose_tags_are_used_up_are_placed_by_their_records() {
    let keydir = HashKeydir::new();
    let place = |i| Location {
        slot: u16::MAX,
        offset: u32::MAX - i,
    };
    let records: HashMap<Location, u128> = (0..40_000).map(|i| (place(i), hash(i))).collect();
    let asked = AtomicU32::new(0);
    let rehash = |location| {
        asked.fetch_add(1, Ordering::Relaxed);
        records.get(&location).copied()
    };
    for i in 0..40_000 {
        keydir.change(hash(i), None, Some(place(i)));
        keydir.tend(&rehash);
    }
    for i in 0..40_000 {
        assert!(keydir.candidates(hash(i)).contains(place(i)), "{i}");
    }
    let pages = keydir.pages.load(Ordering::Relaxed);
    assert!(
        pages >= 15 && asked.load(Ordering::Relaxed) > 0,
        "{pages} pages"
    );
    assert_eq!(walked(&keydir).len(), 40_000);
}

#[test]
fn where_no_record_answers_pages_grow_instead_of_splitting() {
    let keydir = HashKeydir::new();
    let place = |i| Location {
        slot: u16::MAX,
        offset: u32::MAX - i,
    };
    for i in 0..30_000 {
        keydir.change(hash(i), None, Some(place(i)));
        keydir.tend(&|_| None);
    }
    assert!((0..30_000).all(|i| keydir.candidates(hash(i)).contains(place(i))));
    assert_eq!(keydir.len(), 30_000);
}

#[test]
fn a_keydir_is_within_twelve_bytes_a_key_at_every_size_and_ten_on_the_whole() {
    let keydir = HashKeydir::new();
    let (mut sum, mut looks) = (0.0, 0);
    for i in 0..150_000 {
        keydir.change(hash(i), None, Some(at(i)));
        keydir.tend(&no_records);
        if i >= 2_000 && i % 500 == 0 {
            let per_key = keydir.index_bytes() as f64 / f64::from(i + 1);
            assert!(per_key < 12.0, "{per_key} at {i}");
            (sum, looks) = (sum + per_key, looks + 1);
        }
    }
    assert!(sum / f64::from(looks) < 10.0, "{}", sum / f64::from(looks));
}

#[test]
fn a_keydir_shrinks_when_its_keys_go() {
    let keydir = HashKeydir::new();
    for i in 0..100_000 {
        keydir.change(hash(i), None, Some(at(i)));
        keydir.tend(&no_records);
    }
    let full = keydir.index_bytes();
    for i in 0..100_000 {
        assert!(keydir.change(hash(i), Some(at(i)), None));
    }
    let empty = keydir.index_bytes();
    assert!(empty * 8 < full, "{empty} of {full}");
}

#[test]
fn a_filled_keydir_is_as_one_grown() {
    let mut rows: Vec<_> = (0..50_000).map(|i| (hash(i), at(i))).collect();
    rows.sort_unstable();
    let keydir = HashKeydir::new();
    keydir.expect(60_000);
    // In ranges whose ends fall into the middle of pages.
    rows.chunks(1_234).for_each(|rows| keydir.fill(rows));
    assert_eq!(keydir.len(), 50_000);
    assert!(
        rows.iter()
            .all(|(hash, at)| places(&keydir, *hash).contains(at))
    );
    let mut all: Vec<_> = (0..50_000).map(at).collect();
    all.sort_unstable();
    assert_eq!(walked(&keydir), all);
    for i in 50_000..100_000 {
        keydir.change(hash(i), None, Some(at(i)));
        keydir.tend(&no_records);
    }
    assert!((0..100_000).all(|i| keydir.candidates(hash(i)).contains(at(i))));
}

/// A keydir of these entries, as an image gives it: its pages were split when they were due.
fn of_image(entries: std::ops::Range<u32>) -> HashKeydir {
    let keydir = HashKeydir::new();
    for i in entries {
        assert!(keydir.change(hash(i), None, Some(at(i))));
        keydir.tend(&no_records);
    }
    keydir
}

#[test]
fn pages_split_together_are_as_those_split_in_turn() {
    for (before, threads) in [(0, 1), (700, 2), (9_000, 1), (30_000, 3)] {
        let keydir = of_image(0..before);
        keydir.split_for(100_000, &no_records, threads);
        let pages = keydir.pages.load(Ordering::Relaxed);
        assert_eq!(pages, 100_000_u64.div_ceil(PAGE_ENTRIES));
        let mut rows: Vec<_> = (before..100_000).map(|i| (hash(i), at(i))).collect();
        rows.sort_unstable();
        rows.chunks(5_000).for_each(|rows| keydir.fill(rows));
        keydir.tend(&no_records);
        assert_eq!(keydir.pages.load(Ordering::Relaxed), pages);
        assert_eq!(keydir.len(), 100_000);
        assert!((0..100_000).all(|i| keydir.candidates(hash(i)).contains(at(i))));
        let all: Vec<_> = (0..100_000).map(at).collect();
        assert_eq!(walked(&keydir), all);
        let grown = of_image(0..100_000);
        let (bytes, expected) = (keydir.index_bytes(), grown.index_bytes());
        assert!(bytes <= expected + expected / 8, "{bytes}, {expected}");
        // Nothing is left to be counted wrong: it shrinks to nothing.
        assert!((0..100_000).all(|i| keydir.change(hash(i), Some(at(i)), None)));
        assert_eq!(keydir.len(), 0);
    }
}

/// As for splits in turn: records are asked, and where one cannot be read the page stays.
#[test]
fn pages_split_together_ask_the_records_where_tags_are_used_up() {
    let place = |i| Location {
        slot: u16::MAX,
        offset: u32::MAX - i,
    };
    let records: HashMap<Location, u128> = (0..40_000).map(|i| (place(i), hash(i))).collect();
    let keydir = HashKeydir::new();
    for i in 0..40_000 {
        assert!(keydir.change(hash(i), None, Some(place(i))));
    }
    let found = || (0..40_000).all(|i| keydir.candidates(hash(i)).contains(place(i)));
    keydir.split_for(
        40_000,
        &|at| records.get(&at).copied().filter(|_| at != place(7)),
        2,
    );
    let pages = keydir.pages.load(Ordering::Relaxed);
    assert!((2..16).contains(&pages) && found(), "{pages}");
    keydir.split_for(40_000, &|at| records.get(&at).copied(), 2);
    assert_eq!(keydir.pages.load(Ordering::Relaxed), 16);
    assert!(found());
    assert_eq!(walked(&keydir).len(), 40_000);
}

/// The words of an image go where its segments are now, or away with them, and one that points where no
/// segment of the image was, or behind its end, makes the image unsound.
#[test]
fn a_loaded_keydir_follows_its_segments() {
    const END: u64 = 30_000;
    let place = |i: u32| Location {
        slot: u16::try_from(i % 3).expect("small"),
        offset: 100 + i,
    };
    let saved = HashKeydir::new();
    for i in 0..6_000 {
        assert!(saved.change(hash(i), None, Some(place(i))));
        saved.tend(&no_records);
    }
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let kept = saved.save(&mut |body| {
        bodies.push(body.to_vec());
        Ok::<(), ()>(())
    });
    assert_eq!(kept, Ok(6_000));
    let load = |now: [Option<(u16, u64)>; 3]| {
        let mut slots = SlotMap::new();
        for (slot, now) in (0..).zip(now) {
            slots.set(slot, now);
        }
        let loaded = HashKeydir::new();
        let done = loaded.load(&bodies, |body| Some(body), &slots, 2);
        done.map(|()| loaded)
    };
    // As they were, others in their places, and one so far that its words take more bits.
    for now in [[0, 1, 2], [2, 0, 1], [9, 1, 65_000]] {
        let loaded = load(now.map(|slot| Some((slot, END)))).expect("sound");
        assert_eq!(loaded.len(), 6_000);
        for i in 0..6_000 {
            let slot = now[usize::from(place(i).slot)];
            let expected = Location { slot, ..place(i) };
            assert_eq!(places(&loaded, hash(i)), [expected], "{i} {now:?}");
        }
    }
    let loaded = load([Some((1, END)), None, Some((4, END))]).expect("sound");
    assert_eq!(loaded.len(), 4_000);
    assert!((0..6_000).all(|i| places(&loaded, hash(i)).is_empty() == (i % 3 == 1)));
    assert!(load([Some((0, END)), Some((1, 3_000)), Some((2, END))]).is_none());
    let mut slots = SlotMap::new();
    slots.set(0, Some((0, END)));
    slots.set(2, Some((2, END)));
    let loaded = HashKeydir::new();
    let done = loaded.load(&bodies, |body| Some(body), &slots, 2);
    assert!(done.is_none(), "slot 1 is unknown");
    let done = loaded.load(&bodies, |_| None, &slots, 2);
    assert!(done.is_none(), "the checksum of a block does not hold");
}

#[test]
fn a_wrong_candidate_is_rare() {
    let keydir = HashKeydir::new();
    for i in 0..200_000 {
        keydir.change(hash(i), None, Some(at(i)));
        keydir.tend(&no_records);
    }
    let wrong = (200_000..400_000).filter(|i| !places(&keydir, hash(*i)).is_empty());
    // Tags of over thirty bits in pages of thousands.
    assert!(wrong.count() < 5);
}

/// Ends the threads that work until then, also when a check of the test fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The trap of growth: an entry that moves while it is looked for. Readers know which keys are
/// there; every one of them must be found at every moment, at its last place or a newer one.
#[test]
fn no_reader_misses_a_key_while_pages_grow_split_and_shrink() {
    const KEYS: u32 = 60_000;
    let keydir = HashKeydir::new();
    let (there, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let set_at_end = SetAtEnd(&stop);
        for reader in 0..3_u32 {
            let (keydir, there, stop) = (&keydir, &there, &stop);
            scope.spawn(move || {
                let mut i = reader;
                while !stop.load(Ordering::Relaxed) {
                    let known = there.load(Ordering::Acquire);
                    if known == 0 {
                        continue;
                    }
                    i = i.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let key = i % known;
                    // Every seventh key is moved back and forth by the merger.
                    let here = keydir.candidates(hash(key));
                    let found = here.contains(at(key)) || here.contains(at(key + KEYS));
                    assert!(found || key % 7 == 0, "key {key} of {known}");
                    if key % 7 == 0 {
                        assert!(here.iter().count() > 0, "moved key {key} of {known}");
                    }
                }
            });
        }
        let merger = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let known = there.load(Ordering::Acquire);
                for key in (0..known).step_by(7) {
                    assert!(keydir.change(hash(key), Some(at(key)), Some(at(key + KEYS))));
                    assert!(keydir.change(hash(key), Some(at(key + KEYS)), Some(at(key))));
                }
            }
        });
        for i in 0..KEYS {
            assert!(keydir.change(hash(i), None, Some(at(i))));
            // One that comes and goes beside it, so that pages also shrink.
            assert!(keydir.change(hash(i + 2 * KEYS), None, Some(at(i + 2 * KEYS))));
            keydir.tend(&no_records);
            there.store(i + 1, Ordering::Release);
        }
        for i in 0..KEYS {
            let gone = at(i + 2 * KEYS);
            assert!(keydir.change(hash(i + 2 * KEYS), Some(gone), None));
        }
        drop(set_at_end);
        merger.join().expect("the merger does not panic");
    });
    assert_eq!(keydir.len(), u64::from(KEYS));
}

/// A walk that goes on while pages are split gives each key that was there once.
#[test]
fn a_walk_meets_each_key_once_though_pages_are_split_meanwhile() {
    let keydir = HashKeydir::new();
    for i in 0..20_000 {
        keydir.change(hash(i), None, Some(at(i)));
        keydir.tend(&no_records);
    }
    let (mut from, mut next_key) = (Some(0), 20_000);
    let mut met = Vec::new();
    while let Some(start) = from {
        let (part, next) = keydir.part(start);
        met.extend(part.into_iter().filter(|location| location.offset < 20_000));
        for i in next_key..next_key + 4_000 {
            keydir.change(hash(i), None, Some(at(i)));
            keydir.tend(&no_records);
        }
        next_key += 4_000;
        from = next;
    }
    met.sort_unstable();
    assert_eq!(met, (0..20_000).map(at).collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Replace(u16),
    Remove(u16),
    Refused(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..600_u16;
    let step = prop_oneof![
        4 => key.clone().prop_map(Step::Insert),
        3 => key.clone().prop_map(Step::Replace),
        2 => key.clone().prop_map(Step::Remove),
        1 => key.prop_map(Step::Refused),
    ];
    proptest::collection::vec(step, 1..1_500)
}

/// Hashes that agree in more and more, up to all of them in one bucket.
fn hostile(key: u16, kind: u8) -> u128 {
    match kind {
        0 => hash(u32::from(key)),
        // One page and one pair of buckets, told apart by what follows.
        1 => ((u128::from(key) << 20).reverse_bits() >> 64 << 64) | 5,
        // Few hashes for many keys.
        _ => hash(u32::from(key % 8)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_keydir_is_a_map_from_key_to_place(steps in steps(), kind in 0..3_u8) {
        let keydir = HashKeydir::new();
        let mut model: HashMap<u16, Location> = HashMap::new();
        for (i, step) in steps.into_iter().enumerate() {
            let i = u32::try_from(i).expect("few steps");
            // Wider and wider, so that words are shared out anew on the way.
            let new = Location { slot: u16::try_from(i * 40).expect("few steps"), offset: i << (i % 20) | 1 };
            match step {
                Step::Insert(key) | Step::Replace(key) => {
                    let old = model.insert(key, new);
                    prop_assert!(keydir.change(hostile(key, kind), old, Some(new)));
                }
                Step::Remove(key) => if let Some(old) = model.remove(&key) {
                    prop_assert!(keydir.change(hostile(key, kind), Some(old), None));
                }
                Step::Refused(key) => {
                    let other = Location { slot: 1, offset: 0 };
                    prop_assert!(!keydir.change(hostile(key, kind), Some(other), Some(new)));
                }
            }
            keydir.tend(&no_records);
        }
        prop_assert_eq!(keydir.len(), model.len() as u64);
        for (key, place) in &model {
            prop_assert!(keydir.candidates(hostile(*key, kind)).contains(*place));
        }
        let mut all: Vec<_> = model.into_values().collect();
        all.sort_unstable();
        prop_assert_eq!(walked(&keydir), all);
    }
}
