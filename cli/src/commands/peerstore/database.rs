//! Upstream's database files, where this command was built with the feature `sqlite`; elsewhere an
//! error that says so.

use crate::exit::Failure;

#[cfg(feature = "sqlite")]
pub(super) use with_sqlite::{Writer, import};
#[cfg(not(feature = "sqlite"))]
pub(super) use without_sqlite::{Writer, import};

/// Whether this command can read and write them.
pub(super) fn check() -> Result<(), Failure> {
    if cfg!(feature = "sqlite") {
        return Ok(());
    }
    Err(Failure::usage(
        "this peercask was built without SQLite; build it with `cargo install --path cli \
         --features sqlite` to read and write databases of upstream's peerstore",
    ))
}

#[cfg(feature = "sqlite")]
mod with_sqlite {
    use std::path::Path;

    use peercask_peerstore::gnunet::Record;
    use peercask_peerstore::gnunet::sqlite::{Reader, Schema, Writer as Database};

    use super::super::exchange::Importer;
    use super::super::target::failure;
    use crate::exit::Failure;
    use crate::interrupt;
    use crate::progress::{Count, Progress};

    pub(in super::super) fn import(
        path: &Path,
        importer: &mut Importer<'_>,
    ) -> Result<(), Failure> {
        let reader = Reader::open(path).map_err(failure)?;
        let rows = reader.rows().map_err(failure)?;
        let mut progress = Progress::new("importing rows", Count::Things, rows);
        let mut outcome = Ok(());
        let mut each = |row: i64, record: Result<Record, String>| {
            progress.add(1);
            let place = format!("{}, row {row}", path.display());
            outcome = match record {
                Ok(record) => importer.put(record, place),
                Err(why) => importer.bad(&place, &why),
            };
            outcome.is_ok() && !interrupt::requested()
        };
        reader.each(&mut each).map_err(failure)?;
        outcome
    }

    pub(in super::super) struct Writer(Database);

    impl Writer {
        pub(in super::super) fn create(path: &Path, numbered: bool) -> Result<Writer, Failure> {
            let schema = match numbered {
                true => Schema::Numbered,
                false => Schema::Plain,
            };
            Database::create(path, schema).map(Writer).map_err(failure)
        }

        pub(in super::super) fn add(&mut self, record: &Record) -> Result<(), Failure> {
            self.0.add(record).map_err(failure)
        }

        pub(in super::super) fn finish(self) -> Result<(), Failure> {
            self.0.finish().map_err(failure)
        }
    }
}

#[cfg(not(feature = "sqlite"))]
mod without_sqlite {
    use std::path::Path;

    use peercask_peerstore::gnunet::Record;

    use super::super::exchange::Importer;
    use super::check;
    use crate::exit::Failure;

    pub(in super::super) fn import(_: &Path, _: &mut Importer<'_>) -> Result<(), Failure> {
        check()
    }

    /// There is none: `create` fails.
    pub(in super::super) enum Writer {}

    impl Writer {
        pub(in super::super) fn create(_: &Path, _: bool) -> Result<Writer, Failure> {
            check().and(Err(Failure::usage("there is no SQLite in this peercask")))
        }

        pub(in super::super) fn add(&mut self, _: &Record) -> Result<(), Failure> {
            match *self {}
        }

        pub(in super::super) fn finish(self) -> Result<(), Failure> {
            match self {}
        }
    }
}
