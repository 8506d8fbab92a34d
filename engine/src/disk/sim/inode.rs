//! One simulated file: what readers see, what the medium has, and which versions in between a
//! power cut may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::Content;
use super::dice::Dice;

/// One file, whatever its names.
#[derive(Clone, Default)]
pub(crate) struct Inode {
    /// As every reader sees it: the page cache.
    pub(super) now: Content,
    /// As of the last sync.
    pub(super) medium: Content,
    /// What sectors were since the last sync, in order.
    pub(super) versions: BTreeMap<usize, Vec<Arc<[u8]>>>,
    /// Sizes that the file had since the last sync, in order.
    pub(super) sizes: Vec<usize>,
    /// Up to here space was reserved: what was never written there is zero, not stale.
    pub(super) reserved: usize,
    /// A sync failed: clean pages may differ from the medium.
    doubtful: bool,
    /// Sectors that cannot be read.
    pub(super) bad: BTreeSet<usize>,
}

impl Inode {
    /// A file that is on the medium as it is.
    pub(super) fn durable(content: Content) -> Inode {
        Inode {
            medium: content.clone(),
            now: content,
            ..Inode::default()
        }
    }

    /// Nothing of it waits for a sync.
    pub(super) fn is_clean(&self) -> bool {
        self.versions.is_empty() && self.sizes.is_empty()
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8], sector_len: usize) {
        let before = self.now.len();
        self.now.write(at, bytes);
        self.note(at, at + bytes.len(), sector_len);
        self.note_size(before);
    }

    pub(super) fn resize(&mut self, len: usize, sector_len: usize) {
        let before = self.now.len();
        self.now.resize(len);
        // What lay behind a cut is gone although the size may come back.
        let touched = before.max(len).min(before + sector_len);
        self.note(before.min(len), touched, sector_len);
        self.note_size(before);
    }

    /// Whether a read from `from` to `to` touches a sector that cannot be read.
    pub(super) fn is_bad(&self, from: usize, to: usize, sector_len: usize) -> bool {
        let touched = from / sector_len..to.div_ceil(sector_len);
        !self.bad.is_empty() && self.bad.range(touched).next().is_some()
    }

    fn note(&mut self, from: usize, to: usize, sector_len: usize) {
        for sector in from / sector_len..to.div_ceil(sector_len) {
            let start = sector * sector_len;
            let version = self.now.range(start, start + sector_len);
            self.bad.remove(&sector);
            let versions = self.versions.entry(sector).or_default();
            if versions.last().is_none_or(|last| **last != *version) {
                versions.push(version.into());
            }
        }
    }

    fn note_size(&mut self, before: usize) {
        if self.now.len() != before {
            self.sizes.push(self.now.len());
        }
    }

    pub(super) fn sync(&mut self, sector_len: usize) {
        if self.doubtful {
            // Only what is dirty is written: what an earlier sync lost stays lost.
            if !self.sizes.is_empty() {
                self.medium.resize(self.now.len());
            }
            for (sector, versions) in &self.versions {
                if let Some(version) = versions.last() {
                    put_sector(&mut self.medium, sector * sector_len, version);
                }
            }
        } else {
            self.medium = self.now.clone();
        }
        self.versions.clear();
        self.sizes.clear();
    }

    /// A sync that fails as Linux fails it: by the dice some sectors reached the medium; all
    /// pages are clean afterwards, and what did not reach it is lost at the next power cut although
    /// every reader still sees it.
    pub(super) fn fail_sync(&mut self, dice: &mut Dice, sector_len: usize) {
        self.doubtful |= !self.is_clean();
        if !self.sizes.is_empty() && dice.below(2) == 0 {
            self.medium.resize(self.now.len());
        }
        for (sector, versions) in std::mem::take(&mut self.versions) {
            if let Some(version) = versions.last().filter(|_| dice.below(2) == 0) {
                put_sector(&mut self.medium, sector * sector_len, version);
            }
        }
        self.sizes.clear();
    }

    /// Clean pages are forgotten: what is read next comes from the medium.
    pub(super) fn drop_cache(&mut self) {
        if self.is_clean() {
            self.now = self.medium.clone();
        }
    }
}

/// Writes as much of `bytes` as lies within the file.
pub(super) fn put_sector(content: &mut Content, start: usize, bytes: &[u8]) {
    let len = bytes.len().min(content.len().saturating_sub(start));
    // Writing nothing behind the end would make the file longer.
    if let Some(bytes) = bytes.get(..len).filter(|bytes| !bytes.is_empty()) {
        content.write(start, bytes);
    }
}
