//! The saved index: one file beside the log, written when the store closes, so that the next
//! opening need not read every record. It is never the only copy of anything: one that is missing,
//! damaged or not of this very log is left out, and the records are walked.
//!
//! Layout, little-endian: magic, version, the log's last seq, the checksum of what follows; then
//! for each of four tables the number of entries and of quarantined slots, the entries (slot,
//! prefix, tag, deadline, ordinal, publishing time) and these slots.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::index::slab::Entry;
use crate::index::table::Found;
use crate::shared::{Shared, Which};

const FILE: &str = "kad-index";
const TEMPORARY: &str = "kad-index.tmp";
const MAGIC: [u8; 8] = *b"PCKADIX\x01";
const ENTRY_LEN: usize = 32;
/// Entries taken under one lock.
const SLICE_LEN: usize = 1_024;
/// No publishing time.
const UNPUBLISHED: u32 = 0;

/// A table as it was saved.
#[derive(Default)]
pub(crate) struct SavedTable {
    pub(crate) found: Vec<Found>,
    /// Slots and the second from which their interval counts.
    pub(crate) published: Vec<(u32, u32)>,
    pub(crate) quarantined: Vec<u32>,
}

/// Writes the index as it is. The store is closed to changes, so the lock is held for a slice at a
/// time; nothing may be written to the log afterwards.
pub(crate) fn save(shared: &Shared) -> io::Result<()> {
    let Some(dir) = &shared.dir else {
        return Ok(());
    };
    let last_seq = shared.store.stats().last_seq;
    let temporary = dir.join(TEMPORARY);
    let written =
        write_file(&temporary, shared, last_seq).and_then(|()| fs::rename(&temporary, path(dir)));
    if written.is_err() {
        // What is left of it is no image; the next save begins it anew.
        let _nothing_to_add = fs::remove_file(&temporary);
    }
    written
}

/// Forgets the image: it is not the log's any more.
pub(crate) fn remove(dir: &Path) {
    // One that stays is told from the log's by its seq.
    let _told_apart = fs::remove_file(path(dir));
}

/// The saved index, if it is that of a log that ends at `last_seq`.
pub(crate) fn load(dir: &Path, last_seq: u64) -> Option<[SavedTable; 4]> {
    let file = File::open(path(dir)).ok()?;
    let len = file.metadata().ok()?.len();
    let mut source = Source {
        reader: BufReader::with_capacity(1 << 20, file),
        hasher: DefaultHasher::new(),
        left: len,
    };
    let mut magic = [0; 8];
    source.take(&mut magic)?;
    let seq = source.u64()?;
    let sum = source.u64()?;
    if magic != MAGIC || seq != last_seq {
        return None;
    }
    source.hasher = DefaultHasher::new();
    let mut tables: [SavedTable; 4] = Default::default();
    for table in &mut tables {
        read_table(&mut source, table)?;
    }
    (source.hasher.finish() == sum && source.left == 0).then_some(tables)
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

struct Sink {
    writer: BufWriter<File>,
    hasher: DefaultHasher,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.write(bytes);
        self.writer.write_all(bytes)
    }
}

fn write_file(path: &Path, shared: &Shared, last_seq: u64) -> io::Result<()> {
    let mut sink = Sink {
        writer: BufWriter::with_capacity(1 << 20, File::create(path)?),
        hasher: DefaultHasher::new(),
    };
    sink.put(&[0; 24])?;
    sink.hasher = DefaultHasher::new();
    for which in Which::ALL {
        write_table(&mut sink, shared, which)?;
    }
    let sum = sink.hasher.finish();
    sink.writer.seek(SeekFrom::Start(0))?;
    sink.writer.write_all(&MAGIC)?;
    sink.writer.write_all(&last_seq.to_le_bytes())?;
    sink.writer.write_all(&sum.to_le_bytes())?;
    sink.writer.flush()
}

fn write_table(sink: &mut Sink, shared: &Shared, which: Which) -> io::Result<()> {
    let (len, quarantined) = {
        let state = shared.lock();
        let table = state.table(which);
        (table.len(), table.quarantined_slots())
    };
    sink.put(&len.to_le_bytes())?;
    sink.put(&(quarantined.len() as u64).to_le_bytes())?;
    let mut written = 0;
    let mut from = Some((0, 0));
    while let Some(place) = from {
        let (bytes, next) = slice_of(shared, which, place);
        written += (bytes.len() / ENTRY_LEN) as u64;
        sink.put(&bytes)?;
        from = next;
    }
    if written != len {
        return Err(io::Error::other("the index changed while it was saved"));
    }
    for slot in quarantined {
        sink.put(&slot.to_le_bytes())?;
    }
    Ok(())
}

/// The entries from a place on, as they are written, and where to go on.
fn slice_of(
    shared: &Shared,
    which: Which,
    (prefix, slot): (u64, u32),
) -> (Vec<u8>, Option<(u64, u32)>) {
    let mut slice = Vec::with_capacity(SLICE_LEN * ENTRY_LEN);
    let state = shared.lock();
    let table = state.table(which);
    for (prefix, slot) in table.at_place(prefix, slot) {
        if slice.len() == SLICE_LEN * ENTRY_LEN {
            return (slice, Some((prefix, slot)));
        }
        let entry = table.entry(slot);
        let published_s = table
            .due
            .as_ref()
            .and_then(|due| due.confirmed(slot))
            .unwrap_or(UNPUBLISHED);
        slice.extend(slot.to_le_bytes());
        slice.extend(entry.prefix.to_le_bytes());
        slice.extend(entry.tag.to_le_bytes());
        slice.extend(entry.deadline_s.to_le_bytes());
        slice.extend(entry.ordinal.to_le_bytes());
        slice.extend(published_s.to_le_bytes());
    }
    (slice, None)
}

struct Source {
    reader: BufReader<File>,
    hasher: DefaultHasher,
    left: u64,
}

impl Source {
    fn take(&mut self, bytes: &mut [u8]) -> Option<()> {
        self.left = self.left.checked_sub(bytes.len() as u64)?;
        self.reader.read_exact(bytes).ok()?;
        self.hasher.write(bytes);
        Some(())
    }

    fn u64(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        self.take(&mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }
}

fn read_table(source: &mut Source, table: &mut SavedTable) -> Option<()> {
    let entries = source.u64()?;
    let quarantined = source.u64()?;
    // A length is believed as far as the file can hold it.
    let needed = entries.checked_mul(ENTRY_LEN as u64)?;
    if needed.checked_add(quarantined.checked_mul(4)?)? > source.left {
        return None;
    }
    table.found.reserve_exact(usize::try_from(entries).ok()?);
    for _ in 0..entries {
        let mut bytes = [0; ENTRY_LEN];
        source.take(&mut bytes)?;
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let slot = u32_at(0)?;
        table.found.push(Found {
            entry: Entry {
                prefix: u64_at(4)?,
                tag: u64_at(12)?,
                deadline_s: u32_at(20)?,
                ordinal: u32_at(24)?,
            },
            seq: 0,
            slot,
        });
        let published_s = u32_at(28)?;
        if published_s != UNPUBLISHED {
            table.published.push((slot, published_s));
        }
    }
    for _ in 0..quarantined {
        table.quarantined.push(source.u32()?);
    }
    Some(())
}
