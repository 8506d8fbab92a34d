//! What the doctor tells: plain data.

use crate::report::{Cut, Damage};

/// Whether it is a fact that no write acknowledged as `Device` was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is: everything proven to have been on the device is there and whole, and nothing that
    /// could have been acknowledged was cut off.
    Proven,
    /// Nothing known to have been on the device is missing, but the files cannot tell whether what
    /// was cut off, or what a lost manifest named, had been acknowledged.
    NotProvable,
    /// Records that were on the device are missing or cannot be read.
    Lost,
}

/// What the doctor found in a store's directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// Whether nothing acknowledged was lost.
    pub verdict: Verdict,
    /// The facts that the verdict rests on, a sentence each.
    pub reasons: Vec<String>,
    /// A process has the store open; what it writes meanwhile shows in parts.
    pub in_use: bool,
    /// The store was closed, and every segment is sealed.
    pub clean: bool,
    /// Why open refuses as things are, with [`Missing::Refuse`](crate::Missing::Refuse); the rest then tells what is left
    /// with [`Missing::Accept`](crate::Missing::Accept).
    pub refused: Option<String>,
    /// The id that all files of the store carry.
    pub store_id: [u8; 16],
    /// Everything up to this seq is proven to have been on the device.
    pub synced_seq: u64,
    /// The last seq that counts.
    pub last_seq: u64,
    /// Records that count, dead ones included.
    pub records: u64,
    /// Keys that open would find, expired ones included.
    pub keys: u64,
    /// Neither copy of the manifest holds; open rebuilds it from the segments.
    pub manifest_rebuilt: bool,
    /// The two copies of the manifest.
    pub manifests: Vec<ManifestState>,
    /// The segments that count, in the order of their numbers, and those of which nothing counts.
    pub segments: Vec<SegmentState>,
    /// What open would cut off the end of the log.
    pub cut: Vec<Cut>,
    /// What is damaged, each place once.
    pub damage: Vec<Damage>,
    /// Keys whose newest record cannot be read, at most [`LOST_KEYS_MAX`] of them.
    pub lost_keys: Vec<LostKey>,
    /// How many such keys there are.
    pub lost_keys_total: u64,
    /// Leftovers of a crash that open would remove.
    pub leftovers: Vec<String>,
    /// Files that are not the store's; open leaves them alone.
    pub foreign_files: Vec<String>,
}

/// Of the keys that are lost, at most this many are named.
pub const LOST_KEYS_MAX: usize = 1_000;

/// A copy of the manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestState {
    /// Its file name.
    pub file: &'static str,
    /// What it is worth.
    pub state: ManifestWorth,
}

/// What a copy of the manifest is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestWorth {
    /// It holds, with this generation; the higher one counts.
    Valid(u64),
    /// There is none.
    Missing,
    /// It does not hold, and why.
    Damaged(String),
}

/// What is known of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SegmentState {
    /// Its number.
    pub id: u64,
    /// Its file name.
    pub file: String,
    /// Bytes in its file; 0 if the file is missing.
    pub file_len: u64,
    /// `"user"` or `"merged"`; `"unknown"` if no header can be read.
    pub kind: &'static str,
    /// What it is to the log.
    pub standing: Standing,
    /// Records that count, as far as they can be told.
    pub records: u64,
    /// The lowest and the highest seq in it; 0 without records.
    pub first_seq: u64,
    /// See `first_seq`.
    pub last_seq: u64,
    /// Records that are proven to have been on the device.
    pub durable_records: u64,
    /// Where the bytes end that are proven to have been on the device.
    pub durable_len: u64,
    /// Where the records that count end.
    pub data_len: u64,
    /// Zeros behind its records: space that was reserved and not used.
    pub reserved_len: u64,
    /// Damaged places in it.
    pub damaged_places: u64,
    /// Its hint file.
    pub hint: HintState,
}

/// What a segment is to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The manifest names it as sealed: all of it was on the device.
    Sealed,
    /// It was being written, or its sealing did not reach the manifest.
    Unsealed,
    /// It was begun, and nothing in it counts; open removes it.
    Empty,
    /// The manifest names it, and it is not there, or not as long as it was.
    Missing,
}

/// What a hint file is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HintState {
    /// It agrees with its segment.
    Valid,
    /// There is none; open reads the segment instead, and it is made again.
    Missing,
    /// It is not used, and why; open reads the segment instead.
    Damaged(String),
    /// Only sealed segments have one.
    None,
}

/// A key whose newest record cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostKey {
    /// Its keyspace.
    pub keyspace: String,
    /// The key, where anything still tells it.
    pub key: Option<Vec<u8>>,
    /// Where its record is.
    pub file: String,
    /// See `file`.
    pub offset: u64,
}
