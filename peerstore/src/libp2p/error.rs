//! The one error of the books, with few kinds, each for what a caller does next. No message holds a private key.

use crate::error::Kind;

/// What went wrong with the books, and while doing what.
pub type Error = crate::error::Error<ErrorKind>;

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
    /// A limit is reached: signed records of the store; protocols, entries, tags of a peer.
    TooMany,
    /// There are as many peers as there may be, and something protects each of them.
    TooManyPeers,
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

impl Kind for ErrorKind {
    fn of_engine(kind: peercask::ErrorKind) -> ErrorKind {
        match kind {
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
        }
    }
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn corrupted(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupted, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the peer store is closed")
    }
}
