//! What a store's files prove, without changing them: what is durable, what open would cut off and
//! why, what is damaged and which keys that costs, and whether it is a fact that nothing
//! acknowledged was lost. It runs the engine's own recovery on a disk that keeps every change in
//! memory, so what it tells is what open does, and takes no lock.
//!
//! ```
//! use peercask::doctor::{self, Verdict};
//! use peercask::{KeyspaceOptions, Options, Store};
//!
//! # fn main() -> peercask::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let dir = dir.path();
//! let store = Store::open(dir, Options::default())?;
//! store.keyspace("k", KeyspaceOptions::hash())?.put("key", "value")?;
//! store.close()?;
//!
//! let found = doctor::examine(dir, &mut |_| {})?;
//! assert_eq!(found.verdict, Verdict::Proven);
//! assert!(found.clean && found.damage.is_empty());
//! # Ok(())
//! # }
//! ```

mod examination;
mod look;
mod lost;
mod segments;
mod verdict;

use std::path::Path;

use crate::disk::os::{OsDisk, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Missing;
use crate::report::{Damage, Progress};
use crate::segment::names::{self, FileName};
use crate::verify;
pub use examination::{
    Examination, HintState, LOST_KEYS_MAX, LostKey, ManifestState, ManifestWorth, SegmentState,
    Standing, Verdict,
};
use look::{Look, no_store};

/// Looks beside a living writer are repeated this often when the files changed meanwhile.
const LOOKS_MAX: u32 = 5;

/// Examines the store in `dir`; `progress` is told how many bytes were checked. Nothing is written
/// and no lock is kept: to tell whether a process has the store open it asks for a shared lock and
/// gives it back at once.
///
/// # Errors
/// `NotFound` if there is no store, `InvalidArgument` if `dir` is no directory, `UnsupportedFormat`
/// for files of a newer version, `Io` if a file cannot be read. Damage is not an error.
pub fn examine(dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Examination> {
    let shown = dir.display().to_string();
    match OsDisk::look(dir).map_err(|e| Error::io("look at", &shown, e))? {
        Place::Directory => {}
        Place::Missing => return Err(no_store(&shown)),
        Place::NotADirectory => {
            return Err(Error::invalid(format!("{shown} is not a directory")));
        }
    }
    let mut looks = 1;
    loop {
        let look = Look::at(dir, &shown)?;
        let found = look_closely(&look, progress);
        // A living writer may have merged, rotated or sealed between two reads of ours.
        if !look.in_use || looks == LOOKS_MAX || Look::at(dir, &shown)?.same_files(&look) {
            return found;
        }
        looks += 1;
    }
}

fn look_closely(look: &Look<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Examination> {
    let (recovered, refused) = match look.open(Missing::Refuse) {
        Ok(recovered) => (recovered, None),
        Err(error) if error.kind() == ErrorKind::Corrupted => {
            (look.open(Missing::Accept)?, Some(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    let verified = {
        let (log, spaces) = (&recovered.log, &recovered.spaces);
        verify::verify(log, spaces, &log.segments_that_count(), progress)?
    };
    let report = &recovered.report;
    let damage = joined(&report.damage, verified.damage);
    let lost = lost::keys(&recovered, &damage)?;
    let disk = OsDisk::new(look.dir);
    let mut found = Examination {
        verdict: Verdict::Proven,
        reasons: Vec::new(),
        in_use: look.in_use,
        clean: false,
        refused,
        store_id: recovered.log.store_id,
        synced_seq: report.synced_seq,
        last_seq: report.last_seq,
        records: report.records,
        keys: recovered
            .spaces
            .all()
            .iter()
            .map(|space| space.keydir.len())
            .sum(),
        manifest_rebuilt: report.manifest_rebuilt,
        manifests: look.manifests.clone(),
        segments: segments::states(&disk, look, &recovered, &damage)?,
        cut: report.cut.clone(),
        damage,
        lost_keys: lost.named,
        lost_keys_total: lost.total,
        leftovers: report.removed_files.clone(),
        foreign_files: report.foreign_files.clone(),
    };
    found.clean = look.manifest.is_some()
        && found.refused.is_none()
        && found
            .segments
            .iter()
            .all(|segment| segment.standing == Standing::Sealed);
    (found.verdict, found.reasons) = verdict::of(&found, &lost.unknown);
    Ok(found)
}

/// What recovery and verify found, each place once. Of the same place verify knows more: the key.
/// What it says of manifests is of those that the recovery just wrote in memory.
fn joined(recovered: &[Damage], verified: Vec<Damage>) -> Vec<Damage> {
    let mut joined = recovered.to_vec();
    for damage in verified {
        if matches!(names::parse(&damage.file), FileName::Manifest(_)) {
            continue;
        }
        let same = |known: &&mut Damage| {
            known.file == damage.file && known.offset == damage.offset && known.len == damage.len
        };
        match joined.iter_mut().find(same) {
            Some(known) if damage.key.is_some() => *known = damage,
            Some(_) => {}
            None => joined.push(damage),
        }
    }
    joined
}
