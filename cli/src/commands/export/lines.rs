//! JSON lines as the target of an export.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use peercask::{Result as StoreResult, Store};

use super::Exported;
use crate::commands::opening;
use crate::commands::readable::Readable;
use crate::exit::Failure;
use crate::interrupt;
use crate::json::{BytesOut, RecordOut};
use crate::output::{self, Output};
use crate::progress::{Count, Progress};

pub(super) fn export_to_output(
    store: &Store,
    only: Option<&str>,
    output: &mut Output,
) -> Result<Exported, Failure> {
    export(store, only, &mut |record| output.object(record))
}

pub(super) fn export_to_file(
    store: &Store,
    only: Option<&str>,
    path: &Path,
    force: bool,
) -> Result<Exported, Failure> {
    let file = create(path, force)?;
    let failed = |error: io::Error| Failure::io(format_args!("write {}", path.display()), &error);
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let exported = export(store, only, &mut |record| {
        output::write_json_line(&mut out, record).map_err(failed)
    })?;
    out.flush().map_err(failed)?;
    Ok(exported)
}

pub(crate) fn create(path: &Path, force: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} exists; --force overwrites it", path.display()))
        }
        _ => Failure::io(format_args!("create {}", path.display()), &error),
    })
}

fn export(
    store: &Store,
    only: Option<&str>,
    write: &mut dyn FnMut(&RecordOut<'_>) -> Result<(), Failure>,
) -> Result<Exported, Failure> {
    let names = match only {
        Some(name) => vec![name.to_owned()],
        None => store
            .keyspaces()
            .into_iter()
            .map(|info| info.name)
            .collect(),
    };
    let keyspaces = names
        .iter()
        .map(|name| opening::existing_keyspace(store, name))
        .collect::<Result<Vec<_>, Failure>>()?;
    let keys = keyspaces
        .iter()
        .map(|keyspace| Ok(keyspace.info()?.keys))
        .sum::<StoreResult<u64>>()?;
    let mut progress = Progress::new("exporting", Count::Things, keys);
    let mut exported = Exported::default();
    for keyspace in &keyspaces {
        if exported.interrupted {
            break;
        }
        let mut entries = Readable::whole(keyspace)?;
        while let Some(entry) = entries.next()? {
            write(&RecordOut {
                keyspace: keyspace.name(),
                key: BytesOut(&entry.key),
                value: BytesOut(&entry.value),
                expires_at_ms: entry.expires_at_ms,
            })?;
            exported.count(&entry);
            progress.add(1);
            if interrupt::requested() {
                exported.interrupted = true;
                break;
            }
        }
        exported.damaged += entries.damaged();
    }
    Ok(exported)
}
