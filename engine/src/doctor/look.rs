//! The directory as it is before anything is opened, and opened without changing it.

use std::path::Path;
use std::sync::Arc;

use super::examination::{ManifestState, ManifestWorth};
use crate::disk::Disk;
use crate::disk::dry::DryDisk;
use crate::disk::os::OsDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Missing, Options};
use crate::recovery::{self, Recovered};
use crate::segment::catalog;
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, FileName, ManifestCopy};

/// The directory as it is before anything is opened.
pub(super) struct Look<'a> {
    pub(super) dir: &'a Path,
    pub(super) in_use: bool,
    pub(super) listed: Vec<String>,
    pub(super) manifest: Option<Manifest>,
    pub(super) manifests: Vec<ManifestState>,
}

impl Look<'_> {
    pub(super) fn at<'a>(dir: &'a Path, shown: &str) -> Result<Look<'a>> {
        let disk = OsDisk::new(dir);
        let in_use = disk
            .is_locked(names::LOCK)
            .map_err(|e| Error::io("look at the lock", names::LOCK, e))?;
        let listed = disk.list();
        let listed = listed.map_err(|e| Error::io("list the directory", shown, e))?;
        let is_store = |name: &String| {
            matches!(
                names::parse(name),
                FileName::Manifest(_) | FileName::Segment(_)
            )
        };
        if !listed.iter().any(is_store) {
            return Err(no_store(shown));
        }
        let (manifest, manifests) = manifests(&disk, &listed)?;
        Ok(Look {
            dir,
            in_use,
            listed,
            manifest,
            manifests,
        })
    }

    pub(super) fn same_files(&self, other: &Look<'_>) -> bool {
        self.listed == other.listed && self.manifests == other.manifests
    }

    /// The log as open would make it, all changes in memory.
    pub(super) fn open(&self, missing: Missing) -> Result<Recovered> {
        let real = OsDisk::new(self.dir);
        let disk: Arc<dyn Disk> = Arc::new(DryDisk::new(real, !self.in_use));
        let options = Options::default()
            .background(false)
            .reserve_bytes(0)
            .missing_segments(missing);
        recovery::open(&disk, &options)
    }
}

/// The better manifest, and what each copy is worth.
fn manifests(disk: &OsDisk, listed: &[String]) -> Result<(Option<Manifest>, Vec<ManifestState>)> {
    let mut best: Option<Manifest> = None;
    let mut states = Vec::new();
    for copy in [ManifestCopy::A, ManifestCopy::B] {
        let file = names::manifest(copy);
        let mut state = ManifestWorth::Missing;
        if listed.iter().any(|name| name == file) {
            let mut found = catalog::read(disk, &[file.to_owned()])?;
            if let Some(manifest) = found.manifest {
                state = ManifestWorth::Valid(manifest.generation);
                if best
                    .as_ref()
                    .is_none_or(|best| manifest.generation > best.generation)
                {
                    best = Some(manifest);
                }
            } else if let Some((_, fault)) = found.damaged.pop() {
                state = ManifestWorth::Damaged(fault.to_string());
            }
        }
        states.push(ManifestState { file, state });
    }
    Ok((best, states))
}

pub(super) fn no_store(shown: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no store in {shown}: neither a manifest nor a segment"),
    )
}
