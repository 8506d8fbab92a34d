//! What a simulated disk can be told to fail: which calls, how, how often.

use std::fmt;
use std::io;

/// A kind of call that the disk answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// The names of a directory.
    List,
    /// A file that exists.
    Open,
    /// A file that did not exist.
    Create,
    /// Bytes from a file, or its length, or a map of it.
    Read,
    /// Bytes into a file.
    Write,
    /// A new length of a file.
    Resize,
    /// Space for later writes.
    Reserve,
    /// A file to the medium.
    Sync,
    /// A name in place of another.
    Rename,
    /// A name taken away.
    Remove,
    /// A second name for a file.
    Link,
    /// A directory's names to the medium.
    SyncDirectory,
    /// The lock of a directory.
    Lock,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 13] = [
        Operation::List,
        Operation::Open,
        Operation::Create,
        Operation::Read,
        Operation::Write,
        Operation::Resize,
        Operation::Reserve,
        Operation::Sync,
        Operation::Rename,
        Operation::Remove,
        Operation::Link,
        Operation::SyncDirectory,
        Operation::Lock,
    ];

    /// A word for it, as cases and reports write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Operation::List => "list",
            Operation::Open => "open",
            Operation::Create => "create",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Resize => "resize",
            Operation::Reserve => "reserve",
            Operation::Sync => "sync",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::Link => "link",
            Operation::SyncDirectory => "sync-dir",
            Operation::Lock => "lock",
        }
    }

    /// The operation of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Operation> {
        Operation::ALL.into_iter().find(|op| op.word() == word)
    }

    /// Whether it changes the disk, so that the power may be cut after it.
    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(
            self,
            Operation::List | Operation::Open | Operation::Read | Operation::Lock
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// EIO: the device could not. A sync that fails so leaves its pages clean, and lost or not.
    Io,
    /// ENOSPC: no space.
    StorageFull,
    /// EDQUOT: no space for this user.
    QuotaExceeded,
    /// EMFILE: no descriptor left.
    TooManyFiles,
    /// EACCES: not allowed.
    PermissionDenied,
    /// EROFS: the file system became read-only.
    ReadOnly,
    /// EINTR: a signal came first; the caller is to try again.
    Interrupted,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 7] = [
        Failure::Io,
        Failure::StorageFull,
        Failure::QuotaExceeded,
        Failure::TooManyFiles,
        Failure::PermissionDenied,
        Failure::ReadOnly,
        Failure::Interrupted,
    ];

    /// A word for it, as cases, reports and the command line write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Failure::Io => "eio",
            Failure::StorageFull => "enospc",
            Failure::QuotaExceeded => "edquot",
            Failure::TooManyFiles => "emfile",
            Failure::PermissionDenied => "eacces",
            Failure::ReadOnly => "erofs",
            Failure::Interrupted => "eintr",
        }
    }

    /// The failure of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Failure> {
        Failure::ALL.into_iter().find(|f| f.word() == word)
    }

    pub(crate) fn error(self) -> io::Error {
        #[cfg(unix)]
        {
            use rustix::io::Errno;
            io::Error::from(match self {
                Failure::Io => Errno::IO,
                Failure::StorageFull => Errno::NOSPC,
                Failure::QuotaExceeded => Errno::DQUOT,
                Failure::TooManyFiles => Errno::MFILE,
                Failure::PermissionDenied => Errno::ACCESS,
                Failure::ReadOnly => Errno::ROFS,
                Failure::Interrupted => Errno::INTR,
            })
        }
        #[cfg(not(unix))]
        {
            io::Error::from(match self {
                Failure::Io | Failure::TooManyFiles => io::ErrorKind::Other,
                Failure::StorageFull => io::ErrorKind::StorageFull,
                Failure::QuotaExceeded => io::ErrorKind::QuotaExceeded,
                Failure::PermissionDenied => io::ErrorKind::PermissionDenied,
                Failure::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
                Failure::Interrupted => io::ErrorKind::Interrupted,
            })
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A fault that waits for a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fault {
    /// Which calls it meets.
    pub operation: Operation,
    /// How many such calls succeed first.
    pub after: u64,
    /// How the call fails.
    pub failure: Failure,
    /// Every later call of that kind fails too, until the faults are taken away.
    pub for_good: bool,
    /// The call is done, and fails nevertheless.
    pub done: bool,
}

impl Fault {
    /// The next call of that kind fails once, and does nothing.
    #[must_use]
    pub fn new(operation: Operation, failure: Failure) -> Fault {
        Fault {
            operation,
            after: 0,
            failure,
            for_good: false,
            done: false,
        }
    }

    /// That many calls succeed first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Fault {
        self.after = calls;
        self
    }

    /// Every later call of that kind fails too.
    #[must_use]
    pub fn for_good(mut self, for_good: bool) -> Fault {
        self.for_good = for_good;
        self
    }

    /// The call is done, and fails nevertheless.
    #[must_use]
    pub fn done(mut self, done: bool) -> Fault {
        self.done = done;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let often = if self.for_good { "+" } else { "" };
        let done = if self.done { "!" } else { "" };
        let Fault {
            operation,
            after,
            failure,
            ..
        } = self;
        write!(f, "{operation}.{after}{often}.{failure}{done}")
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let parse = || {
            let (operation, rest) = text.split_once('.')?;
            let (after, failure) = rest.split_once('.')?;
            let (after, for_good) = match after.strip_suffix('+') {
                Some(after) => (after, true),
                None => (after, false),
            };
            let (failure, done) = match failure.strip_suffix('!') {
                Some(failure) => (failure, true),
                None => (failure, false),
            };
            Some(Fault {
                operation: Operation::of_word(operation)?,
                after: after.parse().ok()?,
                failure: Failure::of_word(failure)?,
                for_good,
                done,
            })
        };
        parse().ok_or_else(|| format!("'{text}' is no fault; one is written like write.3+.enospc"))
    }
}

/// How often each fault was met.
pub(crate) type Met = std::collections::BTreeMap<(Operation, Failure), u64>;

/// The faults that wait.
#[derive(Default)]
pub(super) struct Faults {
    waiting: Vec<Fault>,
    pub(super) met: Met,
}

impl Faults {
    pub(super) fn set(&mut self, faults: &[Fault]) {
        self.waiting = faults.to_vec();
    }

    /// The failure of this call, and whether it is done all the same.
    pub(super) fn meet(&mut self, operation: Operation) -> Option<(Failure, bool)> {
        let mut found = None;
        self.waiting.retain_mut(|fault| {
            if found.is_some() || fault.operation != operation {
                return true;
            }
            if let Some(left) = fault.after.checked_sub(1) {
                fault.after = left;
                return true;
            }
            found = Some((fault.failure, fault.done));
            fault.for_good
        });
        if let Some((failure, _)) = found {
            *self.met.entry((operation, failure)).or_default() += 1;
        }
        found
    }
}
