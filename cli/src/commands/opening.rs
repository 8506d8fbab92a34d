//! How commands open stores and keyspaces: reading ones write nothing, and whatever open found wrong
//! is said on standard error.
//!
//! It must never know what a command does with the store.

use std::sync::{Mutex, PoisonError};

use peercask::{ErrorKind, IndexKind, Keyspace, KeyspaceOptions, Missing, Options, Store};

use crate::args::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::human;
use crate::output;
use crate::progress::{Count, Progress};
use crate::reports;

/// Opens an existing store for reading alone, beside whoever writes to it: no lock, no repair, and a
/// checkpoint stays one. To believe the clock is a write.
pub(super) fn read(args: &StoreArgs) -> Result<Store, Failure> {
    if args.confirm_clock {
        return visit(args);
    }
    let options = with_missing_and_progress(args, Options::default());
    let store = opened(args, Store::open_read_only(&args.dir, options))?;
    tell_what_open_found(&store);
    Ok(store)
}

/// Opens an existing store for a short visit: nothing runs in the background.
pub(super) fn visit(args: &StoreArgs) -> Result<Store, Failure> {
    open(args, Options::default().create(false).background(false))
}

/// Opens a store for a short write, or creates it.
pub(super) fn visit_or_create(args: &StoreArgs) -> Result<Store, Failure> {
    open(args, Options::default().background(false))
}

/// Opens a store for long writing, or creates it; merge keeps up in the background.
pub(super) fn work_or_create(args: &StoreArgs) -> Result<Store, Failure> {
    open(args, Options::default())
}

/// The keyspace, which a reading command does not create.
pub(super) fn existing_keyspace(store: &Store, name: &str) -> Result<Keyspace, Failure> {
    store
        .existing_keyspace(name)
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let (name, dir) = (human::printable(name.as_bytes()), store.dir().display());
                let message =
                    format!("no keyspace `{name}`; `peercask keyspaces {dir}` lists them");
                Failure::new(Exit::NotFoundOrWrong, message)
            }
            _ => error.into(),
        })
}

/// The keyspace, which a writing command creates if it is missing. An index kind that was asked for
/// must be the keyspace's.
pub(super) fn keyspace_or_create(
    store: &Store,
    name: &str,
    index: Option<IndexKind>,
) -> Result<Keyspace, Failure> {
    match store.existing_keyspace(name) {
        Ok(keyspace) => match index {
            Some(index) if index != keyspace.kind() => Err(Failure::usage(format!(
                "keyspace `{name}` has the index `{}`, not `{index}`; leave --index out, or use another keyspace",
                keyspace.kind()
            ))),
            _ => Ok(keyspace),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let options = match index.unwrap_or(IndexKind::Ordered) {
                IndexKind::Hash => KeyspaceOptions::hash(),
                IndexKind::Ordered => KeyspaceOptions::ordered(),
            };
            Ok(store.keyspace(name, options)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn with_missing_and_progress(args: &StoreArgs, options: Options) -> Options {
    let missing = match args.accept_missing_segments {
        true => Missing::Accept,
        false => Missing::Refuse,
    };
    let bar = Mutex::new(Progress::new("opening", Count::Bytes, 0));
    options
        .missing_segments(missing)
        .open_progress(move |progress| {
            bar.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .follow(&progress);
        })
}

fn opened(args: &StoreArgs, store: peercask::Result<Store>) -> Result<Store, Failure> {
    store.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let dir = args.dir.display();
            let message =
                format!("no store in {dir}; `peercask put` and `peercask import` make one");
            Failure::new(Exit::NotFoundOrWrong, message)
        }
        _ => error.into(),
    })
}

fn open(args: &StoreArgs, options: Options) -> Result<Store, Failure> {
    let options = with_missing_and_progress(args, options);
    let store = opened(args, Store::open(&args.dir, options))?;
    if args.confirm_clock {
        store.confirm_clock()?;
    }
    tell_what_open_found(&store);
    Ok(store)
}

fn tell_what_open_found(store: &Store) {
    let recovery = store.recovery();
    // Who only reads cuts nothing, and a living writer's last record may be half written.
    let cuts = recovery.cut.iter().filter(|_| !store.is_read_only());
    for cut in cuts {
        output::note(reports::cut_line(cut));
    }
    for damage in &recovery.damage {
        output::note(format_args!("damaged: {damage}"));
    }
    if recovery.manifest_rebuilt {
        output::note("the manifest was unreadable and has been rebuilt from the segments");
    }
    if let Some(warning) = store.clock_warning() {
        output::note(format_args!(
            "the system clock says {} ms, the store believes {} ms; expiry goes by the store's time \
             until --confirm-clock is given",
            warning.wall_ms, warning.believed_ms
        ));
    }
}
