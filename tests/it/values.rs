//! Values are lent, not copied: they stay readable through merges and the store's end, turn into
//! `Bytes` where they lie, and are read in part or as a stream.

use std::io::{BufRead, Read, Seek, SeekFrom};

use bytes::Bytes;
use peercask::{KeyspaceOptions, Merge, Options, Store};

fn store_with(value: &[u8]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), Options::default().background(false)).expect("opens");
    let space = store.keyspace("k", KeyspaceOptions::hash()).expect("made");
    space.put("key", value).expect("put");
    (dir, store)
}

#[test]
fn a_value_turns_into_bytes_where_it_lies() {
    let (_dir, store) = store_with(&[7; 10_000]);
    let space = store.existing_keyspace("k").expect("there");
    let value = space.get("key").expect("read").expect("there");
    let lies_at = value.as_ptr();
    let bytes = Bytes::from(value);
    if cfg!(all(unix, target_pointer_width = "64")) {
        assert_eq!(bytes.as_ptr(), lies_at, "no copy was made");
    }
    assert_eq!(bytes, vec![7; 10_000]);
}

#[test]
fn two_reads_of_one_value_share_its_bytes() {
    let (_dir, store) = store_with(&[7; 10_000]);
    let space = store.existing_keyspace("k").expect("there");
    let read = || space.get("key").expect("read").expect("there");
    if cfg!(all(unix, target_pointer_width = "64")) {
        assert_eq!(read().as_ptr(), read().as_ptr());
    }
}

#[test]
fn a_held_value_outlives_its_segment_and_its_store() {
    let (dir, store) = store_with(b"held");
    let space = store.existing_keyspace("k").expect("there");
    let value = space.get("key").expect("read").expect("there");
    space.put("key", b"newer").expect("put");
    store.merge(Merge::Full).expect("merged");
    assert_eq!(value, b"held");
    drop(space);
    store.close().expect("closed");
    drop(dir);
    assert_eq!(value, b"held");
}

#[test]
fn a_part_of_a_value_ends_where_the_value_does() {
    let (_dir, store) = store_with(b"0123456789");
    let space = store.existing_keyspace("k").expect("there");
    let part = |from, to| {
        space
            .get_range("key", from..to)
            .expect("read")
            .expect("there")
    };
    assert_eq!(part(2, 5), b"234");
    assert_eq!(part(8, 99), b"89");
    assert_eq!(part(99, 120), b"");
    assert_eq!(part(u64::MAX, u64::MAX), b"");
    assert_eq!(space.get_range("absent", 0..1).expect("read"), None);
}

#[test]
fn a_value_is_read_as_a_stream_from_any_position() {
    let (_dir, store) = store_with(b"first\nsecond\n");
    let space = store.existing_keyspace("k").expect("there");
    let mut reader = space.reader("key").expect("read").expect("there");
    assert_eq!(reader.len(), 13);
    let mut line = String::new();
    reader.read_line(&mut line).expect("read");
    assert_eq!(line, "first\n");
    // What is written meanwhile is not seen: the reader holds its version.
    space.put("key", b"other").expect("put");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "second\n");
    assert_eq!(reader.seek(SeekFrom::End(-3)).expect("seeks"), 10);
    rest.clear();
    reader.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "nd\n");
    assert!(reader.seek(SeekFrom::Current(-99)).is_err());
    assert_eq!(reader.seek(SeekFrom::Start(99)).expect("seeks"), 99);
    assert_eq!(reader.read(&mut [0; 4]).expect("read"), 0);
}
