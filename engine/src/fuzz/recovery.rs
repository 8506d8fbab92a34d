//! Recovery on any directory: a store of known content is damaged as the fuzzer says, or files of
//! its own are put in its place. It opens or is refused with a reason; whatever it then gives was
//! written once under that key, merging and writing go on, and a reopen finds the same.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::script::Script;
use crate::crash::SimDisk;
use crate::error::{ErrorKind, Result};
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Missing, Options, Write};
use crate::segment::location::SegmentId;
use crate::segment::names::{self, ManifestCopy};
use crate::store::Store;

/// A value carries its key and is filled with a byte of it, so that any other is recognised.
fn value(key: u8, version: u8) -> Vec<u8> {
    let mut value = vec![key, version];
    value.resize(2 + usize::from(version) * 3, key ^ 0x5A);
    value
}

fn check_value(key: &[u8], found: &[u8]) {
    let (key, version) = match (key, found) {
        ([key], [of, version, ..]) if key == of => (*key, *version),
        _ => panic!("a value of another key: {key:?} {found:?}"),
    };
    assert!(
        found == value(key, version),
        "a value that was never written"
    );
}

fn options() -> Options {
    Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .missing_segments(Missing::Accept)
}

/// Names and bytes of all files.
type Image = Vec<(String, Vec<u8>)>;

/// Images of stores: closed, killed, and killed in the second life.
fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let disk = SimDisk::new(0xF0);
        let mut images = Vec::new();
        for life in 0..3_u8 {
            let store = write_life(&disk, life).expect("a disk without faults");
            if life > 0 {
                images.push(image(&disk.crash_by_dice(u64::from(life))));
            }
            store.close().expect("closed");
            images.push(image(&disk));
        }
        images
    })
}

fn write_life(disk: &SimDisk, life: u8) -> Result<Store> {
    let store = Store::open_on(disk, options())?;
    let flat = store.keyspace("flat", KeyspaceOptions::hash())?;
    let sorted = store.keyspace("sorted", KeyspaceOptions::ordered())?;
    for turn in 0..60_u8 {
        let key = turn % 11;
        let version = life * 60 + turn;
        let how = [Durability::Kernel, Durability::Device][usize::from(turn % 2)];
        let mut write = Write::new().durability(how);
        if turn % 7 == 0 {
            write = write.expires_at_ms(store.now_ms() + 1_000_000_000);
        }
        let _written = flat.put_with([key], value(key, version), write)?;
        let _written = sorted.put_with([key], value(key, version), write)?;
        match turn {
            20 => drop(flat.delete([3])?),
            30 => {
                let mut batch = store.batch();
                for key in 11..15 {
                    batch.put(&sorted, [key], value(key, version));
                }
                let _committed = batch.commit()?;
            }
            45 if life > 0 => drop(store.merge(Merge::Full)?),
            _ => {}
        }
    }
    Ok(store)
}

fn image(disk: &SimDisk) -> Image {
    let bytes = |name: String| {
        let bytes = disk.bytes_of(&name).expect("listed");
        (name, bytes)
    };
    disk.files()
        .into_iter()
        .map(|(name, _)| bytes(name))
        .collect()
}

/// Changes the files as the script says.
fn damage(script: &mut Script<'_>, files: &mut BTreeMap<String, Vec<u8>>) {
    let names: Vec<String> = files.keys().cloned().collect();
    let Some(name) = names.get(script.below(names.len())).cloned() else {
        return;
    };
    let other = names
        .get(script.below(names.len()))
        .cloned()
        .unwrap_or_default();
    let Some(bytes) = files.get_mut(&name) else {
        return;
    };
    match script.byte() % 9 {
        0 => {
            let at = script.below(bytes.len());
            let mask = script.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        1 => {
            let len = script.below(bytes.len() + 1);
            bytes.truncate(len);
        }
        2 => drop(files.remove(&name)),
        3 => {
            let copy = bytes.clone();
            files.insert(other, copy);
        }
        4 => {
            let from = script.below(bytes.len()) / 512 * 512;
            let sector = bytes.iter_mut().skip(from).take(512);
            sector.for_each(|byte| *byte = 0);
        }
        5 => {
            let len = script.below(4_096);
            bytes.extend_from_slice(script.take(len));
        }
        6 => {
            let at = script.below(bytes.len());
            let new = script.take(64);
            for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
                *byte = *new;
            }
        }
        7 => {
            // A sector of the file over another one of it.
            let (from, to) = (script.below(bytes.len()), script.below(bytes.len()));
            let sector: Vec<u8> = bytes
                .iter()
                .skip(from / 512 * 512)
                .take(512)
                .copied()
                .collect();
            for (byte, new) in bytes.iter_mut().skip(to / 512 * 512).zip(sector) {
                *byte = new;
            }
        }
        _ => {
            let moved = files.remove(&name).unwrap_or_default();
            files.insert(a_name(script), moved);
        }
    }
}

