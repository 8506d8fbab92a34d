//! What can go wrong outside the trait, whose own error has room for three words only.

use std::fmt;

use peercask::ErrorKind;

/// The result of opening a store and of the handle's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store could not be opened, or a call of its handle failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The engine says so: file, offset and cause are in its message. `ErrorKind::Locked` means
    /// that another process or handle has the directory open.
    Engine(peercask::Error),
    /// The records were written by a newer version of this crate. Nothing was changed.
    NewerFormat {
        /// The version found.
        found: u32,
        /// The newest version that this crate knows.
        known: u32,
    },
    /// What the directory says about its own format cannot be read.
    BadMeta(String),
    /// An option is out of range; the message names it.
    InvalidOption(String),
    /// The background thread could not be started.
    Thread(String),
    /// The store was closed.
    Closed,
}

impl Error {
    /// The engine's kind, where the engine is the cause.
    #[must_use]
    pub fn engine_kind(&self) -> Option<ErrorKind> {
        match self {
            Error::Engine(error) => Some(error.kind()),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Engine(error) => error.fmt(f),
            Error::NewerFormat { found, known } => write!(
                f,
                "the records have format {found}, this version of peercask-kad knows {known}: \
                 use a newer one; nothing was changed"
            ),
            Error::BadMeta(what) => write!(f, "the record store's own notes are damaged: {what}"),
            Error::InvalidOption(what) => write!(f, "Options: {what}"),
            Error::Thread(what) => write!(f, "could not start the background thread: {what}"),
            Error::Closed => f.write_str("the record store is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Engine(error) => Some(error),
            _ => None,
        }
    }
}

impl From<peercask::Error> for Error {
    fn from(error: peercask::Error) -> Error {
        match error.kind() {
            ErrorKind::Closed => Error::Closed,
            _ => Error::Engine(error),
        }
    }
}
