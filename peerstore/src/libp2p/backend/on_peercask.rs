//! The default datastore: hash keyspaces of a Peercask store, one for each of the books' first bytes.
//! Hash keyspaces keep no keys in memory; a query walks the keyspace that its prefix names.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use peercask::{Durability, Keyspace, KeyspaceOptions, Merge, Store};

use crate::libp2p::datastore::{Acknowledge, Batch, Datastore, DatastoreStats, Entries};
use crate::libp2p::error::{Error, ErrorKind, Result};

/// First bytes of keys that have a keyspace of their own, which holds the rest of the key.
const SPACES: [(u8, &str); 5] = [
    (b'a', "libp2p-addresses"),
    (b'b', "libp2p-books"),
    (b'k', "libp2p-keys"),
    (b'm', "libp2p-meta"),
    (b'q', "libp2p-unreadable"),
];
/// Whole keys that begin otherwise.
const OTHER: &str = "libp2p-other";

/// The books' bytes in a Peercask store.
pub struct PeercaskDatastore {
    store: Store,
    spaces: Vec<(Option<u8>, Keyspace)>,
    owns_store: bool,
    closed: AtomicBool,
}

impl PeercaskDatastore {
    /// Opens the store in `dir`, making it if the directory is missing or empty; a directory that is
    /// made is for its owner alone.
    ///
    /// # Errors
    /// As [`Store::open`]: `Locked` if another process or handle has it.
    pub fn open(dir: impl AsRef<Path>, options: peercask::Options) -> Result<PeercaskDatastore> {
        make_private(dir.as_ref())?;
        PeercaskDatastore::of(Store::open(dir, options)?, true)
    }

    /// Opens for reading alone, beside a process that writes. What it writes later is not seen.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only(
        dir: impl AsRef<Path>,
        options: peercask::Options,
    ) -> Result<PeercaskDatastore> {
        PeercaskDatastore::of(Store::open_read_only(dir, options)?, true)
    }

    /// In keyspaces of its own of a store that the caller has open, and keeps open.
    ///
    /// # Errors
    /// As [`Store::keyspace`].
    pub fn on(store: &Store) -> Result<PeercaskDatastore> {
        PeercaskDatastore::of(store.clone(), false)
    }

    fn of(store: Store, owns_store: bool) -> Result<PeercaskDatastore> {
        let named = SPACES.iter().map(|(first, name)| (Some(*first), *name));
        let all = named.chain([(None, OTHER)]);
        let spaces = all
            .map(|(first, name)| Ok((first, keyspace(&store, name)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(PeercaskDatastore {
            store,
            spaces,
            owns_store,
            closed: AtomicBool::new(false),
        })
    }

    /// The store beneath.
    #[must_use]
    pub fn engine(&self) -> &Store {
        &self.store
    }

    fn check(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::closed()),
            false => Ok(()),
        }
    }

    /// The keyspace of a key, and the key in it.
    fn place<'a>(&self, key: &'a [u8]) -> Result<(&Keyspace, &'a [u8])> {
        let found = key.split_first().and_then(|(first, rest)| {
            let of_first = |space: &&(Option<u8>, Keyspace)| space.0 == Some(*first);
            self.spaces.iter().find(of_first).map(|space| (space, rest))
        });
        let other = || self.spaces.iter().find(|space| space.0.is_none());
        match found {
            Some((space, rest)) => Ok((&space.1, rest)),
            None => other().map(|space| (&space.1, key)).ok_or_else(no_space),
        }
    }
}

/// Makes a directory that nobody else comes into. One that exists stays as its owner wants it.
fn make_private(dir: &Path) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| {
        let what = format!("could not make the directory {}: {error}", dir.display());
        Error::new(ErrorKind::Io, what)
    })
}

fn no_space() -> Error {
    Error::corrupted("the store has no keyspace of the books")
}

