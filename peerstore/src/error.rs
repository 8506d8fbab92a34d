//! What the errors of all rooms have in common: clonable, a kind for what a caller does next, and a text. The
//! kinds are each room's own.

use std::fmt;
use std::sync::Arc;

/// A kind of error of one room.
pub trait Kind: Copy + fmt::Debug {
    /// What an error of the store beneath is to this room.
    #[must_use]
    fn of_engine(kind: peercask::ErrorKind) -> Self;
}

/// What went wrong, and while doing what. Cheap to clone.
#[derive(Clone)]
pub struct Error<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    kind: K,
    message: String,
    source: Option<peercask::Error>,
}

impl<K: Copy> Error<K> {
    /// An error of code of your own that a store calls, or hands on.
    #[must_use]
    pub fn new(kind: K, message: impl Into<String>) -> Error<K> {
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
    pub fn kind(&self) -> K {
        self.inner.kind
    }

    /// The same error, with what was being done before it.
    #[cfg(feature = "libp2p")]
    #[must_use]
    pub(crate) fn while_doing(&self, what: &str) -> Error<K> {
        Error {
            inner: Arc::new(Inner {
                kind: self.inner.kind,
                message: format!("{what}: {}", self.inner.message),
                source: self.inner.source.clone(),
            }),
        }
    }
}

impl<K: Kind> From<peercask::Error> for Error<K> {
    fn from(error: peercask::Error) -> Error<K> {
        Error {
            inner: Arc::new(Inner {
                kind: K::of_engine(error.kind()),
                message: error.to_string(),
                source: Some(error),
            }),
        }
    }
}

impl<K> fmt::Display for Error<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl<K: fmt::Debug> fmt::Debug for Error<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.inner.kind)
    }
}

impl<K: fmt::Debug> std::error::Error for Error<K> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| source as _)
    }
}
