//! The simulated disk's own tests.

use super::*;
use crate::disk::write_all_at;
use crate::disk::{Disk, DiskFile, How};

fn file_with(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let disk: &dyn Disk = disk;
    let file = disk.open(name, How::CreateNew).expect("created");
    write_all_at(&*file, bytes, 0).expect("written");
    file
}

fn sync(disk: &SimDisk) {
    let disk: &dyn Disk = disk;
    disk.sync_dir().expect("synced");
}

#[test]
fn a_cut_keeps_what_was_synced_and_may_take_the_rest() {
    let disk = SimDisk::new(1);
    let file = file_with(&disk, "f", b"kept");
    file.sync_data().expect("synced");
    sync(&disk);
    write_all_at(&*file, b"lost", 4).expect("written");
    let read = |disk: SimDisk| disk.bytes_of("f").expect("there");
    assert_eq!(read(disk.crash_losing_all()), b"kept");
    assert_eq!(read(disk.crash(&Cut::Kill)), b"keptlost");
    let found: BTreeSet<_> = (0..disk.legal_crashes())
        .map(|n| read(disk.crash(&Slots::of(&disk.state()).nth(n))))
        .collect();
    assert!(found.contains(&b"kept"[..]), "{found:?}");
    assert!(found.contains(&b"kept\0\0\0\0"[..]), "{found:?}");
    assert!(found.contains(&b"keptlost"[..]), "{found:?}");
}

#[test]
fn after_a_kill_the_page_cache_lives_on_and_can_still_be_lost() {
    let disk = SimDisk::new(1);
    let _file = file_with(&disk, "f", b"cached");
    let killed = disk.crash(&Cut::Kill);
    assert_eq!(killed.bytes_of("f").expect("there"), b"cached");
    assert_eq!(killed.crash_losing_all().files(), []);
}

#[test]
fn a_link_counts_and_is_durable_once_its_own_directory_is_synced() {
    let disk = SimDisk::new(1);
    let other = disk.in_directory("other");
    let file = file_with(&disk, "f", b"kept");
    file.sync_data().expect("synced");
    sync(&disk);
    let linking: &dyn Disk = &disk;
    linking.link_to("f", &other, "g").expect("linked");
    assert_eq!(file.links().expect("counted"), 2);
    let after_cut = |disk: &SimDisk| {
        let after = disk.crash_losing_all();
        let names = |disk: &SimDisk| disk.list().expect("listed").concat();
        (names(&after), names(&after.in_directory("other")))
    };
    sync(&disk);
    assert_eq!(after_cut(&disk), ("f".to_owned(), String::new()));
    sync(&other);
    linking.remove("f").expect("removed");
    sync(&disk);
    assert_eq!(after_cut(&disk), (String::new(), "g".to_owned()));
    assert_eq!(file.links().expect("counted"), 1);
}

#[test]
fn a_name_is_lost_without_a_sync_of_the_directory() {
    let disk = SimDisk::new(1);
    let file = file_with(&disk, "f", b"");
    file.sync_data().expect("synced");
    assert_eq!(disk.crash_losing_all().files(), []);
}

#[test]
fn a_map_shows_what_is_written_later_and_ends_the_process_behind_the_file() {
    let disk = SimDisk::new(1);
    let file = file_with(&disk, "f", b"first");
    let map = file.map(10_000).expect("mapped").expect("shown");
    write_all_at(&*file, b" second", 5).expect("written");
    assert_eq!(map.written(0, 12), Some(&b"first second"[..]));
    assert_eq!(map.written(9_999, 2), None, "behind the map");
    let behind = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        map.written(4_096, 1).map(<[u8]>::to_vec)
    }));
    assert!(behind.is_err(), "the kernel would send SIGBUS");
    disk.rot("f", 0, 0x20).expect("there");
    assert_eq!(map.written(0, 5), Some(&b"First"[..]));
}

#[test]
fn a_failed_sync_leaves_clean_pages_that_the_next_sync_does_not_save() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = file_with(&disk, "f", b"old");
        file.sync_data().expect("synced");
        sync(&disk);
        write_all_at(&*file, b"new", 0).expect("written");
        disk.set_faults(&[Fault::new(Operation::Sync, Failure::Io)]);
        file.sync_data().expect_err("as told");
        file.sync_data().expect("the pages are clean");
        assert_eq!(disk.bytes_of("f").expect("there"), b"new", "seen by all");
        let after = disk.crash_losing_all().bytes_of("f").expect("there");
        lost += usize::from(after == b"old");
        file.drop_cache();
        assert_eq!(disk.bytes_of("f").expect("there"), after, "as the medium");
    }
    assert!((1..20).contains(&lost), "some reached the medium: {lost}");
}

#[test]
fn faults_meet_the_call_they_wait_for_once_or_for_good_done_or_not() {
    let disk = SimDisk::new(1);
    let file = file_with(&disk, "f", b"x");
    let once = Fault::new(Operation::Resize, Failure::TooManyFiles).after(1);
    let good = Fault::new(Operation::Sync, Failure::ReadOnly)
        .for_good(true)
        .done(true);
    disk.set_faults(&[once, good]);
    file.set_len(2).expect("the first succeeds");
    file.set_len(3).expect_err("the second fails");
    file.set_len(4).expect("the third succeeds");
    sync(&disk);
    for _ in 0..3 {
        file.sync_data().expect_err("every one fails");
    }
    let parsed: Vec<Fault> = ["resize.1.emfile", "sync.0+.erofs!"]
        .map(|text| text.parse().expect("written so"))
        .into();
    assert_eq!(parsed, [once, good]);
    assert_eq!(parsed[1].to_string(), "sync.0+.erofs!");
}

#[test]
fn stale_bytes_lie_only_where_a_file_grew_without_a_write_or_a_reservation() {
    let disk = SimDisk::new(1);
    let old = file_with(&disk, "old", &[7; 2_000]);
    old.sync_data().expect("synced");
    let removing: &dyn Disk = &disk;
    removing.remove("old").expect("removed");
    let file = file_with(&disk, "f", &[1; 600]);
    file.set_len(1_500).expect("grown");
    sync(&disk);
    let slots = Slots::of(&disk.state());
    let found: Vec<_> = (0..slots.legal())
        .map(|n| disk.crash(&slots.nth(n)).bytes_of("f").expect("there"))
        .collect();
    assert!(found.iter().any(|bytes| bytes.contains(&7)), "stale");
    file.sync_data().expect("synced");
    file.reserve(3_000).expect("reserved");
    let slots = Slots::of(&disk.state());
    let stale = |n| disk.crash(&slots.nth(n)).bytes_of("f").expect("there");
    assert!((0..slots.legal()).all(|n| !stale(n).contains(&7)), "zeros");
}
