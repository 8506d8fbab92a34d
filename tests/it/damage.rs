//! Rot: any byte of any file reads back wrong, files are gone, cut, or stand in each other's place.
//! Open succeeds, no value comes out that was not written for that key, a flipped byte costs at
//! most the record that it hit, and nothing is lost in silence.

mod chance;
mod files;
mod flips;
mod salvage;

use peercask::{Merge, Store};

use crate::history::{History, Reading, SPACES, expected, readings};
use crate::support::{Contents, Image, Place, files, hints, segments};

/// A store that was closed, with what was done to it.
struct Closed {
    image: Image,
    history: History,
    /// Every key that ever was.
    places: Vec<(String, Vec<u8>)>,
}

/// A merged segment and two younger ones, which replace and delete part of what it holds.
fn closed() -> Closed {
    let place = Place::new();
    let mut history = History::new();
    for turns in [0..2, 2..4] {
        let store = place.open();
        history.run(&store, turns);
        store.close().expect("closed");
    }
    let store = place.open();
    store.merge(Merge::Full).expect("merged");
    store.close().expect("closed");
    for turns in [4..6, 6..8] {
        let store = place.open();
        history.run(&store, turns);
        store.close().expect("closed");
    }
    let (segments, hints) = (segments(place.path()), hints(place.path()));
    assert!(segments.len() >= 3, "{:?}", files(place.path()));
    assert_eq!(segments.len(), hints.len(), "{:?}", files(place.path()));
    let infos = peercask::inspect::segments(place.path()).expect("inspected");
    assert!(infos.iter().any(|info| info.kind == "merged"), "{infos:?}");
    assert!(
        infos.iter().all(|info| info.sealed && info.hint == "valid"),
        "{infos:?}"
    );
    let places = history.places();
    Closed {
        image: place.image(),
        history,
        places,
    }
}

impl Closed {
    fn last(&self) -> &Contents {
        self.history.last()
    }

    /// Everything reads as it was written.
    #[track_caller]
    fn is_whole(&self, store: &Store, what: &str) {
        assert_eq!(self.lost(store, what), [], "{what}: {:?}", store.recovery());
    }

    /// Everything reads as it was written, but for these keys, which answer with an error.
    #[track_caller]
    fn lost(&self, store: &Store, what: &str) -> Vec<(String, Vec<u8>)> {
        let mut lost = Vec::new();
        for (place, reading) in readings(store, &self.places) {
            if reading == Reading::Damaged {
                lost.push(place);
            } else {
                let expected = expected(self.last(), &place);
                assert_eq!(
                    reading,
                    expected,
                    "{what}: {place:?}: {:?}",
                    store.recovery()
                );
            }
        }
        self.walks_agree(store, &lost, what);
        lost
    }

    /// A walk meets the same entries, and one error for each that cannot be read.
    #[track_caller]
    fn walks_agree(&self, store: &Store, lost: &[(String, Vec<u8>)], what: &str) {
        let mut met = Contents::new();
        let mut failed = 0;
        for name in SPACES {
            let keyspace = store
                .existing_keyspace(name)
                .expect("it is in the manifest");
            for entry in keyspace.walk() {
                match entry {
                    Ok(entry) => {
                        met.insert((name.to_owned(), entry.key.to_vec()), entry.value.to_vec());
                    }
                    Err(_) => failed += 1,
                }
            }
        }
        let mut left = self.last().clone();
        left.retain(|place, _| !lost.contains(place));
        assert_eq!((met, failed), (left, lost.len()), "{what}: walked");
    }
}
