//! The one error of the crate: clonable, because group commit answers many callers with it,
//! and with few kinds, chosen by what the caller does next.
//! It knows no other module; whoever meets a fault adds the file and offset.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::segment::location::Seq;

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a file operation; the message says which. Retry or give up.
    Io,
    /// No space is left. Nothing was applied; delete, merge or free space, then try again.
    StorageFull,
    /// Bytes on disk are not what was written. Restore, `verify` or accept the loss.
    Corrupted,
    /// Another process or handle has the store open for writing.
    Locked,
    /// The call itself was wrong: a limit, a wrong index kind, a directory that is no store.
    InvalidArgument,
    /// A keyspace or store that was asked for by name does not exist.
    NotFound,
    /// The files were written by a newer version of the format.
    UnsupportedFormat,
    /// A sync failed earlier; the store refuses writes until it is opened again. Reads go on.
    Poisoned,
    /// The store was opened for reading alone.
    ReadOnly,
    /// The store was closed.
    Closed,
    /// Another write came between; read again and retry.
    Conflict,
    /// Merge took what was asked for from the history; read what is current, then follow from there.
    HistoryGone,
}

/// What went wrong, where, and while doing what.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<String>,
    offset: Option<u64>,
    source: Option<io::Error>,
    earliest_seq: Option<u64>,
    unreadable: bool,
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The file concerned, as named in the store's directory.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.inner.file.as_deref()
    }

    /// The byte offset in [`Error::file`] where the fault lies.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.inner.offset
    }

    /// A file that was there, or should be, is not.
    pub(crate) fn is_missing_file(&self) -> bool {
        let source = self.inner.source.as_ref();
        source.is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
    }

    /// The bytes asked for are not what was written, or the device cannot give them.
    pub(crate) fn is_of_damage(&self) -> bool {
        self.inner.unreadable || self.inner.kind == ErrorKind::Corrupted
    }

    /// With `HistoryGone`: the earliest seq after which a watch can still be resumed.
    #[must_use]
    pub fn earliest_seq(&self) -> Option<Seq> {
        self.inner.earliest_seq.map(Seq)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::build(kind, message.into(), None, None, None)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the store is closed")
    }

    pub(crate) fn corrupted(file: &str, offset: u64, what: impl fmt::Display) -> Error {
        Error::build(
            ErrorKind::Corrupted,
            what.to_string(),
            Some(file.to_owned()),
            Some(offset),
            None,
        )
    }

    /// An error of the operating system met while `doing` something to `file`.
    pub(crate) fn io(doing: &str, file: &str, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::StorageFull,
            _ => ErrorKind::Io,
        };
        Error::build(
            kind,
            format!("could not {doing}"),
            Some(file.to_owned()),
            None,
            Some(source),
        )
    }

    /// A read failed of a file that is open: its device cannot give these bytes.
    pub(crate) fn unreadable(doing: &str, file: &str, source: io::Error) -> Error {
        Error::assemble(Inner {
            kind: ErrorKind::Io,
            message: format!("could not {doing}"),
            file: Some(file.to_owned()),
            offset: None,
            source: Some(source),
            earliest_seq: None,
            unreadable: true,
        })
    }

    /// The same error under another kind, with the first cause kept in the message.
    pub(crate) fn poisoned_by(cause: &Error) -> Error {
        Error::build(
            ErrorKind::Poisoned,
            format!(
                "the store refuses writes after a failed sync ({cause}); open it again to go on"
            ),
            cause.inner.file.clone(),
            cause.inner.offset,
            None,
        )
    }

    /// Everything between `after` and `earliest` is only there as far as it is current.
    pub(crate) fn history_gone(after: u64, earliest: u64) -> Error {
        let message = format!(
            "the writes after seq {after} were merged away; the earliest seq after which all are \
             still there is {earliest}: read what is current, then resume from there or later"
        );
        Error::assemble(Inner {
            kind: ErrorKind::HistoryGone,
            message,
            file: None,
            offset: None,
            source: None,
            earliest_seq: Some(earliest),
            unreadable: false,
        })
    }

    fn build(
        kind: ErrorKind,
        message: String,
        file: Option<String>,
        offset: Option<u64>,
        source: Option<io::Error>,
    ) -> Error {
        Error::assemble(Inner {
            kind,
            message,
            file,
            offset,
            source,
            earliest_seq: None,
            unreadable: false,
        })
    }

    fn assemble(inner: Inner) -> Error {
        Error {
            inner: Arc::new(inner),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        if let Some(file) = &self.inner.file {
            write!(f, ", file {file}")?;
        }
        if let Some(offset) = self.inner.offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(source) = &self.inner.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.inner.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_io_errors() {
        let full = Error::io("append", "x", io::Error::from(io::ErrorKind::StorageFull));
        let other = Error::io(
            "append",
            "x",
            io::Error::from(io::ErrorKind::PermissionDenied),
        );
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert_eq!(other.kind(), ErrorKind::Io);
    }

    #[test]
    fn the_message_names_file_and_offset() {
        let error = Error::corrupted("seg-1", 42, "header checksum does not hold");
        assert_eq!(
            error.to_string(),
            "header checksum does not hold, file seg-1, offset 42"
        );
        assert_eq!(error.file(), Some("seg-1"));
        assert_eq!(error.offset(), Some(42));
    }
}
