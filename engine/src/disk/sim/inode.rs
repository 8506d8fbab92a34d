//! One simulated file: what readers see, what the medium has, and which of the versions in between
//! a power cut may leave. And the dice that decide it.

use std::collections::BTreeMap;

/// What the medium writes at once.
pub(super) const SECTOR_LEN: usize = 512;

/// A small deterministic source of choices.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from((self.next() >> 16) % n as u64).unwrap_or(0)
    }
}

/// One file, whatever its names.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// As every reader sees it.
    pub(super) now: Vec<u8>,
    /// As of the last sync.
    pub(super) durable: Vec<u8>,
    /// What sectors were since the last sync, in order.
    pub(super) versions: BTreeMap<usize, Vec<Vec<u8>>>,
    pub(super) sizes: Vec<usize>,
}

impl Inode {
    pub(super) fn note(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_LEN..to.div_ceil(SECTOR_LEN) {
            let start = sector * SECTOR_LEN;
            let end = (start + SECTOR_LEN).min(self.now.len());
            let version = self.now.get(start..end).unwrap_or_default().to_vec();
            self.versions.entry(sector).or_default().push(version);
        }
        if self.sizes.last() != Some(&self.now.len()) {
            self.sizes.push(self.now.len());
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.now.clone();
        self.versions.clear();
        self.sizes.clear();
    }

    /// One of the states that a power cut may leave.
    pub(super) fn after_cut(&self, dice: &mut Dice, loss: Loss) -> Inode {
        let mut bytes = self.durable.clone();
        let size = match loss {
            Loss::Everything => bytes.len(),
            Loss::Nothing => self.now.len(),
            Loss::Some => {
                let at = dice.below(self.sizes.len() + 1);
                at.checked_sub(1)
                    .and_then(|at| self.sizes.get(at))
                    .copied()
                    .unwrap_or(bytes.len())
            }
        };
        bytes.resize(size.max(bytes.len()), 0);
        for (sector, versions) in &self.versions {
            let kept = match loss {
                Loss::Everything => None,
                Loss::Nothing => versions.last(),
                Loss::Some => match dice.below(versions.len() + 1) {
                    0 => None,
                    n => versions.get(n - 1),
                },
            };
            let start = sector * SECTOR_LEN;
            if let Some(kept) = kept
                && let Some(place) = bytes.get_mut(start..)
            {
                let len = kept.len().min(place.len());
                if let (Some(to), Some(from)) = (place.get_mut(..len), kept.get(..len)) {
                    to.copy_from_slice(from);
                }
            }
        }
        bytes.truncate(size);
        Inode {
            now: bytes.clone(),
            durable: bytes,
            ..Inode::default()
        }
    }
}

/// How much a power cut takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// All that was not synced.
    Everything,
    /// Nothing: the process was killed, the system goes on.
    Nothing,
    /// Any subset, by the dice.
    Some,
}
