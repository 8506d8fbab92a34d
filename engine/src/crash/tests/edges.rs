//! A record at the last offset that there is: a segment of four gibibytes with a hole between its first record and
//! its last, made with the engine's own encoders in a sparse file. What readers, images, checkpoints and merges make
//! of it costs no space; that it is written so is tried with `PEERCASK_LARGE=1` in `tests/it/large.rs`.

use std::path::Path;

use crate::disk::os::OsDisk;
use crate::disk::{Disk, How, read_full_at, write_all_at};
use crate::merge::Merge;
use crate::options::{KeyspaceOptions, Options};
use crate::segment::format::{NEVER, RECORDS_START, SEGMENT_BYTES_MAX, wide};
use crate::segment::header::Summary;
use crate::segment::hint_builder::HintBuilder;
use crate::segment::hint_file::HintRow;
use crate::segment::hinting;
use crate::segment::key_hash::key_hash;
use crate::segment::location::KeyspaceId;
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, ImageCopy, ManifestCopy};
use crate::segment::record::{self, RecordFields, RecordKind};
use crate::store::Store;

fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .recovery_threads(1)
        .merge_rate(None)
}

fn kinds() -> [(&'static str, KeyspaceOptions); 2] {
    [
        ("hash", KeyspaceOptions::hash()),
        ("ordered", KeyspaceOptions::ordered()),
    ]
}

/// Two records of one segment, far apart.
/// All bytes of a file.
pub(super) fn all_of(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name, How::Read).expect("there");
    let len = usize::try_from(file.len().expect("known")).expect("it fits");
    let mut bytes = vec![0; len];
    let n = read_full_at(&*file, &mut bytes, 0).expect("read");
    assert_eq!(n, len);
    bytes
}

fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file = disk.open(name, How::Replace).expect("made");
    write_all_at(&*file, bytes, 0).expect("written");
}

fn with_a_hole(dir: &Path, kind: (&str, KeyspaceOptions)) {
    let store = Store::open(dir, options()).expect("made");
    let space = store.keyspace(kind.0, kind.1).expect("made");
    space.put("first", "near").expect("put");
    let keyspace = KeyspaceId(space.id());
    drop(space);
    store.close().expect("closed");
    let disk: &dyn Disk = &OsDisk::new(dir);
    let copies = [ManifestCopy::A, ManifestCopy::B].map(names::manifest);
    let bytes = all_of(disk, copies[0]);
    let mut manifest = Manifest::decode(&bytes).expect("sound");
    let secret = manifest.secret;
    let entry = manifest.segments.first_mut().expect("one segment");
    let (mut summary, mut builder) = (Summary::empty(), HintBuilder::new());
    let mut files = Vec::new();
    for (seq, offset, key, value) in [
        (1, wide(RECORDS_START), "first", "near"),
        (2, SEGMENT_BYTES_MAX, "last", "far"),
    ] {
        let fields = RecordFields {
            kind: RecordKind::Put,
            keyspace,
            seq,
            expiry: NEVER,
            covers: 0,
            batch_follow: 0,
            mark: None,
        };
        let (mut bytes, place) = (Vec::new(), entry.header.place());
        let (key, value) = (key.as_bytes(), value.as_bytes());
        let header = record::encode(&mut bytes, place, offset, &fields, key, value);
        summary.add(&header);
        let row = HintRow {
            hash: key_hash(&secret, keyspace, key),
            kind: fields.kind,
            seq,
            offset: u32::try_from(offset).expect("it fits, or there is no such offset"),
            len: header.record_len(),
            expiry: NEVER,
            covers: 0,
        };
        builder.push(keyspace, row, (kind.0 == "ordered").then_some(key));
        summary.data_len = offset + header.record_len();
        files.push((offset, bytes));
    }
    let name = names::segment(entry.header.id);
    let file = disk.open(&name, How::Write).expect("there");
    file.set_len(wide(RECORDS_START)).expect("cut");
    for (offset, bytes) in files {
        write_all_at(&*file, &bytes, offset).expect("written");
    }
    (entry.summary, entry.file_len) = (summary, summary.data_len);
    let binding = hinting::binding(&entry.header, &summary, &secret);
    let hint = names::hint(entry.header.id);
    manifest.seq_high = 2;
    manifest.synced_seq = 2;
    replace(disk, &hint, &builder.finish(&binding));
    for copy in copies {
        replace(disk, copy, &manifest.encode());
    }
    for image in [ImageCopy::A, ImageCopy::B] {
        let _absent_is_fine = disk.remove(names::image(image));
    }
    let sparse = disk.open(&name, How::Read).expect("there");
    let len = sparse.len().expect("known");
    assert_eq!(len, summary.data_len);
}

fn check(store: &Store, kind: (&str, KeyspaceOptions), what: &str) {
    let space = store.existing_keyspace(kind.0).expect("there");
    for (key, value) in [("first", "near"), ("last", "far")] {
        let got = space
            .get(key)
            .unwrap_or_else(|e| panic!("{what}: {key}: {e}"));
        assert_eq!(got.as_deref(), Some(value.as_bytes()), "{what}: {key}");
    }
    assert_eq!(space.walk().filter(Result::is_ok).count(), 2, "{what}");
}

#[test]
fn a_record_at_the_last_offset_is_read_kept_and_merged() {
    for kind in kinds() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("store");
        with_a_hole(&dir, kind);
        let store = Store::open(&dir, options()).expect("opens");
        assert_eq!(store.recovery().damage, []);
        assert_eq!(store.recovery().hints_used, 1, "or it was scanned");
        check(&store, kind, "by its hint");
        // An image is saved over the large segment, and used by the next open.
        let space = store.existing_keyspace(kind.0).expect("there");
        space.put("another", "one").expect("put");
        assert!(space.delete("another").expect("deleted"));
        let copy = place.path().join("copy");
        store.checkpoint_to(&copy).expect("linked");
        drop(space);
        store.close().expect("closed");
        check(
            &Store::open(&copy, options()).expect("opens"),
            kind,
            "copied",
        );
        let store = Store::open(&dir, options().image_index_bytes(0)).expect("opens");
        check(&store, kind, "opened again");
        store.close().expect("closed");
        let store = Store::open(&dir, options()).expect("opens");
        check(&store, kind, "by its image");
        // Twice replaced, and then merged from there.
        let space = store.existing_keyspace(kind.0).expect("there");
        space.put("first", "else").expect("put");
        space.put("first", "near").expect("put");
        store.merge(Merge::Full).expect("merged");
        check(&store, kind, "merged");
        assert!(store.stats().disk_bytes < 1 << 20, "the large one is gone");
        drop(space);
        store.close().expect("closed");
        check(
            &Store::open(&dir, options()).expect("opens"),
            kind,
            "at last",
        );
    }
}
