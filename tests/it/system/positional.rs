//! Positional reads: the same answers as through maps, no map anywhere, and a file that somebody
//! cuts under a live reader is an error of the reads that miss bytes, not the end of the process.

use peercask::{ErrorKind, Merge, Reads, Store};

use crate::support::{
    Place, Rng, assert_same, contents, files, hash, ordered, rounds, segments, set_len,
};

fn open(place: &Place, reads: Reads) -> Store {
    place.open_with(place.options().reads(reads))
}

/// A few hundred writes of every kind, over several segments.
fn churn(store: &Store, rng: &mut Rng) {
    let (flat, sorted) = (hash(store, "flat"), ordered(store, "sorted"));
    for _ in 0..200 {
        let space = [&flat, &sorted][rng.index(2)];
        let key = format!("key {}", rng.below(50));
        if rng.below(4) == 0 {
            space.delete(key).expect("deleted");
        } else {
            let len = rng.index(400);
            space.put(key, rng.bytes(len)).expect("put");
        }
    }
}

#[test]
fn positional_reads_answer_as_mapped_ones_do() {
    for round in 0..rounds(4) {
        let (mapped, positional) = (Place::new(), Place::new());
        let seen =
            [(&mapped, Reads::Mapped), (&positional, Reads::Positional)].map(|(place, reads)| {
                let mut rng = Rng::quiet(0x9051, round);
                let mut seen = Vec::new();
                for life in 0..3 {
                    let store = open(place, reads);
                    churn(&store, &mut rng);
                    seen.push(contents(&store));
                    let report = store.merge(Merge::Full).expect("merged");
                    assert!(
                        report.segments_in > 0 || life > 0,
                        "there was something to merge"
                    );
                    seen.push(contents(&store));
                    assert!(
                        store
                            .verify(&mut |_| {})
                            .expect("verified")
                            .damage
                            .is_empty()
                    );
                    store.close().expect("closed");
                }
                seen
            });
        for (at, (one, other)) in seen[0].iter().zip(&seen[1]).enumerate() {
            assert_same(one, other, &format!("round {round}, look {at}"));
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn positional_reads_map_no_file() {
    let maps_of = |place: &Place| {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("read");
        let dir = place.path().to_string_lossy().into_owned();
        maps.lines().filter(|line| line.contains(&dir)).count()
    };
    for (reads, expect_maps) in [(Reads::Mapped, true), (Reads::Positional, false)] {
        let place = Place::new();
        churn(&open(&place, reads), &mut Rng::quiet(0x9052, 0));
        let store = open(&place, reads);
        let held = contents(&store);
        store.merge(Merge::Full).expect("merged");
        assert_eq!(maps_of(&place) > 0, expect_maps, "{reads:?}");
        assert_same(&contents(&store), &held, "after merge");
    }
}

#[test]
fn a_segment_cut_under_a_live_reader_is_an_error_that_names_it() {
    let place = Place::new();
    let store = open(&place, Reads::Positional);
    let space = hash(&store, "flat");
    for key in 0..60_u32 {
        space.put(key.to_le_bytes(), vec![7; 300]).expect("put");
    }
    let victim = segments(place.path()).swap_remove(1);
    let whole = std::fs::metadata(place.file(&victim)).expect("there").len();
    set_len(&place.file(&victim), whole / 2);

    let (mut good, mut bad) = (0, 0);
    for key in 0..60_u32 {
        match space.get(key.to_le_bytes()) {
            Ok(value) => {
                assert_eq!(value.expect("there"), [7; 300]);
                good += 1;
            }
            Err(error) => {
                let told = error.to_string();
                assert!(told.contains(&victim), "the error names the file: {told}");
                assert!(matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::Io));
                bad += 1;
            }
        }
    }
    assert!(bad > 0, "half of a segment is missing: {good} good");
    assert!(
        good >= 60 - 12,
        "only reads of the cut file fail: {bad} bad"
    );
    // Writing goes on, a lost key can be written anew, and verify names the file too.
    for key in 0..60_u32 {
        space.put(key.to_le_bytes(), vec![8; 30]).expect("put");
        let value = space.get(key.to_le_bytes()).expect("read");
        assert_eq!(value.expect("there"), [8; 30]);
    }
    let report = store.verify(&mut |_| {}).expect("verified");
    let named = report.damage.iter().any(|damage| damage.file == victim);
    assert!(named, "{:?} in {:?}", report.damage, files(place.path()));
}
