//! redb: one transaction a put, durable at once or not at all.

use std::path::Path;

use peercask::Durability;
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use crate::Outcome;
use crate::backend::{Backend, CACHE_BYTES, Entry, Kind, Pair, Reader};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

pub(super) const ENTRY: Entry = Entry {
    name: "redb",
    kind: Kind::Rival,
    package: "redb",
    advice: "cache of 1 GiB; a transaction a put; Buffered is Durability::None, Device is Durability::Immediate",
    ordered: true,
    persistent: true,
    levels: &[Durability::Buffered, Durability::Device],
    open: |dir, _| Ok(Box::new(Redb::open(dir)?)),
};

struct Redb(Database);

impl Redb {
    fn open(dir: &Path) -> Outcome<Redb> {
        let db = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(dir.join("redb"))?;
        let write = db.begin_write()?;
        write.open_table(TABLE)?;
        write.commit()?;
        Ok(Redb(db))
    }

    fn change(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut write = self.0.begin_write()?;
        write.set_durability(match durability {
            Durability::Buffered => redb::Durability::None,
            _ => redb::Durability::Immediate,
        })?;
        change(&mut write.open_table(TABLE)?)?;
        Ok(write.commit()?)
    }

    fn table(&self) -> Outcome<Table> {
        Ok(Table(self.0.begin_read()?.open_table(TABLE)?))
    }
}

/// What one read transaction sees.
struct Table(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Reader for Table {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        let found = self.0.get(key)?;
        if let Some(value) = &found {
            out.extend_from_slice(value.value());
        }
        Ok(found.is_some())
    }
}

impl Backend for Redb {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.change(durability, |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        self.change(durability, |table| {
            for (key, value) in pairs {
                table.insert(key.as_slice(), value.as_slice())?;
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        self.table()?.get(key, out)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.change(Durability::Buffered, |table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn sync(&self) -> Outcome<()> {
        self.change(Durability::Device, |_| Ok(()))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(self.table()?)))
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        for entry in self.table()?.0.range(start..)? {
            let (key, value) = entry?;
            if !each(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}
