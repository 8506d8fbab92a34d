//! What a power cut leaves of files that were not synced: any of their sectors, in any order, and
//! new files with or without their names. The log ends at the first write that is not whole, in
//! whichever segment that stands; what lies behind it is gone, however whole it is.

use crate::history::{History, records};
use crate::support::{
    Contents, Image, Place, Rng, SMALL_SEGMENT, assert_same, contents, hash, rounds, write_image,
};

const SECTOR: usize = 512;

/// Where one step of the history lies.
struct Extent {
    segment: String,
    from: usize,
    to: usize,
}

/// A copy of an open store of several segments, where each step lies in it, and up to where in the
/// last segment that had been begun by then all was synced.
struct Unsynced {
    image: Image,
    history: History,
    extents: Vec<Extent>,
    /// Steps that were synced.
    synced: usize,
}

fn unsynced(synced_turns: usize, turns: usize) -> Unsynced {
    let place = Place::new();
    let store = place.open_with(place.options().segment_bytes(SMALL_SEGMENT));
    let mut history = History::new();
    history.run(&store, 0..synced_turns);
    if synced_turns > 0 {
        store.sync().expect("synced");
    }
    let synced = history.len();
    history.run(&store, synced_turns..turns);
    let image = place.image();
    let mut extents = Vec::new();
    for segment in image.keys().filter(|name| name.starts_with("seg-")) {
        let mut from = None;
        for record in records(place.path(), segment) {
            let at = |offset: u64| usize::try_from(offset).expect("small");
            let start = *from.get_or_insert(at(record.offset));
            if record.batch_follow == 0 {
                let to = at(record.offset + record.len);
                extents.push(Extent {
                    segment: segment.clone(),
                    from: start,
                    to,
                });
                from = None;
            }
        }
    }
    assert_eq!(extents.len(), history.len(), "every step wrote something");
    Unsynced {
        image,
        history,
        extents,
        synced,
    }
}

impl Unsynced {
    fn segments(&self) -> Vec<String> {
        self.image
            .keys()
            .filter(|name| name.starts_with("seg-"))
            .cloned()
            .collect()
    }

    /// The state that is left of the log in these files: the steps before the first one that is
    /// not as it was, or whose segment has no header.
    fn left_in(&self, image: &Image) -> &Contents {
        let whole = |extent: &&Extent| {
            let (Some(found), written) = (image.get(&extent.segment), &self.image[&extent.segment])
            else {
                return false;
            };
            let headed = |at: usize| found.get(at..at + 80) == written.get(at..at + 80);
            let range = extent.from..extent.to;
            (headed(0) || headed(80)) && found.get(range.clone()) == written.get(range)
        };
        let steps = self.extents.iter().take_while(whole).count();
        &self.history.states[steps]
    }

    #[track_caller]
    fn opens_with_what_is_left(&self, place: &Place, image: &Image, what: &str) {
        write_image(place.path(), image);
        let expected = self.left_in(image);
        let store = place.open();
        let report = store.recovery().clone();
        assert_same(&contents(&store), expected, &format!("{what}: {report:?}"));
        assert_eq!(
            report.damage,
            [],
            "{what}: what was not synced is no damage"
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
            "{what}: the second open: {:?}",
            store.recovery()
        );
        // What was lost does not come back when its seqs would fit again.
        hash(&store, "flat").put("after", "the cut").expect("put");
        let copy = Place::copy_of(place.path());
        let mut expected = expected.clone();
        expected.insert(("flat".to_owned(), b"after".to_vec()), b"the cut".to_vec());
        assert_same(
            &contents(&copy.open()),
            &expected,
            &format!("{what}: after new writes"),
        );
    }
}

#[test]
fn an_older_segment_that_lost_its_end_takes_the_younger_ones_with_it() {
    let all = unsynced(0, 40);
    let segments = all.segments();
    assert!(segments.len() >= 3, "{segments:?}");
    let place = Place::new();
    for segment in &segments[..segments.len() - 1] {
        let whole = &all.image[segment];
        for len in (0..=whole.len()).rev().step_by(23) {
            let mut image = all.image.clone();
            image.insert(segment.clone(), whole[..len].to_vec());
            all.opens_with_what_is_left(&place, &image, &format!("{segment} cut at {len}"));
            let mut zeroed = whole.clone();
            zeroed[len..].fill(0);
            image.insert(segment.clone(), zeroed);
            all.opens_with_what_is_left(&place, &image, &format!("{segment} zeros from {len}"));
        }
    }
}

/// The directory was not synced: any of the new names may be missing.
#[test]
fn any_of_the_new_segments_may_be_missing_or_empty() {
    let all = unsynced(0, 60);
    let segments = all.segments();
    assert!((4..=6).contains(&segments.len()), "{segments:?}");
    let place = Place::new();
    for lost in 0..1_u32 << segments.len() {
        for empty in [false, true] {
            let mut image = all.image.clone();
            for (at, segment) in segments.iter().enumerate() {
                if lost >> at & 1 == 1 {
                    image.remove(segment);
                    if empty {
                        image.insert(segment.clone(), Vec::new());
                    }
                }
            }
            let what = format!("segments {lost:b} lost, empty {empty}");
            all.opens_with_what_is_left(&place, &image, &what);
        }
    }
}

/// Zeroes some sectors of all that was not synced; bytes before `safe` in a file were.
fn lose_sectors(rng: &mut Rng, all: &Unsynced, image: &mut Image, one_in: u64) -> Vec<String> {
    let synced_end = |segment: &String| {
        let ends = all.extents[..all.synced]
            .iter()
            .filter(|extent| extent.segment == *segment);
        ends.map(|extent| extent.to).max().unwrap_or(0)
    };
    let mut lost = Vec::new();
    for segment in all.segments() {
        let safe = synced_end(&segment);
        let bytes = image.get_mut(&segment).expect("there");
        for start in (0..bytes.len()).step_by(SECTOR) {
            let end = (start + SECTOR).min(bytes.len());
            if end > safe && rng.below(one_in) == 0 {
                bytes[start.max(safe)..end].fill(0);
                lost.push(format!("{segment} {start}"));
            }
        }
    }
    lost
}

#[test]
fn any_sectors_of_what_was_not_synced_may_be_lost() {
    for synced_turns in [0, 14, 22] {
        let all = unsynced(synced_turns, 40);
        let place = Place::new();
        for round in 0..rounds(150) {
            let mut rng = Rng::new(0x5EC7 + round);
            let mut image = all.image.clone();
            let one_in = [2, 8, 20, 40][rng.index(4)];
            let lost = lose_sectors(&mut rng, &all, &mut image, one_in);
            let state = all.left_in(&image);
            let kept = all.history.states.iter().rposition(|other| other == state);
            assert!(
                kept >= Some(all.synced),
                "the test itself loses nothing that was synced"
            );
            let what = format!("{synced_turns} turns synced, sectors lost: {lost:?}");
            all.opens_with_what_is_left(&place, &image, &what);
        }
    }
}
