//! The records of a keyspace one by one, past damaged ones: each of these is told on standard error and
//! counted, for damage costs only the records that it hit.
//!
//! It must never know what is done with the records.

use peercask::{Entry, ErrorKind, IndexKind, Keyspace, Result as StoreResult};

use crate::exit::Failure;
use crate::output;

/// Damaged records that are told one by one; beyond, they are only counted.
const TOLD_MAX: u64 = 20;

pub(super) type Entries = Box<dyn Iterator<Item = StoreResult<Entry>>>;

pub(super) struct Readable {
    entries: Entries,
    damaged: u64,
}

impl Readable {
    pub(super) fn of(entries: Entries) -> Readable {
        Readable {
            entries,
            damaged: 0,
        }
    }

    /// A whole keyspace, in order where there is one.
    pub(super) fn whole(keyspace: &Keyspace) -> StoreResult<Readable> {
        Ok(Readable::of(match keyspace.kind() {
            IndexKind::Ordered => Box::new(keyspace.iter()?),
            IndexKind::Hash => Box::new(keyspace.walk()),
        }))
    }

    /// The next record that can be read.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            match self.entries.next().transpose() {
                Ok(entry) => return Ok(entry),
                Err(error) if error.kind() == ErrorKind::Corrupted => self.tell(&error),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many records were passed over.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    fn tell(&mut self, error: &peercask::Error) {
        self.damaged += 1;
        if self.damaged <= TOLD_MAX {
            output::note(format_args!("passed over a damaged record: {error}"));
        } else if self.damaged == TOLD_MAX + 1 {
            output::note("passed over more damaged records; `peercask verify` names them");
        }
    }
}
