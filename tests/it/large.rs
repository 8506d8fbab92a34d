//! Four gibibytes: the largest value that there may be, and a segment as long as segments may be, with records that
//! start behind all that 31 bits can tell. Written, read, found again by image, by hints and by a scan, merged.
//! Only with `PEERCASK_LARGE=1`: it takes some 30 GiB of disk, 10 GiB of memory and minutes.
//! What a record at the very last offset needs of readers is tried always, by the engine's own test
//! `a_record_at_the_last_offset_is_read_kept_and_merged`.

use peercask::{
    Durability, ErrorKind, Keyspace, Merge, Options, SEGMENT_BYTES_MAX, Store, VALUE_LEN_MAX,
};

use crate::support::{
    Place, delete, delete_hints, delete_manifests, hash, ordered, segments, skipped,
};

fn is_wanted() -> bool {
    let wanted = std::env::var_os("PEERCASK_LARGE").is_some();
    if !wanted {
        skipped("values and segments of 4 GiB", "PEERCASK_LARGE is not set");
    }
    wanted
}

fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .durability(Durability::Kernel)
        .merge_rate(None)
}

/// Takes away what the store would open by.
type Take = fn(&Place);

/// What the store opens by.
const WAYS: [(&str, Take); 4] = [
    ("its image", |_| {}),
    ("hints", |place| delete(place.path(), "keydir-")),
    ("a scan of what the manifest lists", |place| {
        delete(place.path(), "keydir-");
        delete_hints(place.path());
    }),
    ("a scan of what nobody lists", |place| {
        delete(place.path(), "keydir-");
        delete_hints(place.path());
        delete_manifests(place.path());
    }),
];

fn is_filled(value: &[u8], byte: u8) -> bool {
    value.iter().all(|found| *found == byte)
}

#[test]
fn the_largest_value_is_stored_read_and_merged_and_one_byte_more_is_refused() {
    if !is_wanted() {
        return;
    }
    let len = usize::try_from(VALUE_LEN_MAX).expect("64 bits");
    let place = Place::on_disk();
    let store = place.open_with(options());
    let space = ordered(&store, "large");
    {
        let value = vec![0x5A; len + 1];
        let over = space.put("over", &value).expect_err("one byte too long");
        assert_eq!(over.kind(), ErrorKind::InvalidArgument, "{over}");
        space.put("before", "small").expect("put");
        space.put("largest", &value[..len]).expect("put");
    }
    space.put("after", "small").expect("put");
    check_largest(&space, len, "written");
    drop(space);
    store.close().expect("closed");
    for (way, make) in WAYS {
        make(&place);
        let store = place.open_with(options());
        let told = store.recovery();
        let costly = told
            .damage
            .iter()
            .any(|damage| damage.file.starts_with("seg-"));
        assert!(!costly, "{way}: {:?}", told.damage);
        // A rebuilt manifest knows the name of the keyspace by the footers.
        check_largest(&ordered(&store, "large"), len, way);
        store.close().expect("closed");
    }
    let store = place.open_with(options());
    let space = ordered(&store, "large");
    space.put("before", "other").expect("put");
    store.merge(Merge::Full).expect("merged");
    space.put("before", "small").expect("put");
    check_largest(&space, len, "merged");
    assert!(store.verify(&mut |_| {}).expect("verified").is_clean());
}

fn check_largest(space: &Keyspace, len: usize, what: &str) {
    let value = space.get("largest").expect("read").expect("there");
    assert_eq!(value.len(), len, "{what}");
    assert!(is_filled(&value, 0x5A), "{what}: other bytes");
    let end = space
        .get_range("largest", VALUE_LEN_MAX - 7..VALUE_LEN_MAX)
        .expect("read")
        .expect("there");
    assert_eq!(*end, [0x5A; 7], "{what}");
    for key in ["before", "after"] {
        let small = space.get(key).expect("read").expect("there");
        assert_eq!(small, b"small", "{what}: {key}");
    }
}

/// Zero-filled values of 64 MiB, small records between them: the last of these start within a few KiB of the end.
#[test]
fn a_segment_of_the_greatest_length_is_filled_to_its_end() {
    if !is_wanted() {
        return;
    }
    const LONG: usize = 64 << 20;
    let place = Place::on_disk();
    let full = || options().segment_bytes(SEGMENT_BYTES_MAX);
    let store = place.open_with(full());
    let space = hash(&store, "full");
    let long = vec![7; LONG];
    let mut small = 0_u32;
    let mut put_small = |space: &Keyspace| {
        space
            .put(small.to_le_bytes(), small.rotate_left(16).to_le_bytes())
            .expect("put");
        small += 1;
    };
    for number in 0..63_u8 {
        space.put([number], &long).expect("put");
        put_small(&space);
    }
    // Up to a few KiB before the end, and over it.
    let left = SEGMENT_BYTES_MAX - store.stats().disk_bytes;
    let rest = usize::try_from(left).expect("64 bits") - 6_000;
    space.put("rest", &long[..rest.min(LONG)]).expect("put");
    for _ in 0..400 {
        put_small(&space);
    }
    assert!(segments(place.path()).len() >= 2, "it went over the end");
    let written = small;
    check_full(&space, written, "written");
    drop(space);
    store.close().expect("closed");
    for (way, make) in WAYS {
        make(&place);
        let store = place.open_with(full());
        check_full(&hash(&store, "full"), written, way);
        store.close().expect("closed");
    }
    let store = place.open_with(full());
    let space = hash(&store, "full");
    space.delete([0]).expect("deleted");
    space.put([0], &long).expect("put");
    store.merge(Merge::Full).expect("merged");
    check_full(&space, written, "merged");
    check_killed(&store, &place, written);
}

/// As a process finds it that was killed: the active segment is scanned.
fn check_killed(store: &Store, place: &Place, written: u32) {
    let copy = Place::on_disk();
    crate::support::copy_files(place.path(), copy.path());
    let killed = copy.open_with(options().segment_bytes(SEGMENT_BYTES_MAX));
    assert_eq!(killed.recovery().damage, []);
    check_full(&hash(&killed, "full"), written, "killed");
    assert_eq!(killed.stats().last_seq, store.stats().last_seq);
}

fn check_full(space: &Keyspace, small: u32, what: &str) {
    for number in 0..63_u8 {
        let value = space.get([number]).expect("read").expect("there");
        assert_eq!(value.len(), 64 << 20, "{what}: {number}");
    }
    for number in 0..small {
        let value = space.get(number.to_le_bytes()).expect("read");
        let value = value.unwrap_or_else(|| panic!("{what}: {number} is gone"));
        assert_eq!(
            *value,
            number.rotate_left(16).to_le_bytes(),
            "{what}: {number}"
        );
    }
}
