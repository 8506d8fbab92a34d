//! Torn tails: the last segment ends anywhere, or goes on with bytes that nobody wrote. Whatever
//! the length, the store opens with exactly the writes that are whole, a batch as one; a second
//! open finds nothing to do; and the store takes writes again.

mod lost;

use peercask::Store;

use crate::history::{History, records};
use crate::support::{
    Contents, Image, Place, SMALL_SEGMENT, append, assert_same, contents, copy_files, hash,
    segments, write_image,
};

/// The files of a store that was never closed, what was done to it, and its last segment.
struct Unclean {
    image: Image,
    history: History,
    last_segment: String,
    /// Where each step that lies in the last segment ends there.
    ends: Vec<u64>,
    /// Where each record of the last segment ends, members of batches too.
    record_ends: Vec<u64>,
    /// The header of the last segment is followed by this many bytes of records.
    data_len: u64,
}

/// `synced` and what comes after it stand in one segment if that is large.
fn unclean(segment_bytes: u64, synced_turns: usize, turns: usize) -> Unclean {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(segment_bytes));
    let mut history = History::new();
    history.run(&store, 0..synced_turns);
    if synced_turns > 0 {
        store.sync().expect("synced");
    }
    history.run(&store, synced_turns..turns);
    // Taken while the store is open: what a killed process leaves.
    let copy = Place::copy_of(place.path());
    drop(store);

    let last_segment = segments(copy.path()).pop().expect("there is a segment");
    let records = records(copy.path(), &last_segment);
    let end = |record: &peercask::inspect::DumpRecord| record.offset + record.len;
    let last_of_step = records.iter().filter(|record| record.batch_follow == 0);
    let ends: Vec<u64> = last_of_step.map(end).collect();
    let record_ends: Vec<u64> = records.iter().map(end).collect();
    let data_len = records.last().map(end).expect("it holds records");
    Unclean {
        image: copy.image(),
        history,
        last_segment,
        ends,
        record_ends,
        data_len,
    }
}

impl Unclean {
    /// The state with the last segment cut to `len`.
    fn state_at(&self, len: u64) -> &Contents {
        let whole = self.ends.iter().filter(|end| **end <= len).count();
        &self.history.states[self.history.len() - self.ends.len() + whole]
    }

    /// How many bytes recovery has to cut off if the last segment is `bytes`: the whole members of
    /// the batch that was torn, and the torn record behind them unless all of it reads as zeros,
    /// which are never told from space that was reserved.
    fn torn_in(&self, bytes: &[u8]) -> usize {
        let at = |offset: u64| usize::try_from(offset).expect("small");
        let last_of = |ends: &[u64]| {
            let whole = ends.iter().rev().map(|end| at(*end));
            whole.into_iter().find(|end| *end <= bytes.len())
        };
        let kept = last_of(&self.ends).unwrap_or(160);
        let whole = last_of(&self.record_ends).unwrap_or(160);
        let torn = bytes.get(whole..).unwrap_or_default();
        let held = torn.iter().any(|byte| *byte != 0);
        (whole - kept) + if held { torn.len() } else { 0 }
    }

    fn with_last(&self, bytes: Vec<u8>) -> Image {
        let mut image = self.image.clone();
        image.insert(self.last_segment.clone(), bytes);
        image
    }

    fn last_bytes(&self) -> &[u8] {
        &self.image[&self.last_segment]
    }
}

/// Opens thrice: as found, again, and after new writes that were not closed either. How many bytes
/// were cut.
#[track_caller]
fn opens_as(place: &Place, expected: &Contents, what: &str) -> u64 {
    let store = place.open();
    let report = store.recovery().clone();
    assert_same(&contents(&store), expected, &format!("{what}: {report:?}"));
    assert_eq!(
        report.damage,
        [],
        "{what}: what was never synced is no damage"
    );
    drop(store);

    let store = place.open();
    assert_same(
        &contents(&store),
        expected,
        &format!("{what}: the second open"),
    );
    assert!(
        store.recovery().clean,
        "{what}: the second open, {:?}",
        store.recovery()
    );
    assert_eq!(store.recovery().cut, [], "{what}: the second open");
    hash(&store, "flat").put("after", "the crash").expect("put");
    let copy = Place::copy_of(place.path());
    drop(store);

    let mut expected = expected.clone();
    expected.insert(
        ("flat".to_owned(), b"after".to_vec()),
        b"the crash".to_vec(),
    );
    let store = copy.open();
    let what = format!("{what}: after new writes and another crash");
    assert_same(&contents(&store), &expected, &what);
    assert_eq!(store.recovery().damage, [], "{what}");
    report.cut.iter().map(|cut| cut.bytes).sum()
}

