//! The floors: a bare hash map, which forgets everything, and a hash map with a raw log that every
//! write is appended to, without checksum, framing or merge. No store that keeps keys findable can
//! read faster than the one, no store that keeps them at all can write faster than the other.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use peercask::Durability;

use super::{Backend, Counters, Entry, Kind, Pair, Reader, Settings};
use crate::Outcome;

pub(super) const MAP: Entry = Entry {
    name: "floor-map",
    kind: Kind::Floor,
    package: "peercask-bench",
    advice: "std::collections::HashMap<Vec<u8>, Vec<u8>> behind one RwLock; reads alone hold it once",
    ordered: false,
    persistent: false,
    levels: &[Durability::Buffered],
    open: |_, _| Ok(Box::new(Map::default())),
};

pub(super) const LOG: Entry = Entry {
    name: "floor-log",
    kind: Kind::Floor,
    package: "peercask-bench",
    advice: "the same map and an append log: lengths, key, value; a buffer of 256 KiB, one write a \
             record, or one write and one fdatasync a record",
    ordered: false,
    persistent: true,
    levels: &[Durability::Buffered, Durability::Kernel, Durability::Device],
    open: |dir, _: &Settings| Ok(Box::new(Log::open(dir)?)),
};

const BUFFER_LEN: usize = 256 << 10;

#[derive(Default)]
struct Map(RwLock<HashMap<Vec<u8>, Vec<u8>>>);

// A thread that panicked ends the run; the map itself is whole.
impl Map {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Vec<u8>, Vec<u8>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Vec<u8>, Vec<u8>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &[u8], value: &[u8]) {
        let mut map = self.write();
        if let Some(old) = map.get_mut(key) {
            old.clear();
            old.extend_from_slice(value);
        } else {
            map.insert(key.to_vec(), value.to_vec());
        }
    }
}

fn copy(found: Option<&Vec<u8>>, out: &mut Vec<u8>) -> bool {
    out.clear();
    if let Some(value) = found {
        out.extend_from_slice(value);
    }
    found.is_some()
}

impl Backend for Map {
    fn put(&self, key: &[u8], value: &[u8], _: Durability) -> Outcome<()> {
        self.insert(key, value);
        Ok(())
    }

    fn batch(&self, pairs: &[Pair], _: Durability) -> Outcome<()> {
        pairs
            .iter()
            .for_each(|(key, value)| self.insert(key, value));
        Ok(())
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        Ok(copy(self.read().get(key), out))
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.write().remove(key);
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(MapReader(self.read()))))
    }
}

/// Nobody writes while it reads: the lock is taken once.
struct MapReader<'a>(RwLockReadGuard<'a, HashMap<Vec<u8>, Vec<u8>>>);

impl Reader for MapReader<'_> {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        Ok(copy(self.0.get(key), out))
    }
}

/// A deleted key has this length of value in the log.
const GONE: u32 = u32::MAX;

struct Log {
    map: Map,
    tail: Mutex<Tail>,
}

struct Tail {
    file: BufWriter<File>,
    record: Vec<u8>,
    syncs: u64,
}

impl Log {
    fn open(dir: &Path) -> Outcome<Log> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(dir.join("log"))?;
        let log = Log {
            map: Map::default(),
            tail: Mutex::new(Tail {
                file: BufWriter::with_capacity(BUFFER_LEN, file.try_clone()?),
                record: Vec::new(),
                syncs: 0,
            }),
        };
        log.replay(file)?;
        Ok(log)
    }

    fn replay(&self, file: File) -> Outcome<()> {
        let mut file = BufReader::with_capacity(BUFFER_LEN, file);
        let (mut lens, mut key, mut value) = ([0; 8], Vec::new(), Vec::new());
        loop {
            match file.read_exact(&mut lens) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
            let [a, b, c, d, e, f, g, h] = lens;
            let (key_len, value_len) = (
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            );
            key.resize(crate::narrow(key_len.into()), 0);
            file.read_exact(&mut key)?;
            if value_len == GONE {
                self.map.write().remove(&key);
                continue;
            }
            value.resize(crate::narrow(value_len.into()), 0);
            file.read_exact(&mut value)?;
            self.map.insert(&key, &value);
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> Outcome<()> {
        let value_len = match value {
            Some(value) => u32::try_from(value.len())?,
            None => GONE,
        };
        self.record.clear();
        self.record.extend(u32::try_from(key.len())?.to_le_bytes());
        self.record.extend(value_len.to_le_bytes());
        self.record.extend_from_slice(key);
        self.record.extend_from_slice(value.unwrap_or_default());
        Ok(self.file.write_all(&self.record)?)
    }

    fn keep(&mut self, durability: Durability) -> Outcome<()> {
        if durability >= Durability::Kernel {
            self.file.flush()?;
        }
        if durability == Durability::Device {
            self.file.get_ref().sync_data()?;
            self.syncs += 1;
        }
        Ok(())
    }
}

impl Backend for Log {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        let mut tail = self.tail();
        tail.append(key, Some(value))?;
        tail.keep(durability)?;
        self.map.insert(key, value);
        Ok(())
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        let mut tail = self.tail();
        for (key, value) in pairs {
            tail.append(key, Some(value))?;
            self.map.insert(key, value);
        }
        tail.keep(durability)
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        self.map.get(key, out)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.tail().append(key, None)?;
        self.map.delete(key)
    }

    fn sync(&self) -> Outcome<()> {
        self.tail().keep(Durability::Device)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        self.map.reader()
    }

    fn counters(&self) -> Counters {
        Counters {
            syncs: Some(self.tail().syncs),
            ..Counters::default()
        }
    }
}
