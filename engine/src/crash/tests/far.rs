//! Full large segments: places many megabytes behind the beginning of a segment, found again by keydir image, and
//! pages of the hash keydir that grow beside them. A fault here was found by a benchmark and not by the lab,
//! whose segments were small.

use std::collections::BTreeMap;

use crate::crash::{Cut, Explorer, SimDisk, Workload};
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::mutant::{self, Mutant};
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::segment::names::{self, ImageCopy};
use crate::store::Store;

const SEGMENT_BYTES: u64 = 24 << 20;
/// Zeros, which a simulated disk keeps for nothing.
const LONG_LEN: usize = 4 << 20;
/// More than a page of the keydir holds on average.
const FAR_KEYS: u32 = 3_000;
/// So many come after the open: pages are made anew, and split.
const NEAR_KEYS: u32 = 4_000;

/// Key to value.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> Options {
    Options::default()
        .segment_bytes(SEGMENT_BYTES)
        .reserve_bytes(0)
        .image_index_bytes(0)
}

/// A store under way, and what it must hold.
struct Life {
    store: Store,
    space: Keyspace,
    model: Model,
}

impl Life {
    fn begin(disk: &SimDisk, model: Model) -> Life {
        let store = Store::open_on(disk, options()).expect("opens");
        assert_eq!(store.recovery().damage, [], "nobody harmed it");
        let space = store.keyspace("far", KeyspaceOptions::hash());
        let space = space.expect("made, or there");
        Life {
            store,
            space,
            model,
        }
    }

    fn end(self) -> Model {
        drop(self.space);
        self.store.close().expect("closed");
        self.model
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>) {
        let write = Write::new().durability(Durability::Device);
        let put = self.space.put_with(key, &value, write);
        put.and_then(|commit| commit.wait()).expect("put");
        self.model.insert(key.to_vec(), value);
    }

    /// Small records of these keys, together.
    fn batch(&mut self, keys: std::ops::Range<u32>) {
        let mut batch = self.store.batch();
        for key in keys {
            let (key, value) = (key.to_le_bytes(), (key ^ 0x5A5A).to_le_bytes());
            batch.put(&self.space, key, value);
            self.model.insert(key.to_vec(), value.to_vec());
        }
        batch.commit().expect("written");
    }

    fn delete(&mut self, key: u32) {
        let key = key.to_le_bytes();
        assert!(self.space.delete(key).expect("deleted"));
        self.model.remove(key.as_slice());
    }

    /// Some key that it must hold with another value, or holds and must not.
    fn differs(&self) -> Option<String> {
        for (key, value) in &self.model {
            match self.space.get(key) {
                Ok(Some(found)) if *found == **value => {}
                Ok(found) => {
                    let len = found.map(|value| value.len());
                    return Some(format!("key {key:?}: a value of {len:?} bytes"));
                }
                Err(error) => return Some(format!("key {key:?}: {error}")),
            }
        }
        let found = self.space.walk().filter(Result::is_ok).count();
        let wanted = self.model.len();
        (found != wanted).then(|| format!("{found} keys of {wanted}"))
    }
}

/// A store of two full segments, closed, and what it holds.
fn filled(disk: &SimDisk) -> Model {
    let mut life = Life::begin(disk, Model::new());
    for part in 0..12_u32 {
        let keys = FAR_KEYS / 12;
        life.batch(part * keys..(part + 1) * keys);
        life.put(&[u8::try_from(part).expect("small")], vec![0; LONG_LEN]);
    }
    let rotations = life.store.stats().rotations;
    assert!(rotations >= 2, "they are full: {rotations}");
    life.end()
}

/// Something that a life does.
type Step = Box<dyn Fn(&mut Life)>;

/// What a second life does, each step acknowledged.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for part in 0..4 {
        let from = FAR_KEYS + part * NEAR_KEYS / 4;
        steps.push(Box::new(move |life| life.batch(from..from + NEAR_KEYS / 4)));
    }
    steps.push(Box::new(|life| {
        (0..40).for_each(|key| life.delete(7 * key))
    }));
    steps.push(Box::new(|life| life.put(&[3], vec![0; LONG_LEN])));
    steps.push(Box::new(|life| {
        life.store.merge(Merge::Full).expect("merged");
    }));
    steps.push(Box::new(|life| life.batch(20_000..20_500)));
    steps
}

/// Lives the second life, crashed after each step; answers with how many crashes were judged, and what the
/// first of them that did not hold shows.
fn second_life() -> (u64, Option<String>) {
    let disk = SimDisk::new(7);
    let mut life = Life::begin(&disk, filled(&disk));
    let mut states = 0;
    for (number, step) in (0..).zip(steps()) {
        step(&mut life);
        if let Some(what) = life.differs() {
            return (states, Some(format!("step {number}: {what}")));
        }
        let dice = |n: u64| disk.crash_by_dice(8 * number + n);
        for crashed in [
            disk.crash(&Cut::Kill),
            disk.crash_losing_all(),
            dice(0),
            dice(1),
        ] {
            states += 1;
            let mut after = Life::begin(&crashed, life.model.clone());
            if let Some(what) = after.differs() {
                return (states, Some(format!("a crash after step {number}: {what}")));
            }
            // What it writes makes pages anew that came by the image.
            after.batch(30_000..31_000);
            after.delete(30_001);
            if let Some(what) = after.differs() {
                return (states, Some(format!("life after step {number}: {what}")));
            }
        }
    }
    let model = life.end();
    let last = Life::begin(&disk, model);
    (states, last.differs())
}

#[test]
fn places_far_into_full_segments_are_kept_when_the_keydir_of_an_image_grows() {
    let (states, differs) = second_life();
    assert_eq!(differs, None);
    println!("{states} crashes of large segments judged");
    assert!(states > 30, "{states}");
}

/// It is an image that the second life begins with, or the test above shows nothing.
#[test]
fn a_store_of_large_segments_opens_by_its_image() {
    let disk = SimDisk::new(7);
    let model = filled(&disk);
    let is_image = |name: &str| {
        [ImageCopy::A, ImageCopy::B]
            .map(names::image)
            .contains(&name)
    };
    let files = disk.files();
    assert!(files.iter().any(|(name, _)| is_image(name)), "{files:?}");
    let longest = files.iter().map(|(_, len)| *len).max().unwrap_or(0);
    assert!(longest > 20 << 20, "full segments: {files:?}");
    assert_eq!(Life::begin(&disk, model).differs(), None);
}

/// The fault that the benchmark found, put back: the first thing that the second life writes shows it.
#[test]
fn places_that_are_cut_off_are_noticed_in_large_segments() {
    mutant::switch(Some(Mutant::ImagePlacesCutOff));
    let (states, differs) = second_life();
    mutant::switch(None);
    let differs = differs.expect("the fault shows");
    println!("{states} crashes, then: {differs}");
}

/// Steps over large segments under the explorer: at every call, in every recovery.
#[test]
fn workloads_of_large_segments_survive_every_crash() {
    let steps = "S256,p0.1.70000d,p0.2.30d,p0.3.70000k,p1.1.30d,p0.4.30d,o,d0.2d,p0.5.30d,r,p0.2.90000d,p0.6.30d,m,o,d0.5k,M,o";
    let workload: Workload = steps.parse().expect("steps");
    let mut explorer = Explorer::new().states(400).samples(2).depth(1);
    let report = explorer.workloads(&[workload]);
    println!("{report}");
    report.assert_survived(250);
}