#[test]
fn the_last_segment_may_end_at_any_byte() {
    let unclean = unclean(SMALL_SEGMENT, 0, 36);
    assert!(
        segment_count(&unclean.image) >= 2,
        "rotations are part of it"
    );
    assert!(unclean.ends.len() >= 8, "{:?}", unclean.ends);
    let place = Place::new();
    let mut cuts = 0;
    let data_len = usize::try_from(unclean.data_len).expect("small");
    // Of the zeros that were reserved behind the records one length in a hundred will do.
    let behind = (data_len + 1..=unclean.last_bytes().len()).step_by(100);
    for len in (0..=data_len).chain(behind) {
        let bytes = unclean.last_bytes()[..len].to_vec();
        let torn = unclean.torn_in(&bytes);
        write_image(place.path(), &unclean.with_last(bytes));
        let expected = unclean.state_at(u64::try_from(len).expect("small"));
        let cut = opens_as(&place, expected, &format!("cut at {len}"));
        assert_eq!(cut, torn as u64, "part of a write is lost, at {len}");
        cuts += u32::from(cut > 0);
    }
    assert!(cuts > 300, "most lengths tear a write: {cuts}");
}

/// Behind a whole member of a batch stands one zero: the first byte of the next, or reserved space.
/// The member is cut and told either way; salts decide how often a checksum begins like that.
#[test]
fn a_zero_behind_a_whole_member_of_a_torn_batch_is_reserved_space() {
    let unclean = unclean(SMALL_SEGMENT, 0, 36);
    let inside = |end: &&u64| !unclean.ends.contains(end);
    let members: Vec<u64> = unclean.record_ends.iter().filter(inside).copied().collect();
    assert!(!members.is_empty(), "a batch is part of it");
    let place = Place::new();
    for end in members {
        let whole = &unclean.last_bytes()[..usize::try_from(end).expect("small")];
        let mut cuts = [0; 2];
        for (cut, zeros) in cuts.iter_mut().zip([0, 1]) {
            let bytes = [whole, &vec![0; zeros]].concat();
            write_image(place.path(), &unclean.with_last(bytes));
            let what = format!("{zeros} zeros behind {end}");
            *cut = opens_as(&place, unclean.state_at(end), &what);
        }
        let before = unclean.ends.iter().rev().find(|before| **before < end);
        let member = end - before.copied().unwrap_or(160);
        assert_eq!(cuts, [member; 2], "the whole members are cut, at {end}");
    }
}

fn segment_count(image: &Image) -> usize {
    image.keys().filter(|name| name.starts_with("seg-")).count()
}

/// The file did not shrink: what was not written reads as zeros.
#[test]
fn the_last_segment_may_be_zeros_from_any_byte_on() {
    let unclean = unclean(SMALL_SEGMENT, 0, 9);
    let place = Place::new();
    for len in 160..unclean.data_len {
        let mut bytes = unclean.last_bytes().to_vec();
        bytes[usize::try_from(len).expect("small")..].fill(0);
        write_image(place.path(), &unclean.with_last(bytes));
        let store = place.open();
        // The last bytes of a write may have been zeros: then it is whole.
        let found = contents(&store);
        let expected = [unclean.state_at(len), unclean.state_at(len + 1)];
        assert!(
            expected.contains(&&found),
            "zeros from {len}: {:?}",
            store.recovery()
        );
        assert_eq!(store.recovery().damage, [], "zeros from {len}");
        drop(store);
        let store = place.open();
        assert_eq!(contents(&store), found, "zeros from {len}: the second open");
        assert!(
            store.recovery().clean,
            "zeros from {len}: {:?}",
            store.recovery()
        );
    }
}

#[test]
fn a_cut_into_what_was_synced_is_reported_as_damage_and_costs_what_follows() {
    let unclean = unclean(1 << 20, 6, 9);
    assert_eq!(segment_count(&unclean.image), 1);
    let marks: Vec<u64> = {
        let place = Place::new();
        write_image(place.path(), &unclean.image);
        let records = records(place.path(), &unclean.last_segment);
        let marked = records.iter().filter(|record| record.synced_mark.is_some());
        marked.map(|record| record.offset + record.len).collect()
    };
    assert_eq!(
        marks.len(),
        1,
        "the first write after the sync carries the mark"
    );
    let place = Place::new();
    for len in (160..unclean.data_len).step_by(3) {
        let bytes = unclean.last_bytes()[..usize::try_from(len).expect("small")].to_vec();
        write_image(place.path(), &unclean.with_last(bytes));
        let store = place.open();
        assert_eq!(&contents(&store), unclean.state_at(len), "cut at {len}");
        // The mark is lost with what it vouched for, so nothing proves more than a torn tail.
        assert_eq!(store.recovery().damage, [], "cut at {len}");
        let synced = store.recovery().synced_seq;
        assert_eq!(
            synced > 0,
            len >= marks[0],
            "the mark was found: cut at {len}"
        );
    }
}

