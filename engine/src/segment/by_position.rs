//! One record of a file that is not mapped: first as much as most headers and keys need, then the rest.
//! What lies beside it and cannot be read is no concern of who asks for this one.

use crate::disk::tolerant::{Unreadable, read_patiently};
use crate::disk::{DiskFile, read_full_at};
use crate::error::{Error, Result};
use crate::segment::format::{RECORD_HEADER_LEN_MAX, wide};
use crate::segment::record::{self, Place};

/// How much is read first: header and key of nearly all records.
const FIRST_READ_LEN: usize = 1_024;

/// Where the record stands.
pub(crate) struct Reading<'a> {
    pub(crate) file: &'a dyn DiskFile,
    pub(crate) name: &'a str,
    pub(crate) place: Place,
    pub(crate) offset: u64,
    /// Bytes of the file from there on.
    pub(crate) available: u64,
}

impl Reading<'_> {
    /// Header, key and value; the checksum of the value is not looked at.
    pub(crate) fn record(&self) -> Result<Vec<u8>> {
        let (mut bytes, mut lost) = (Vec::new(), None);
        let first = self.available.min(wide(FIRST_READ_LEN));
        self.more(&mut bytes, first, &mut lost)?;
        let need = record::header_and_key_len(&bytes).unwrap_or(RECORD_HEADER_LEN_MAX);
        self.more(&mut bytes, self.available.min(wide(need)), &mut lost)?;
        let header =
            match record::decode_header_only(&bytes, self.available, self.place, self.offset) {
                Ok(header) => header,
                Err(fault) => {
                    return Err(match lost {
                        Some(lost) => self.unreadable(lost),
                        None => Error::corrupted(self.name, self.offset, fault),
                    });
                }
            };
        let len = header.record_len();
        self.more(&mut bytes, len, &mut lost)?;
        if let Some(lost) = lost.filter(|lost| lost.start < self.offset + len) {
            return Err(self.unreadable(lost));
        }
        bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// Makes `bytes` at least `len` long, with zeros for what the device cannot read.
    fn more(&self, bytes: &mut Vec<u8>, len: u64, lost: &mut Option<Unreadable>) -> Result<()> {
        let (have, len) = (bytes.len(), usize::try_from(len).unwrap_or(usize::MAX));
        if have >= len {
            return Ok(());
        }
        bytes.resize(len, 0);
        let (rest, from) = (
            bytes.get_mut(have..).unwrap_or_default(),
            self.offset + wide(have),
        );
        if let Ok(n) = read_full_at(self.file, rest, from) {
            bytes.truncate(have + n);
            return Ok(());
        }
        let read = read_patiently(self.file, from, len - have);
        let (read, unreadable) =
            read.map_err(|e| Error::unreadable("read a record", self.name, e))?;
        bytes.truncate(have);
        bytes.extend_from_slice(&read);
        *lost = lost.take().or(unreadable);
        Ok(())
    }

    fn unreadable(&self, lost: Unreadable) -> Error {
        Error::unreadable("read a record", self.name, lost.error)
    }
}
