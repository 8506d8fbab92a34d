//! What the books need of whatever keeps their bytes: keys and values, batches that are whole or absent,
//! and no word about peers. Three implementations are in `backend/`; any other may be brought.

use bytes::Bytes;

use super::error::{Error, ErrorKind, Result};

/// What an acknowledged write survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Acknowledge {
    /// The death of the process, not a power cut.
    #[default]
    Kernel,
    /// A power cut.
    Device,
}

/// Changes that a datastore applies whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(crate) changes: Vec<(Vec<u8>, Option<Bytes>)>,
}

impl Batch {
    /// Without changes.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a put; a later change of the same key wins.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    /// Adds a delete; a key that is absent is no error.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), None));
    }

    /// The changes in their order; without a value a key is deleted.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        let changes = self.changes.iter();
        changes.map(|(key, value)| (key.as_slice(), value.as_ref()))
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Drops all changes.
    pub fn discard(&mut self) {
        self.changes.clear();
    }
}

/// Entries of a query: key and value. An entry that is damaged is an error in its place, and the
/// query goes on behind it.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes)>> + Send + 'a>;

/// Sizes of a datastore, as far as it knows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DatastoreStats {
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Bytes of what is live in them.
    pub live_bytes: u64,
    /// Bytes of what was replaced or deleted.
    pub dead_bytes: u64,
    /// Bytes written since it was opened.
    pub written_bytes: u64,
    /// Changes written since it was opened.
    pub writes: u64,
    /// Memory of its index.
    pub index_bytes: u64,
}

/// Keys and values, with batches. Used from many threads at once; the books see to it that no two
/// write the same key at a time.
///
/// After [`Datastore::close`] every call answers `Closed`.
///
/// ```
/// use peercask_peerstore::libp2p::{Acknowledge, Batch, Datastore, MemoryDatastore};
///
/// let store = MemoryDatastore::new();
/// let mut batch = Batch::new();
/// batch.put("a/1", "one");
/// batch.put("a/2", "two");
/// batch.put("b/1", "other");
/// store.commit(batch, Acknowledge::Device)?;
///
/// assert_eq!(store.get(b"a/1")?.as_deref(), Some(&b"one"[..]));
/// assert_eq!(store.query(b"a/")?.count(), 2);
/// # Ok::<(), peercask_peerstore::libp2p::Error>(())
/// ```
pub trait Datastore: Send + Sync + 'static {
    /// The value of a key, `None` if it is absent.
    ///
    /// # Errors
    /// `Corrupted` if it cannot be read, `Io`, `Closed`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Whether a key is there.
    ///
    /// # Errors
    /// As [`Datastore::get`].
    fn has(&self, key: &[u8]) -> Result<bool>;

    /// All entries whose key starts with `prefix`, bytes of any kind, in no order. Writes go on
    /// meanwhile, and need not be met; each entry that stands still is met once.
    ///
    /// # Errors
    /// As [`Datastore::get`]; also of single entries while it goes on.
    fn query(&self, prefix: &[u8]) -> Result<Entries<'_>>;

    /// Applies a batch whole or not at all, whatever crashes, and returns when it survives what
    /// was asked. Of two of which one was applied after the other had returned, a crash never
    /// leaves the later one alone.
    ///
    /// # Errors
    /// `StorageFull`, `Io`, `Poisoned`, `ReadOnly`, `Closed`; nothing is applied then, except that
    /// a batch whose wait for the device failed is visible, and may be gone after a crash.
    fn commit(&self, batch: Batch, acknowledge: Acknowledge) -> Result<()>;

    /// Returns when everything written before survives a power cut.
    ///
    /// # Errors
    /// `Io`, `Poisoned`, `Closed`.
    fn sync(&self) -> Result<()>;

    /// Closes; the second time too.
    ///
    /// # Errors
    /// What kept the last writes from the device.
    fn close(&self) -> Result<()>;

    /// Stores one value.
    ///
    /// # Errors
    /// As [`Datastore::commit`].
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key, value.to_vec());
        self.commit(batch, Acknowledge::Kernel)
    }

    /// Removes one key; one that is absent is no error.
    ///
    /// # Errors
    /// As [`Datastore::commit`].
    fn delete(&self, key: &[u8]) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(key);
        self.commit(batch, Acknowledge::Kernel)
    }

    /// Rewrites what is live, so that no file holds a byte of what was replaced or deleted.
    ///
    /// # Errors
    /// As [`Datastore::commit`]; `Unsupported` if the datastore cannot.
    fn merge(&self) -> Result<()> {
        let what = "this datastore cannot drop what was deleted from its files";
        Err(Error::new(ErrorKind::Unsupported, what))
    }

    /// A consistent, openable copy in a directory that is missing or empty, while writes go on.
    ///
    /// # Errors
    /// As [`Datastore::commit`]; `Unsupported` if the datastore cannot.
    fn backup_to(&self, dir: &std::path::Path) -> Result<()> {
        let what = format!("this datastore cannot make a copy in {}", dir.display());
        Err(Error::new(ErrorKind::Unsupported, what))
    }

    /// How many keys start with a prefix, if that is known without looking at each.
    fn keys(&self, prefix: &[u8]) -> Option<u64> {
        let _ = prefix;
        None
    }

    /// Sizes, as far as they are known.
    fn stats(&self) -> DatastoreStats {
        DatastoreStats::default()
    }
}
