//! Several damages at once, by chance: bytes flipped, files cut, lengthened, zeroed in part, given
//! another's block or name, removed. Whatever stands in the directory, the store opens or refuses
//! with a reason; it never panics, and no value comes out that was not written for its key.

use peercask::{ErrorKind, Merge, Missing, Store};

use super::{Closed, closed};
use crate::history::{Reading, readings};
use crate::support::{Image, Place, Rng, hash, rounds, write_image};

fn any_name(rng: &mut Rng, image: &Image) -> Option<String> {
    let names: Vec<&String> = image.keys().collect();
    (!names.is_empty()).then(|| names[rng.index(names.len())].clone())
}

/// A start and a length within the file.
fn any_part(rng: &mut Rng, len: usize) -> (usize, usize) {
    let start = rng.index(len + 1);
    (start, rng.index((len - start).min(600) + 1))
}

fn harm(rng: &mut Rng, image: &mut Image, original: &Image) -> Option<String> {
    let name = any_name(rng, image)?;
    let other = any_name(rng, original)?;
    let bytes = image.get_mut(&name)?;
    let (start, len) = any_part(rng, bytes.len());
    let what = match rng.below(9) {
        0 | 1 if !bytes.is_empty() => {
            let at = rng.index(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
            format!("{name}: bit at {at}")
        }
        2 => {
            bytes.truncate(start);
            format!("{name}: cut at {start}")
        }
        3 => {
            let more = rng.bytes(len);
            bytes.extend_from_slice(&more);
            format!("{name}: {len} bytes more")
        }
        4 => {
            bytes[start..start + len].fill(0);
            format!("{name}: {len} zeros at {start}")
        }
        5 => {
            let from = &original[&other];
            let (at, len) = any_part(rng, from.len());
            let len = len.min(bytes.len() - start);
            bytes[start..start + len].copy_from_slice(&from[at..at + len]);
            format!("{name}: {len} bytes of {other} from {at} at {start}")
        }
        6 => {
            let block = rng.bytes(len);
            bytes[start..start + len].copy_from_slice(&block);
            format!("{name}: {len} bytes of garbage at {start}")
        }
        7 => {
            image.remove(&name);
            format!("{name}: removed")
        }
        _ => {
            image.insert(name.clone(), original[&other].clone());
            format!("{name}: is {other}")
        }
    };
    Some(what)
}

/// Everything that reads was written.
#[track_caller]
fn nothing_is_forged(closed: &Closed, store: &Store, what: &str) {
    for (place, reading) in readings(store, &closed.places) {
        if let Reading::Is(value) = reading {
            let written = closed.history.was_written(&place, &value);
            assert!(written, "{what}: {place:?} reads as {value:?}");
        }
    }
}

fn open_and_use(closed: &Closed, place: &Place, missing: Missing, what: &str) -> bool {
    let opened = Store::open(place.path(), place.options().missing_segments(missing));
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            let known = [ErrorKind::Corrupted, ErrorKind::InvalidArgument];
            assert!(known.contains(&error.kind()), "{what}: {error:?}");
            return false;
        }
    };
    nothing_is_forged(closed, &store, what);
    store
        .verify(&mut |_| {})
        .expect("damage is no error of verify");
    for info in store.keyspaces() {
        let keyspace = store.existing_keyspace(&info.name).expect("listed");
        for error in keyspace.walk().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Corrupted, "{what}: {error}");
        }
    }
    let fresh = hash(&store, "fresh");
    fresh.put("key", what).expect("put");
    store
        .merge(Merge::Full)
        .expect("what is damaged is left alone");
    nothing_is_forged(closed, &store, &format!("{what}, merged"));
    drop(fresh);
    store.close().expect("closed");

    let reopened = Store::open(place.path(), place.options().missing_segments(missing));
    let store = reopened.unwrap_or_else(|error| panic!("{what}: opens again: {error:?}"));
    nothing_is_forged(closed, &store, &format!("{what}, reopened"));
    let kept = hash(&store, "fresh")
        .get("key")
        .expect("read")
        .expect("there");
    assert_eq!(kept, what.as_bytes());
    true
}

#[test]
fn whatever_stands_in_the_directory_nothing_panics_and_nothing_is_forged() {
    let closed = closed();
    let place = Place::new();
    let mut opened = [0, 0];
    for round in 0..rounds(400) {
        let mut rng = Rng::new(0xDA3A + round);
        let mut image = closed.image.clone();
        let harms: Vec<String> = (0..=rng.below(6))
            .filter_map(|_| harm(&mut rng, &mut image, &closed.image))
            .collect();
        let what = format!("round {round}: {}", harms.join("; "));
        for (at, missing) in [Missing::Refuse, Missing::Accept].into_iter().enumerate() {
            write_image(place.path(), &image);
            opened[at] += u64::from(open_and_use(&closed, &place, missing, &what));
        }
    }
    assert!(
        opened[0] > rounds(100),
        "some harm is no reason to refuse: {opened:?}"
    );
    assert!(
        opened[1] > opened[0],
        "Missing::Accept opens more: {opened:?}"
    );
}
