//! The one error of the books: clonable, with few kinds, each for what a caller does next. No message
//! holds a private key.

use std::fmt;
use std::sync::Arc;

/// The result of every fallible call of the books.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call was wrong: an option or a value out of range.
    InvalidArgument,
    /// Bytes that are no multiaddr.
    InvalidAddress,
    /// Bytes that are no key, or a key that does not belong to the peer.
    InvalidKey,
    /// A signed record that does not hold: its signature, its signer, its type or its form.
    InvalidRecord,
    /// There is no such peer, or it has no such entry.
    NotFound,
    /// A limit of the store is reached: peers, protocols, signed records, entries.
    TooMany,
    /// A value is longer than its limit.
    TooLarge,
    /// The policy for private keys does not take one.
    Refused,
    /// Private keys were sealed with another secret, or no secret was given.
    WrongSecret,
    /// The store was closed.
    Closed,
    /// Another process or handle has the store.
    Locked,
    /// The store was opened for reading alone.
    ReadOnly,
    /// No space is left. Nothing was applied.
    StorageFull,
    /// Bytes on disk are not what was written.
    Corrupted,
    /// A sync failed earlier; the store refuses writes until it is opened again.
    Poisoned,
    /// A newer version of this program wrote it.
    UnsupportedVersion,
    /// This datastore cannot do that.
    Unsupported,
    /// The operating system, or the datastore, refused an operation.
    Io,
}

/// What went wrong, and while doing what.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<peercask::Error>,
}

impl Error {
    /// An error of a datastore of your own.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                source: None,
            }),
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn corrupted(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupted, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the peer store is closed")
    }

    /// The same error, with what was being done before it.
    #[must_use]
    pub(crate) fn while_doing(&self, what: &str) -> Error {
        Error {
            inner: Arc::new(Inner {
                kind: self.inner.kind,
                message: format!("{what}: {}", self.inner.message),
                source: self.inner.source.clone(),
            }),
        }
    }
}

impl From<peercask::Error> for Error {
    fn from(error: peercask::Error) -> Error {
        let kind = match error.kind() {
            peercask::ErrorKind::StorageFull => ErrorKind::StorageFull,
            peercask::ErrorKind::Corrupted => ErrorKind::Corrupted,
            peercask::ErrorKind::Locked => ErrorKind::Locked,
            peercask::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
            peercask::ErrorKind::NotFound => ErrorKind::NotFound,
            peercask::ErrorKind::UnsupportedFormat => ErrorKind::UnsupportedVersion,
            peercask::ErrorKind::Poisoned => ErrorKind::Poisoned,
            peercask::ErrorKind::ReadOnly => ErrorKind::ReadOnly,
            peercask::ErrorKind::Closed => ErrorKind::Closed,
            _ => ErrorKind::Io,
        };
        Error {
            inner: Arc::new(Inner {
                kind,
                message: error.to_string(),
                source: Some(error),
            }),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
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
