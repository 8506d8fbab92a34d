//! How many records each foreign provider has here, for the quota per provider.

use std::collections::BTreeMap;

/// Counts by the provider's tag. It grows node by node.
#[derive(Default)]
pub(crate) struct PeerCounts {
    counts: BTreeMap<u64, u32>,
}

impl PeerCounts {
    /// From all tags, in any order.
    pub(crate) fn build(mut tags: Vec<u64>) -> PeerCounts {
        tags.sort_unstable();
        let counts = tags
            .chunk_by(|a, b| a == b)
            .map(|run| (run[0], u32::try_from(run.len()).unwrap_or(u32::MAX)))
            .collect();
        PeerCounts { counts }
    }

    pub(crate) fn of(&self, tag: u64) -> u32 {
        self.counts.get(&tag).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, tag: u64) {
        let count = self.counts.entry(tag).or_insert(0);
        *count = count.saturating_add(1);
    }

    pub(crate) fn remove(&mut self, tag: u64) {
        if let Some(count) = self.counts.get_mut(&tag) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&tag);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }
}