#[test]
fn a_manifest_that_vouches_for_more_than_is_left_makes_it_damage() {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(1 << 20));
    let mut history = History::new();
    history.run(&store, 0..6);
    store.sync().expect("synced");
    // A new keyspace writes the manifest, and with it how far the log was synced.
    hash(&store, "later");
    let copy = Place::copy_of(place.path());
    drop(store);

    let image = copy.image();
    let name = segments(copy.path()).remove(0);
    let records = records(copy.path(), &name);
    let last = records.last().expect("records");
    for len in [
        last.offset,
        last.offset - 1,
        last.offset + 1,
        161,
        160,
        80,
        16,
        0,
    ] {
        let mut cut = image.clone();
        cut.get_mut(&name)
            .expect("there")
            .truncate(usize::try_from(len).expect("small"));
        write_image(copy.path(), &cut);
        let store = copy.open();
        let found = contents(&store);
        // Members of a batch stand alone below the mark: that batch was whole once.
        let written =
            |(place, value): (&(String, Vec<u8>), &Vec<u8>)| history.was_written(place, value);
        assert!(
            found.iter().all(written) && found != *history.last(),
            "cut at {len}"
        );
        let damage = &store.recovery().damage;
        assert!(
            damage.iter().any(|damage| damage.file == name),
            "cut at {len}: {damage:?}"
        );
        drop(store);
        let store = copy.open();
        assert_eq!(contents(&store), found, "cut at {len}: the second open");
        hash(&store, "later").put("key", "value").expect("put");
        drop(store);
        assert_eq!(
            contents(&copy.open()).len(),
            found.len() + 1,
            "cut at {len}"
        );
    }
}

/// Sectors reach the device in any order: a later one may be there and an earlier one not.
#[test]
fn a_lost_record_takes_all_that_follows_and_its_whole_batch_with_it() {
    let unclean = unclean(SMALL_SEGMENT, 0, 36);
    let place = Place::new();
    write_image(place.path(), &unclean.image);
    let records = records(place.path(), &unclean.last_segment);
    for record in &records {
        let mut bytes = unclean.last_bytes().to_vec();
        let at = |offset: u64| usize::try_from(offset).expect("small");
        for fill in [0, 0xEE] {
            bytes[at(record.offset)..at(record.offset + record.len)].fill(fill);
            write_image(place.path(), &unclean.with_last(bytes.clone()));
            let what = format!("record at {} filled with {fill}", record.offset);
            let cut = opens_as(&place, unclean.state_at(record.offset), &what);
            let last = record.offset + record.len == unclean.data_len;
            assert!(cut > 0 || last, "{what}: the cut is told");
        }
    }
}

// ---- bytes that nobody wrote

/// Opens the store with `tail` behind the last whole record.
#[track_caller]
fn ignores_tail(unclean: &Unclean, tail: &[u8], what: &str) {
    let place = Place::new();
    let data_len = usize::try_from(unclean.data_len).expect("small");
    let mut bytes = unclean.last_bytes()[..data_len].to_vec();
    bytes.extend_from_slice(tail);
    write_image(place.path(), &unclean.with_last(bytes));
    opens_as(&place, unclean.history.last(), what);
}

#[test]
fn zeros_behind_the_last_record_end_the_log() {
    let unclean = unclean(SMALL_SEGMENT, 0, 9);
    for len in [1, 10, 11, 512, 4_096, 70_000] {
        ignores_tail(&unclean, &vec![0; len], &format!("{len} zeros"));
    }
}

#[test]
fn garbage_behind_the_last_record_is_cut() {
    let unclean = unclean(SMALL_SEGMENT, 0, 9);
    let mut rng = crate::support::Rng::new(0x7041);
    for round in 0..crate::support::rounds(20) {
        let garbage = rng.bytes(4_096);
        ignores_tail(&unclean, &garbage, &format!("garbage {round}"));
        let zeros_between = [vec![0; 100], garbage].concat();
        ignores_tail(
            &unclean,
            &zeros_between,
            &format!("zeros and garbage {round}"),
        );
    }
}