/// A name that means something to a store, or one that does not.
fn a_name(script: &mut Script<'_>) -> String {
    let id = SegmentId(u64::from(script.byte() % 12));
    match script.byte() % 4 {
        0 => names::segment(id),
        1 => names::hint(id),
        2 => names::temporary(&names::segment(id)),
        _ => "theirs".to_owned(),
    }
}

/// All that can be read; a record that cannot be is left out, but never wrong.
fn content(store: &Store) -> BTreeMap<(String, Vec<u8>), Vec<u8>> {
    let mut content = BTreeMap::new();
    for info in store.keyspaces() {
        let Ok(space) = store.existing_keyspace(&info.name) else {
            continue;
        };
        for entry in space.walk().filter_map(Result::ok) {
            check_value(&entry.key, &entry.value);
            content.insert(
                (info.name.clone(), entry.key.to_vec()),
                entry.value.to_vec(),
            );
        }
        for key in 0..16 {
            if let Ok(Some(found)) = space.get([key]) {
                check_value(&[key], &found);
            }
        }
    }
    content
}

/// Any bytes as a damaged directory.
pub fn fuzz_recovery(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let images = images();
    let base = images.get(usize::from(script.byte()) % (images.len() + 1));
    let mut files: BTreeMap<String, Vec<u8>> = base.into_iter().flatten().cloned().collect();
    if files.is_empty() {
        // A directory of the fuzzer's own, under names that mean something to a store.
        let one = SegmentId(1);
        for name in [
            names::manifest(ManifestCopy::A).to_owned(),
            names::segment(one),
            names::hint(one),
        ] {
            let len = script.below(2_048);
            files.insert(name, script.take(len).to_vec());
        }
    }
    for _ in 0..8 {
        if script.is_over() {
            break;
        }
        damage(&mut script, &mut files);
    }
    let disk = SimDisk::new(1);
    for (name, bytes) in &files {
        disk.put_file(name, bytes);
    }
    let strict = Store::open_on(&disk, options().missing_segments(Missing::Refuse));
    let opened = match strict {
        Ok(store) => Ok(store),
        Err(_) => Store::open_on(&disk, options()),
    };
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            let kind = error.kind();
            let known = matches!(
                kind,
                ErrorKind::Corrupted
                    | ErrorKind::UnsupportedFormat
                    | ErrorKind::NotFound
                    | ErrorKind::InvalidArgument
            );
            assert!(known, "refused for a reason that damage gives: {error}");
            return;
        }
    };
    live_on(&disk, store);
}

/// The store that was opened works, and a reopen finds what it held.
fn live_on(disk: &SimDisk, store: Store) {
    let found = content(&store);
    let flat = store.keyspace("flat", KeyspaceOptions::hash());
    let flat = flat.or_else(|_| store.keyspace("other", KeyspaceOptions::hash()));
    let flat = flat.expect("some keyspace can be made");
    flat.put([200], value(200, 1)).expect("writing goes on");
    // Merge may meet the damage and say so; what could be read stays.
    let _told = store.merge(Merge::Full);
    let verified = store
        .verify(&mut |_| {})
        .expect("verify reports, it does not fail");
    drop(verified);
    let merged = content(&store);
    for (key, value) in &found {
        assert!(merged.get(key) == Some(value), "{key:?} went with a merge");
    }
    drop(flat);
    let _told = store.close();
    let store = Store::open_on(disk, options()).expect("what was open opens again");
    assert!(content(&store) == merged, "a reopen finds the same");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fuzz::seeded;

    #[test]
    fn seeded_directories() {
        seeded(300, 700, fuzz_recovery);
    }
}
