//! What must hold after a kill: doctor and open agree, open finds no damage, everything acknowledged is
//! there, and all of it is the state after some number of writes.

use std::path::Path;

use peercask::doctor::{self, Verdict};
use peercask::{IndexKind, RecoveryReport, Store};

use super::changes::{self, Contents, NUMBER_KEY, SPACES, State};
use super::child;
use crate::exit::{Exit, Failure};

/// Every so many rounds all checksums are compared, and the store is opened a second time.
const VERIFY_EVERY: u64 = 4;

/// Why a round did not end well.
pub(super) enum Finding {
    /// The engine broke a promise.
    Violation(String),
    /// The run could not be done.
    Failure(Failure),
}

impl From<peercask::Error> for Finding {
    fn from(error: peercask::Error) -> Finding {
        let failure = Failure::from(error);
        match (failure.exit, &failure.message) {
            (Exit::Io, _) | (_, None) => Finding::Failure(failure),
            (_, Some(message)) => Finding::Violation(message.clone()),
        }
    }
}

/// What a round found.
pub(super) struct Found {
    pub(super) recovery: RecoveryReport,
    /// The writes that are there.
    pub(super) writes: u64,
    /// Every checksum was compared too.
    pub(super) verified: bool,
}

/// Judges the store in `dir`, of which `least` writes must be there; `state` becomes the one found.
pub(super) fn store(
    dir: &Path,
    state: &mut State,
    least: u64,
    round: u64,
) -> Result<Found, Finding> {
    let foretold = if dir.join("manifest-a").exists() || dir.join("manifest-b").exists() {
        Some(doctor::examine(dir, &mut |_| {})?)
    } else {
        // The child died while it made the store; nothing can have been acknowledged.
        None
    };
    let options = child::options(round + 1).background(false);
    let store = Store::open(dir, options.clone())?;
    let recovery = store.recovery().clone();
    violated_if(!recovery.damage.is_empty(), || {
        format!(
            "recovery reports damage after a kill: {:?}",
            recovery.damage
        )
    })?;
    if let Some(foretold) = &foretold {
        violated_if(foretold.verdict == Verdict::Lost, || {
            format!("doctor says that data was lost: {:?}", foretold.reasons)
        })?;
        violated_if(foretold.cut != recovery.cut, || {
            format!(
                "doctor foretold the cut {:?}, open made {:?}",
                foretold.cut, recovery.cut
            )
        })?;
    }
    let found = contents(&store)?;
    let writes = number_of_writes(&found, least)?;
    state.advance_to(writes);
    same(&found, state.contents(), writes)?;
    let verified = round.is_multiple_of(VERIFY_EVERY);
    if verified {
        let report = store.verify(&mut |_| {})?;
        violated_if(!report.is_clean(), || {
            format!("verify finds damage after a kill: {:?}", report.damage)
        })?;
        store.close()?;
        let again = contents(&Store::open(dir, options)?)?;
        violated_if(again != found, || {
            "the second open differs from the first".to_owned()
        })?;
    }
    Ok(Found {
        recovery,
        writes,
        verified,
    })
}

fn violated_if(violated: bool, what: impl FnOnce() -> String) -> Result<(), Finding> {
    match violated {
        true => Err(Finding::Violation(what())),
        false => Ok(()),
    }
}

/// How many writes are in the store.
fn number_of_writes(found: &Contents, least: u64) -> Result<u64, Finding> {
    let trace = found.get(&(0, NUMBER_KEY.to_vec()));
    let number = match trace.map(|value| <[u8; 8]>::try_from(value.as_slice())) {
        None => 0,
        Some(Ok(bytes)) => u64::from_le_bytes(bytes),
        Some(Err(_)) => {
            return Err(Finding::Violation(
                "the number of the last write is not one".to_owned(),
            ));
        }
    };
    violated_if(number < least, || {
        format!("write {least} was acknowledged, and {number} is the last one there")
    })?;
    violated_if(number > changes::most(least), || {
        format!(
            "write {number} is there, which nobody can have made: {least} was acknowledged last"
        )
    })?;
    Ok(number)
}

/// Everything in both keyspaces; in one that was never made is nothing.
fn contents(store: &Store) -> Result<Contents, peercask::Error> {
    let mut contents = Contents::new();
    for (space, name) in SPACES.iter().enumerate() {
        let Ok(keyspace) = store.existing_keyspace(name) else {
            continue;
        };
        let entries: Box<dyn Iterator<Item = peercask::Result<peercask::Entry>>> =
            match keyspace.kind() {
                IndexKind::Hash => Box::new(keyspace.walk()),
                IndexKind::Ordered => Box::new(keyspace.iter()?),
            };
        for entry in entries {
            let entry = entry?;
            contents.insert((space, entry.key.to_vec()), entry.value.to_vec());
        }
    }
    Ok(contents)
}

fn same(found: &Contents, expected: &Contents, writes: u64) -> Result<(), Finding> {
    if found == expected {
        return Ok(());
    }
    let keys = found.keys().chain(expected.keys());
    let mut differ = keys.filter(|key| found.get(key) != expected.get(key));
    let first = differ.next().map_or_else(String::new, |(space, key)| {
        let name = SPACES.get(*space).copied().unwrap_or_default();
        format!("{} of {name}", key.escape_ascii())
    });
    Err(Finding::Violation(format!(
        "what is there is not the state after write {writes}: {first} differs, and perhaps more"
    )))
}
