//! Sectors that come back as they once were, and sectors that changed places: writes that the device said were
//! done and were not, and writes that went to each other's place. Told, or of no consequence; never an
//! old value in silence.

use std::collections::BTreeMap;

use super::damage::{Found, Versions, copy, look, names, store_on};
use crate::crash::machine::{keyspace, options};
use crate::crash::{Background, SimDisk};
use crate::merge::Merge;
use crate::store::Store;

const SECTOR: usize = 512;

/// Contents of all files at some moment.
type Moment = BTreeMap<String, Vec<u8>>;

fn moment(disk: &SimDisk) -> Moment {
    let bytes = |(name, _): (String, usize)| {
        let bytes = disk.bytes_of(&name).expect("listed");
        (name, bytes)
    };
    names(disk).into_iter().map(bytes).collect()
}

/// A store that lives for a while, closed at its end, and each of its moments.
fn life() -> (SimDisk, Versions, Vec<Moment>) {
    let disk = SimDisk::new(21);
    let mut versions = Versions::new();
    let mut moments = Vec::new();
    let mut store = Store::open_on(&disk, options()).expect("opened");
    for round in 0..4_u8 {
        let space = keyspace(&store, 0).expect("made");
        for key in 0..5_u8 {
            let value = vec![round * 16 + key; 60 + usize::from(key) * 40];
            space.put([key], &value).expect("put");
            versions.entry(key).or_default().push(Some(value));
            moments.push(moment(&disk));
        }
        space.delete([round]).expect("deleted");
        versions.entry(round).or_default().push(None);
        drop(space);
        match round {
            0 => store.rotate().expect("sealed"),
            1 => {
                store.background_step(Background::Work).expect("worked");
                store.merge(Merge::Full).expect("merged");
            }
            _ => {
                store.close().expect("closed");
                moments.push(moment(&disk));
                store = Store::open_on(&disk, options()).expect("opened");
            }
        }
        moments.push(moment(&disk));
    }
    store.close().expect("closed");
    (disk, versions, moments)
}

fn with_sector(bytes: &[u8], sector: usize, other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place = bytes.iter_mut().skip(sector * SECTOR).take(SECTOR);
    for (byte, other) in place.zip(other.iter().skip(sector * SECTOR)) {
        *byte = *other;
    }
    bytes
}

#[test]
fn a_sector_of_the_past_is_told_and_shows_no_old_value_in_silence() {
    let (disk, versions, moments) = life();
    let (mut found, mut tried) = (Found::default(), 0);
    for (name, len) in names(&disk) {
        let now = disk.bytes_of(&name).expect("listed");
        for sector in 0..len.div_ceil(SECTOR) {
            let past = moments.iter().filter_map(|moment| moment.get(&name));
            let mut pasts: Vec<Vec<u8>> = past
                .map(|past| with_sector(&now, sector, past))
                .filter(|past| *past != now)
                .collect();
            pasts.sort_unstable();
            pasts.dedup();
            for (number, past) in pasts.into_iter().enumerate() {
                let copy = copy(&disk);
                copy.put_file(&name, &past);
                let what = format!("{name}, sector {sector} as of its past {number}");
                look(&copy, &versions, &what, &mut found);
                tried += 1;
            }
        }
    }
    println!("{tried} sectors of the past: {found:?}");
    assert!(tried > 15 && found.reported > 10, "{tried}: {found:?}");
}

#[test]
fn sectors_that_changed_places_are_told() {
    let disk = SimDisk::new(22);
    let versions = store_on(&disk);
    let sectors: Vec<(String, usize)> = names(&disk)
        .into_iter()
        .flat_map(|(name, len)| (0..len.div_ceil(SECTOR)).map(move |at| (name.clone(), at)))
        .collect();
    let mut found = Found::default();
    for (number, one) in sectors.iter().enumerate() {
        for other in sectors.iter().skip(number + 1) {
            let swapped = copy(&disk);
            swapped
                .misdirect(&one.0, one.1, &other.0, other.1)
                .expect("there");
            let back = disk.bytes_of(&other.0).expect("there");
            let mut place = swapped.bytes_of(&one.0).expect("there");
            let from = back.iter().skip(other.1 * SECTOR).take(SECTOR);
            for (byte, from) in place.iter_mut().skip(one.1 * SECTOR).zip(from) {
                *byte = *from;
            }
            swapped.put_file(&one.0, &place);
            if one.0 == other.0 {
                // The first call's half is in the same file: both halves at once.
                let mut both = disk.bytes_of(&one.0).expect("there");
                for at in 0..SECTOR {
                    let (a, b) = (one.1 * SECTOR + at, other.1 * SECTOR + at);
                    if b < both.len() {
                        both.swap(a, b);
                    }
                }
                swapped.put_file(&one.0, &both);
            }
            look(
                &swapped,
                &versions,
                &format!("{one:?} and {other:?}"),
                &mut found,
            );
        }
    }
    println!("{found:?}");
    assert!(found.reported > 60 && found.lost > 10, "{found:?}");
}
