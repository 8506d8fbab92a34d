//! What opening costs, in counts and not in seconds: bytes read for each key, by image, by hints and by a scan
//! after a kill, in a store and in one four times as large. Nothing is read a number of times that
//! grows with the store, so its time grows as the store does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::Core;
use crate::crash::{Cut, SimDisk};
use crate::disk::map::Map;
use crate::disk::{Disk, DiskFile, How, Lock};
use crate::handle::Handle;
use crate::options::{KeyspaceOptions, Options, Reads};
use crate::segment::names::{self, FileName};
use crate::store::Store;
use crate::sync::atomic::{AtomicU64, Ordering};

const VALUE_LEN: usize = 100;

fn options() -> Options {
    Options::default()
        .segment_bytes(64 << 10)
        .reserve_bytes(0)
        .image_index_bytes(0)
        .background(false)
        .recovery_threads(1)
        .reads(Reads::Positional)
}

/// A disk without maps that counts what is read of it.
struct Counting {
    disk: Arc<dyn Disk>,
    bytes: Arc<AtomicU64>,
}

struct CountingFile {
    file: Arc<dyn DiskFile>,
    bytes: Arc<AtomicU64>,
}

impl Disk for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open_raw(name, how)?;
        let bytes = self.bytes.clone();
        Ok(Arc::new(CountingFile { file, bytes }))
    }

    fn rename_raw(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename_raw(from, to)
    }

    fn remove_raw(&self, name: &str) -> io::Result<()> {
        self.disk.remove_raw(name)
    }

    fn sync_dir_raw(&self) -> io::Result<()> {
        self.disk.sync_dir_raw()
    }

    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        self.disk.directory(dir)
    }

    fn link_raw(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()> {
        self.disk.link_raw(name, to, as_name)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(name)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.random(bytes)
    }
}

impl DiskFile for CountingFile {
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.file.write_some_at(bytes, at)
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.file.read_some_at(buffer, at)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len_raw(&self, len: u64) -> io::Result<()> {
        self.file.set_len_raw(len)
    }

    fn reserve_raw(&self, len: u64) -> io::Result<()> {
        self.file.reserve_raw(len)
    }

    fn sync_data_raw(&self) -> io::Result<()> {
        self.file.sync_data_raw()
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        let _nothing_is_mapped = len;
        Ok(None)
    }

    fn links(&self) -> io::Result<u64> {
        self.file.links()
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}

/// A store of so many keys, each written twice, that was killed; and the same closed.
fn stores(keys: u32) -> [SimDisk; 2] {
    let disk = SimDisk::new(1);
    let store = Store::open_on(&disk, options()).expect("made");
    let space = store.keyspace("k", KeyspaceOptions::hash()).expect("made");
    for round in 0..2_u8 {
        for first in (0..keys).step_by(100) {
            let mut batch = store.batch();
            for key in first..first + 100 {
                batch.put(&space, key.to_le_bytes(), [round; VALUE_LEN]);
            }
            batch.commit().expect("written");
        }
    }
    let killed = disk.crash(&Cut::Kill);
    drop(space);
    store.close().expect("closed");
    [killed, disk]
}

/// Bytes read by one open, and how many there are in segments.
fn read_by_open(disk: &SimDisk, keys: u32) -> (u64, u64) {
    let is_segment = |name: &str| matches!(names::parse(name), FileName::Segment(_));
    let files = disk.files();
    let segments = files.iter().filter(|(name, _)| is_segment(name));
    let there = segments.map(|(_, len)| *len as u64).sum();
    let bytes = Arc::new(AtomicU64::new(0));
    let counting: Arc<dyn Disk> = Arc::new(Counting {
        disk: Arc::new(disk.clone()),
        bytes: bytes.clone(),
    });
    let lock = counting.lock(names::LOCK).expect("free");
    let options = options().clock(disk.clock());
    let core = Core::open(PathBuf::from("simulated"), &counting, lock, options);
    let store = Store::of(Handle::new(core.expect("opens")));
    let read = bytes.load(Ordering::Relaxed);
    assert_eq!(store.recovery().damage, []);
    let space = store.existing_keyspace("k").expect("there");
    assert_eq!(space.walk().count(), usize::try_from(keys).expect("small"));
    (read, there)
}

fn without(disk: &SimDisk, is_gone: impl Fn(&FileName) -> bool) -> SimDisk {
    let copy = disk.crash(&Cut::Kill);
    for (name, _) in copy.files() {
        if is_gone(&names::parse(&name)) {
            copy.vanish(&name).expect("there");
        }
    }
    copy
}

#[test]
fn an_open_reads_each_byte_a_fixed_number_of_times_however_large_the_store() {
    let mut shares = Vec::new();
    for keys in [2_000, 8_000] {
        let [killed, closed] = stores(keys);
        let by_image = read_by_open(&closed.crash(&Cut::Kill), keys);
        let no_images = without(&closed, |name| matches!(name, FileName::Image(_)));
        let by_hints = read_by_open(&no_images, keys);
        let bare = without(&closed, |name| {
            matches!(name, FileName::Image(_) | FileName::Hint(_))
        });
        let by_scan = read_by_open(&bare, keys);
        let after_kill = read_by_open(&killed, keys);
        let per_key = |(read, _): (u64, u64)| read as f64 / f64::from(keys);
        let share = |(read, there): (u64, u64)| read as f64 / there as f64;
        println!(
            "{keys} keys: {:.1} bytes a key by image, {:.1} by hints; segments read {:.2} times by a \
             scan, {:.2} times after a kill",
            per_key(by_image),
            per_key(by_hints),
            share(by_scan),
            share(after_kill)
        );
        shares.push([
            per_key(by_image),
            per_key(by_hints),
            share(by_scan),
            share(after_kill),
        ]);
    }
    let [small, large] = [shares[0], shares[1]];
    // Twice the 27 bytes of a row, since each key was written twice, and what each segment begins with.
    let most = [16.0, 64.0, 1.2, 3.2];
    for (at, most) in most.into_iter().enumerate() {
        assert!(
            large[at] <= most,
            "{large:?}, at most {most} of number {at}"
        );
        assert!(large[at] <= small[at] * 1.1, "{large:?} after {small:?}");
    }
}
