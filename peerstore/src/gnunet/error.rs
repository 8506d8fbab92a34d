//! The one error of this room, with few kinds, each for what a caller does next. It also knows its own numbers
//! on the wire, so that a client sees the kind that the service saw.

use std::fmt;

use crate::error::Kind;

/// What went wrong with a peerstore, and while doing what.
pub type Error = crate::error::Error<ErrorKind>;

/// The result of every fallible call of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call was wrong: an option out of range, a page asked for before the last one came.
    InvalidArgument,
    /// A record that this mode does not take: NUL in a name, a name that is too long.
    InvalidRecord,
    /// A record over the size limit of this mode or of this store.
    TooLarge,
    /// The subsystem's quota is used up. Delete, or give it more.
    QuotaExceeded,
    /// The store, the service or the connection was closed.
    Closed,
    /// Another process or handle has the store or the socket.
    Locked,
    /// No space is left. Nothing was applied.
    StorageFull,
    /// Bytes on disk are not what was written.
    Corrupted,
    /// There is no such store or file.
    NotFound,
    /// A sync failed earlier; the store refuses writes until it is opened again.
    Poisoned,
    /// The format of a file, or the protocol of the other side, is of another version.
    UnsupportedVersion,
    /// The operating system refused an operation.
    Io,
    /// No service answers at the socket.
    NoService,
    /// The connection broke before the answer came: a store may or may not have been applied, an
    /// iteration is cut short.
    ConnectionLost,
    /// A limit of the service: connections, open requests, frame size.
    LimitReached,
    /// The other side does not keep to the protocol.
    Protocol,
}

const NUMBERS: [(ErrorKind, u8); 16] = [
    (ErrorKind::InvalidArgument, 1),
    (ErrorKind::InvalidRecord, 2),
    (ErrorKind::TooLarge, 3),
    (ErrorKind::QuotaExceeded, 4),
    (ErrorKind::Closed, 5),
    (ErrorKind::Locked, 6),
    (ErrorKind::StorageFull, 7),
    (ErrorKind::Corrupted, 8),
    (ErrorKind::NotFound, 9),
    (ErrorKind::Poisoned, 10),
    (ErrorKind::UnsupportedVersion, 11),
    (ErrorKind::Io, 12),
    (ErrorKind::NoService, 13),
    (ErrorKind::ConnectionLost, 14),
    (ErrorKind::LimitReached, 15),
    (ErrorKind::Protocol, 16),
];

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
            peercask::ErrorKind::Closed => ErrorKind::Closed,
            _ => ErrorKind::Io,
        }
    }
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the peerstore is closed")
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Protocol, message)
    }

    /// An error of the operating system met while doing something: "bind the socket x".
    pub(crate) fn io(doing: impl fmt::Display, error: &std::io::Error) -> Error {
        Error::new(ErrorKind::Io, format!("could not {doing}: {error}"))
    }

    /// Its number on the wire.
    pub(crate) fn number(&self) -> u8 {
        let known = NUMBERS.iter().find(|(kind, _)| *kind == self.kind());
        known.map_or(12, |(_, number)| *number)
    }

    /// What a service told: kinds of a later version are plain faults here.
    pub(crate) fn of_number(number: u8, message: impl Into<String>) -> Error {
        let known = NUMBERS.iter().find(|(_, known)| *known == number);
        Error::new(known.map_or(ErrorKind::Io, |(kind, _)| *kind), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_number_and_comes_back_from_it() {
        for (kind, number) in NUMBERS {
            let error = Error::new(kind, "why");
            assert_eq!(error.number(), number);
            let back = Error::of_number(number, "why");
            assert_eq!((back.kind(), back.to_string()), (kind, "why".into()));
        }
        assert_eq!(Error::of_number(200, "new").kind(), ErrorKind::Io);
    }
}
