//! Directories copied file by file under a running store, as backup programs do. Such a copy is no
//! checkpoint, but it opens or is refused with a reason, and whatever it gives was written once.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use peercask::{Durability, ErrorKind, Merge, Missing, Options, Store};

use crate::support::{Place, Rng, files, hash, ordered, rounds};

fn options() -> Options {
    Options::default()
        .background(false)
        .durability(Durability::Kernel)
        .reserve_bytes(0)
        .segment_bytes(4_096)
}

/// A value that says whose it is and which.
fn value(key: u64, number: u64) -> Vec<u8> {
    let mut value = [key.to_le_bytes(), number.to_le_bytes()].concat();
    value.resize(
        16 + usize::try_from(number % 300).expect("small"),
        key.to_le_bytes()[0],
    );
    value
}

fn check(key: u64, found: &[u8]) {
    let number = u64::from_le_bytes(found[8..16].try_into().expect("eight bytes"));
    assert_eq!(found, value(key, number), "a value that was written once");
}

/// In the order that a directory happens to be listed in; files may go meanwhile.
fn copy(from: &Path, to: &Path, rng: &mut Rng) {
    let mut names = files(from);
    for at in (1..names.len()).rev() {
        names.swap(at, rng.index(at + 1));
    }
    for name in names {
        match fs::copy(from.join(&name), to.join(&name)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn a_directory_copied_while_it_lives_opens_or_is_refused_and_never_lies() {
    let place = Place::new();
    let store = Store::open(place.path(), options()).expect("opened");
    let stop = AtomicBool::new(false);
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let key = number % 37;
                for space in [&flat, &sorted] {
                    space
                        .put(key.to_le_bytes(), value(key, number))
                        .expect("put");
                }
                if number % 50 == 49 {
                    store.merge(Merge::Needed).expect("merged");
                }
            }
        });
        let mut rng = Rng::new(0xC0B1);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..rounds(25) {
                let target = Place::new();
                copy(place.path(), target.path(), &mut rng);
                let strict = Store::open(target.path(), options());
                let copied = match strict {
                    Ok(copied) => {
                        opened += 1;
                        copied
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
                        assert!(error.file().is_some(), "the refusal names a file: {error}");
                        let lenient = options().missing_segments(Missing::Accept);
                        Store::open(target.path(), lenient).expect("opens when told to")
                    }
                };
                for name in ["flat", "sorted"] {
                    let Ok(space) = copied.existing_keyspace(name) else {
                        continue;
                    };
                    for entry in space.walk() {
                        // Damage is an error of its own; a value that comes is right.
                        let Ok(entry) = entry else { continue };
                        let key = entry.key[..].try_into().expect("eight bytes");
                        check(u64::from_le_bytes(key), &entry.value);
                    }
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = judged {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(opened + refused, rounds(25));
}
