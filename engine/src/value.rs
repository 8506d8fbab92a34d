//! Values as callers hold them: lent from a segment's map by reference count, no copy.
//! A held value keeps its map, not its file name: merge may unlink the segment meanwhile.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Deref;

use bytes::Bytes;

use crate::segment::data_file::Lent;
use crate::segment::location::Seq;

/// Bytes lent from the store; derefs to `[u8]`, turns into [`Bytes`] without a copy.
///
/// While it lives, the memory map of its segment (64 MiB of address space by default) stays, and
/// the disk space of a segment that merge has removed. Copy what is kept for long.
#[derive(Clone)]
pub struct Value {
    lent: Lent,
}

impl Value {
    pub(crate) fn new(lent: Lent) -> Value {
        Value { lent }
    }

    /// The part `from..from + len`, as far as it exists; no copy.
    pub(crate) fn part(&self, from: usize, len: usize) -> Value {
        Value {
            lent: self.lent.part(from, len),
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.lent.as_slice()
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Value> for Bytes {
    fn from(value: Value) -> Bytes {
        match value.lent {
            Lent::Copied(bytes) => bytes,
            Lent::Mapped { .. } => Bytes::from_owner(value),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl Eq for Value {}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == other[..]
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Value {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == other[..]
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl PartialEq<Vec<u8>> for Value {
    fn eq(&self, other: &Vec<u8>) -> bool {
        **self == **other
    }
}

/// A key with everything that is known of its current version.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Value,
    /// The value.
    pub value: Value,
    /// The write's place in the order of all writes of the store.
    pub seq: Seq,
    /// When it expires, in milliseconds since the Unix epoch; `None` for never.
    pub expires_at_ms: Option<u64>,
}

/// Reads one value as a stream; made by [`Keyspace::reader`](crate::Keyspace::reader).
///
/// It reads the version that was current when it was made, whatever is written meanwhile.
#[derive(Clone, Debug)]
pub struct ValueReader {
    value: Value,
    at: u64,
}

impl ValueReader {
    pub(crate) fn new(value: Value) -> ValueReader {
        ValueReader { value, at: 0 }
    }

    /// The length of the whole value in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.value.len() as u64
    }

    /// Whether the value is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    fn rest(&self) -> &[u8] {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        self.value.get(at..).unwrap_or_default()
    }
}

impl Read for ValueReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.rest().read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl BufRead for ValueReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.rest())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount as u64;
    }
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let before_start = || io::Error::new(io::ErrorKind::InvalidInput, "seek before the start");
        self.at = target.ok_or_else(before_start)?;
        Ok(self.at)
    }
}
