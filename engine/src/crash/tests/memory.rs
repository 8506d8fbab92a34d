//! What opening a directory takes in memory, as the allocator saw it, whatever stands in the directory: files with
//! numbers forged under checksums that hold, damaged ones, bytes of nobody. Never more than a constant and a
//! few times the bytes of the files. In a process of its own, since all threads share the counter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

use super::forged::{forge_some_places, life};
use crate::crash::machine::options;
use crate::crash::trace::text_of;
use crate::crash::{Cut, SimDisk};
use crate::disk::sim::Dice;
use crate::options::Missing;
use crate::segment::format::{
    HINT_MAGIC, IMAGE_MAGIC, LABEL_MAGIC, MANIFEST_MAGIC, SEGMENT_MAGIC, preamble,
};
use crate::segment::location::SegmentId;
use crate::segment::names::{self, ImageCopy, ManifestCopy};
use crate::store::Store;

const CHILD: &str = "PEERCASK_TEST_MEMORY";
/// All bytes ever allocated in one open, given back or not: so many whatever is there,
const CONSTANT: u64 = 256 << 10;
/// and so many for each byte of the files. The simulated disk copies what it maps.
const PER_BYTE: u64 = 24;

/// The most that opens took, of how much they may.
#[derive(Default, Debug)]
struct Most {
    bytes: u64,
    of: u64,
    opens: u64,
}

fn open(disk: &SimDisk, what: &str, most: &mut Most) {
    let files: usize = disk.files().iter().map(|(_, len)| len).sum();
    let allowed = CONSTANT + PER_BYTE * files as u64;
    for missing in [Missing::Refuse, Missing::Accept] {
        let copy = disk.crash(&Cut::Kill);
        let region = Region::new(&INSTRUMENTED_SYSTEM);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            drop(Store::open_on(&copy, options().missing_segments(missing)));
        }));
        let taken = region.change().bytes_allocated as u64;
        if let Err(panic) = opened {
            panic!("{what}: {}", text_of(&*panic));
        }
        assert!(
            taken <= allowed,
            "{what}: {taken} bytes, of {files} in files"
        );
        most.opens += 1;
        if taken > most.bytes {
            (most.bytes, most.of) = (taken, allowed);
        }
    }
}

/// Bytes of nobody under names of a store, some behind a preamble that holds.
fn nobodys(dice: &mut Dice) -> SimDisk {
    let disk = SimDisk::new(1);
    let one = SegmentId(1 + dice.below(3) as u64);
    let names = [
        names::segment(one),
        names::hint(one),
        names::manifest(ManifestCopy::A).to_owned(),
        names::manifest(ManifestCopy::B).to_owned(),
        names::image(ImageCopy::A).to_owned(),
        names::CHECKPOINT.to_owned(),
        names::segment(SegmentId(dice.next())),
    ];
    let magics = [
        SEGMENT_MAGIC,
        HINT_MAGIC,
        MANIFEST_MAGIC,
        IMAGE_MAGIC,
        LABEL_MAGIC,
    ];
    for name in names {
        if dice.once_in(3) {
            continue;
        }
        let len = dice.below(3_000);
        let tame = dice.once_in(2);
        let byte = |dice: &mut Dice| {
            let byte = dice.below(256);
            u8::try_from(if tame { byte % 4 } else { byte }).expect("a byte")
        };
        let mut bytes: Vec<u8> = (0..len).map(|_| byte(dice)).collect();
        if len >= 16 && !dice.once_in(4) {
            bytes[..16].copy_from_slice(&preamble(magics[dice.below(magics.len())]));
        }
        disk.put_file(&name, &bytes);
    }
    disk
}

/// Not a test of its own: the process that is measured.
#[test]
fn helper_opens_directories_of_all_kinds() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut most = Most::default();
    for closed in [true, false] {
        let (left, _) = life(5, closed);
        open(&left, "as it was left", &mut most);
        println!("closed {closed}, unharmed: {most:?}");
        forge_some_places(&left, 5, |what, disk| open(disk, what, &mut most));
    }
    let mut dice = Dice::new(7);
    for round in 0..300 {
        open(
            &nobodys(&mut dice),
            &format!("bytes of nobody, {round}"),
            &mut most,
        );
    }
    println!("\nDONE: {most:?}");
}

#[test]
fn opening_any_directory_takes_memory_by_the_bytes_of_its_files() {
    let this = std::env::current_exe().expect("this test has a file");
    let ran = Command::new(this)
        .arg("crash::tests::memory::helper_opens_directories_of_all_kinds")
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("it can be started");
    let told = String::from_utf8_lossy(&ran.stdout);
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
    println!("{told}");
}