#[test]
fn stale_records_of_the_same_segment_are_not_taken_again() {
    let unclean = unclean(SMALL_SEGMENT, 0, 9);
    let data_len = usize::try_from(unclean.data_len).expect("small");
    let own = &unclean.last_bytes()[160..data_len];
    ignores_tail(&unclean, own, "all of its records once more");
    let start = usize::try_from(unclean.ends[0]).expect("small");
    ignores_tail(
        &unclean,
        &unclean.last_bytes()[start..data_len],
        "the later records once more",
    );
}

#[test]
fn stale_records_of_another_segment_at_the_same_offset_are_not_taken() {
    let unclean = unclean(SMALL_SEGMENT, 0, 30);
    let data_len = usize::try_from(unclean.data_len).expect("small");
    for (name, bytes) in &unclean.image {
        if name.starts_with("seg-") && *name != unclean.last_segment {
            ignores_tail(&unclean, &bytes[data_len.min(bytes.len())..], name);
            ignores_tail(&unclean, &bytes[160..], name);
            ignores_tail(&unclean, bytes, name);
        }
    }
}

/// The same turns in another store, whose seqs and offsets are the same: only the salt differs.
#[test]
fn the_next_records_of_a_twin_store_are_not_taken() {
    let (short, long) = (unclean(SMALL_SEGMENT, 0, 9), unclean(SMALL_SEGMENT, 0, 10));
    assert_eq!(short.last_segment, long.last_segment);
    assert!(long.data_len > short.data_len, "both end in one segment");
    let from = usize::try_from(short.data_len).expect("small");
    ignores_tail(
        &short,
        &long.last_bytes()[from..],
        "the twin's next records",
    );
}

// ---- new segments

/// A rotation that broke off: the next segment absent, empty, or without a whole header.
#[test]
fn a_new_segment_without_a_record_holds_nothing_at_any_length() {
    let unclean = unclean(SMALL_SEGMENT, 0, 9);
    let header = unclean.last_bytes()[..160].to_vec();
    let next = "seg-0000000000000099.cask";
    let place = Place::new();
    for len in [0, 1, 15, 16, 79, 80, 81, 159, 160, 4_096] {
        let mut image = unclean.image.clone();
        image.insert(next.to_owned(), vec![0; len]);
        write_image(place.path(), &image);
        opens_as(
            &place,
            unclean.history.last(),
            &format!("{len} zeros in a new segment"),
        );
        image.insert(next.to_owned(), header[..len.min(160)].to_vec());
        write_image(place.path(), &image);
        let store = place.open();
        assert_eq!(
            &contents(&store),
            unclean.history.last(),
            "another's header, {len} bytes"
        );
    }
}

/// Only part of its header reached the device, while its length did.
#[test]
fn a_new_segment_whose_header_is_torn_at_any_byte_holds_nothing() {
    let unclean = unclean(SMALL_SEGMENT, 0, 30);
    let place = Place::new();
    for len in 0..160 {
        let mut bytes = unclean.last_bytes().to_vec();
        bytes[len..].fill(0);
        write_image(place.path(), &unclean.with_last(bytes));
        opens_as(&place, unclean.state_at(0), &format!("zeros from {len}"));
    }
}

#[test]
fn a_store_that_crashes_again_and_again_keeps_everything_each_time() {
    let mut place = Place::new();
    let mut expected = Contents::new();
    for life in 0..crate::support::rounds(30) {
        let store = place.open();
        assert_eq!(
            contents(&store),
            expected,
            "life {life}: {:?}",
            store.recovery()
        );
        assert_eq!(store.recovery().damage, [], "life {life}");
        let space = hash(&store, "flat");
        for key in 0..life % 7 {
            let (key, value) = (format!("key {key}"), format!("life {life}"));
            space.put(&key, &value).expect("put");
            expected.insert(("flat".to_owned(), key.into_bytes()), value.into_bytes());
        }
        if life % 5 == 4 && space.delete("key 1").expect("deleted") {
            expected.remove(&("flat".to_owned(), b"key 1".to_vec()));
        }
        let next = Place::copy_of(place.path());
        let last = segments(next.path()).pop();
        drop(store);
        if let Some(last) = last.filter(|_| life % 2 == 0 && life % 7 > 0) {
            append(&next.file(&last), b"half a record");
        }
        place = next;
    }
}

/// The last store of a chain of copies is a store like any other.
#[test]
fn a_copy_taken_while_open_and_the_store_itself_go_their_own_ways() {
    let (place, other) = (Place::new(), Place::new());
    let store: Store = place.open();
    hash(&store, "flat").put("both", "1").expect("put");
    copy_files(place.path(), other.path());
    hash(&store, "flat").put("here", "2").expect("put");
    let there = other.open();
    hash(&there, "flat").put("there", "3").expect("put");
    assert_eq!(contents(&store).len(), 2);
    assert_eq!(contents(&there).len(), 2);
}
