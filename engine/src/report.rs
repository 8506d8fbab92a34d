//! What open, merge and verify tell the caller: plain data, with a place for every loss.

use std::fmt;
use std::time::Duration;

/// What a damaged place costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cost {
    /// Records cannot be read.
    #[default]
    Records,
    /// Whether records were lost cannot be told.
    Unknown,
    /// No record: the same stands elsewhere, or is made again.
    Nothing,
}

/// A place where the files are not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file, as named in the store's directory.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes it spans, as far as known.
    pub len: u64,
    /// What was found, and what was lost by it.
    pub what: String,
    /// The key concerned, where it can be read.
    pub key: Option<Vec<u8>>,
    /// The keyspace of that key.
    pub keyspace: Option<String>,
    /// What it costs.
    pub cost: Cost,
}

impl Damage {
    pub(crate) fn at(file: &str, offset: u64, len: u64, what: impl Into<String>) -> Damage {
        Damage {
            file: file.to_owned(),
            offset,
            len,
            what: what.into(),
            key: None,
            keyspace: None,
            cost: Cost::Records,
        }
    }

    /// The same place, at this cost.
    pub(crate) fn costing(self, cost: Cost) -> Damage {
        Damage { cost, ..self }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {} ({} bytes): {}",
            self.file, self.offset, self.len, self.what
        )?;
        if let Some(key) = &self.key {
            write!(f, ", key \"{}\"", key.escape_ascii())?;
        }
        if let Some(keyspace) = &self.keyspace {
            write!(f, " of keyspace '{keyspace}'")?;
        }
        Ok(())
    }
}

/// What was cut off the end of the log: writes that were never acknowledged as `Device`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The file, as named in the store's directory.
    pub file: String,
    /// Where the cut was made; everything from here on is gone.
    pub offset: u64,
    /// How many bytes that held something were cut.
    pub bytes: u64,
    /// How many whole records were among them.
    pub records: u64,
}

/// What opening the store found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// The store was made by this call.
    pub created: bool,
    /// The store had been closed, and nothing had to be repaired.
    pub clean: bool,
    /// Segments in the log.
    pub segments: u64,
    /// Segments whose hint file was used.
    pub hints_used: u64,
    /// Segments that had to be scanned.
    pub segments_scanned: u64,
    /// Records in all segments, dead ones included.
    pub records: u64,
    /// Everything up to this seq is proven to have been on the device.
    pub synced_seq: u64,
    /// The last seq in the log.
    pub last_seq: u64,
    /// What was cut off the end of the log.
    pub cut: Vec<Cut>,
    /// What is damaged; each costs only the records it hit.
    pub damage: Vec<Damage>,
    /// Leftovers of a crash that were removed.
    pub removed_files: Vec<String>,
    /// Files in the directory that are not the store's; left alone.
    pub foreign_files: Vec<String>,
    /// The directory was a checkpoint, which this open made a store of its own.
    pub from_checkpoint: bool,
    /// Both copies of the manifest were lost; it was rebuilt from the segments.
    pub manifest_rebuilt: bool,
    /// The store was opened by a keydir image: only what that does not cover was read.
    pub image_used: bool,
    /// Keydir images that were not used, each with the reason. They cost time, never data.
    pub images_ignored: Vec<String>,
    /// The highest generation among the images that could be read.
    pub(crate) image_generation: u64,
    /// How long opening took.
    pub elapsed: Duration,
}

/// What a checkpoint or a restore did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckpointReport {
    /// The last seq in the copy: it holds everything written up to there, and nothing later.
    pub last_seq: u64,
    /// Segments in the copy.
    pub segments: u64,
    /// Segments that share their bytes with the origin.
    pub segments_linked: u64,
    /// Segments that had to be copied: another file system, or one without links.
    pub segments_copied: u64,
    /// Bytes of these.
    pub bytes_copied: u64,
    /// Segments that were there from an earlier checkpoint.
    pub segments_kept: u64,
    /// Segments of an earlier checkpoint that are no part of this one.
    pub segments_removed: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a merge did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MergeReport {
    /// Segments read and replaced.
    pub segments_in: u64,
    /// Segments written.
    pub segments_out: u64,
    /// Segments dropped whole, unread: everything in them had expired.
    pub segments_dropped: u64,
    /// Bytes of the segments replaced or dropped.
    pub bytes_in: u64,
    /// Bytes of the segments written.
    pub bytes_out: u64,
    /// Live records copied.
    pub records_copied: u64,
    /// Dead and expired records and retired tombstones left out.
    pub records_dropped: u64,
    /// Tombstones that must stay, since an older version may lie elsewhere.
    pub tombstones_kept: u64,
    /// Segments left alone because a live record in them cannot be read; see `verify`.
    pub segments_damaged: u64,
}

/// What `verify` found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Records whose checksums were compared.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Hint files compared with their segments.
    pub hints: u64,
    /// Current values that cannot be read, among the records in these segments.
    pub lost: u64,
    /// Everything that is not as it was written.
    pub damage: Vec<Damage>,
}

/// What a repair saved, and what not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepairReport {
    /// Keyspaces of the new store.
    pub keyspaces: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Live records that could not be read, one by one.
    pub lost: Vec<Damage>,
    /// What was found damaged when the store was read; it tells also of records of which nothing
    /// but their place is left.
    pub damage: Vec<Damage>,
    /// Files that were no part of the store.
    pub foreign_files: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

impl RepairReport {
    /// Whether nothing was damaged, so that nothing can be missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.damage.is_empty()
    }
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

/// How far a long call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to do in all.
    pub total_bytes: u64,
}