fn keyspace(store: &Store, name: &str) -> Result<Keyspace> {
    if store.is_read_only() {
        return store.existing_keyspace(name).map_err(|error| {
            Error::new(ErrorKind::NotFound, format!("no books are here: {error}"))
        });
    }
    Ok(store.keyspace(name, KeyspaceOptions::hash())?)
}

fn durability(acknowledge: Acknowledge) -> Durability {
    match acknowledge {
        Acknowledge::Kernel => Durability::Kernel,
        Acknowledge::Device => Durability::Device,
    }
}

impl Datastore for PeercaskDatastore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.check()?;
        let (space, key) = self.place(key)?;
        Ok(space.get(key)?.map(Bytes::from))
    }

    fn has(&self, key: &[u8]) -> Result<bool> {
        self.check()?;
        let (space, key) = self.place(key)?;
        Ok(space.contains(key)?)
    }

    fn query(&self, prefix: &[u8]) -> Result<Entries<'_>> {
        self.check()?;
        let snapshot = self.store.snapshot()?;
        let mut entries: Vec<Entries<'_>> = Vec::new();
        for (first, space) in &self.spaces {
            let within = match (first, prefix.split_first()) {
                (Some(first), Some((asked, rest))) if first == asked => rest.to_vec(),
                (Some(_), Some(_)) => continue,
                (Some(_), None) => Vec::new(),
                (None, _) => prefix.to_vec(),
            };
            let first = first.map(|first| vec![first]).unwrap_or_default();
            let walk = snapshot.walk(space)?;
            entries.push(Box::new(walk.filter_map(move |entry| match entry {
                Ok(entry) if !entry.key.starts_with(&within) => None,
                Ok(entry) => {
                    let key = [first.as_slice(), &entry.key].concat();
                    Some(Ok((Bytes::from(key), Bytes::from(entry.value))))
                }
                Err(error) => Some(Err(error.into())),
            })));
        }
        Ok(Box::new(entries.into_iter().flatten()))
    }

    fn commit(&self, batch: Batch, acknowledge: Acknowledge) -> Result<()> {
        self.check()?;
        let durability = durability(acknowledge);
        if let [(key, Some(value))] = batch.changes.as_slice() {
            let (space, key) = self.place(key)?;
            let write = peercask::Write::new().durability(durability);
            space.put_with(key, value, write)?.wait()?;
            return Ok(());
        }
        if batch.is_empty() {
            return Ok(());
        }
        let mut changes = self.store.batch();
        for (key, value) in &batch.changes {
            let (space, key) = self.place(key)?;
            match value {
                Some(value) => changes.put(space, key, value),
                None => changes.delete(space, key),
            }
        }
        changes.commit_with(durability)?.wait()?;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.check()?;
        Ok(self.store.sync()?)
    }

    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.owns_store {
            true => Ok(self.store.clone().close()?),
            false if self.store.is_read_only() => Ok(()),
            false => Ok(self.store.sync()?),
        }
    }

    fn merge(&self) -> Result<()> {
        self.check()?;
        self.store.merge(Merge::Full)?;
        Ok(())
    }

    fn backup_to(&self, dir: &Path) -> Result<()> {
        self.check()?;
        self.store.checkpoint_to(dir)?;
        Ok(())
    }

    fn keys(&self, prefix: &[u8]) -> Option<u64> {
        let [first] = prefix else { return None };
        let of_first = |space: &&(Option<u8>, Keyspace)| space.0 == Some(*first);
        let space = self.spaces.iter().find(of_first);
        space.map(|(_, space)| space.keys_estimate())
    }

    fn stats(&self) -> DatastoreStats {
        let stats = self.store.stats();
        DatastoreStats {
            disk_bytes: stats.disk_bytes,
            live_bytes: stats.live_bytes,
            dead_bytes: stats.dead_bytes,
            written_bytes: stats.written_bytes,
            writes: stats.puts + stats.deletes,
            index_bytes: stats.index_bytes,
        }
    }
}
