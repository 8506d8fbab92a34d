//! Slots: numbered places for what is known of each record, in chunks that never move. The number
//! of a slot is the record's key in the engine, so no key needs to be held in memory.

/// Slots a chunk.
const CHUNK_LEN: usize = 1_024;

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Free,
    Live,
    /// Its record is gone from the index, but a write of it is still under way.
    Leaving,
    /// It holds bytes that nobody can read; they are kept for inspection.
    Quarantined,
}

/// What is known of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The first eight bytes of the SHA-256 of its key: its place in the keyspace.
    pub(crate) prefix: u64,
    /// Tells records of one key apart: from the provider, or from more of the hash.
    pub(crate) tag: u64,
    /// Unix seconds, rounded up; 0 for never.
    pub(crate) deadline_s: u32,
    /// Place among the providers of its key.
    pub(crate) ordinal: u32,
}

struct Chunk {
    prefix: [u64; CHUNK_LEN],
    tag: [u64; CHUNK_LEN],
    deadline_s: [u32; CHUNK_LEN],
    ordinal: [u32; CHUNK_LEN],
    state: [SlotState; CHUNK_LEN],
}

impl Chunk {
    fn empty() -> Box<Chunk> {
        Box::new(Chunk {
            prefix: [0; CHUNK_LEN],
            tag: [0; CHUNK_LEN],
            deadline_s: [0; CHUNK_LEN],
            ordinal: [0; CHUNK_LEN],
            state: [SlotState::Free; CHUNK_LEN],
        })
    }
}

/// All slots of a table.
pub(crate) struct Slab {
    chunks: Vec<Box<Chunk>>,
    /// Slots below it have been used.
    high: u32,
    /// The first free slot below `high`; each names the next in `deadline_s`. `u32::MAX` ends.
    free: u32,
}

const NONE: u32 = u32::MAX;

impl Slab {
    pub(crate) fn new() -> Slab {
        Slab {
            chunks: Vec::new(),
            high: 0,
            free: NONE,
        }
    }

    /// A slot for `entry`. `None` if all four billion are taken.
    pub(crate) fn take(&mut self, entry: Entry) -> Option<u32> {
        let slot = if self.free == NONE {
            let slot = self.high;
            self.high = slot.checked_add(1).filter(|high| *high != NONE)?;
            self.reach(slot);
            slot
        } else {
            let slot = self.free;
            let (chunk, at) = self.place(slot);
            self.free = self.chunks[chunk].deadline_s[at];
            slot
        };
        self.set(slot, entry, SlotState::Live);
        Some(slot)
    }

    /// Takes a certain slot, as it was found on disk. `fill_gaps` has to follow.
    pub(crate) fn claim(&mut self, slot: u32, entry: Entry, state: SlotState) {
        self.high = self.high.max(slot.saturating_add(1));
        self.reach(slot);
        self.set(slot, entry, state);
    }

    /// Puts all slots that nobody claimed on the list of free ones.
    pub(crate) fn fill_gaps(&mut self) {
        self.free = NONE;
        for slot in (0..self.high).rev() {
            if self.state(slot) == SlotState::Free {
                self.release(slot);
            }
        }
    }

    /// Gives a slot back.
    pub(crate) fn release(&mut self, slot: u32) {
        let (chunk, at) = self.place(slot);
        let chunk = &mut self.chunks[chunk];
        chunk.state[at] = SlotState::Free;
        chunk.deadline_s[at] = self.free;
        self.free = slot;
    }

    pub(crate) fn state(&self, slot: u32) -> SlotState {
        let (chunk, at) = self.place(slot);
        self.chunks
            .get(chunk)
            .map_or(SlotState::Free, |chunk| chunk.state[at])
    }

    pub(crate) fn set_state(&mut self, slot: u32, state: SlotState) {
        let (chunk, at) = self.place(slot);
        self.chunks[chunk].state[at] = state;
    }

    pub(crate) fn entry(&self, slot: u32) -> Entry {
        let (chunk, at) = self.place(slot);
        let chunk = &self.chunks[chunk];
        Entry {
            prefix: chunk.prefix[at],
            tag: chunk.tag[at],
            deadline_s: chunk.deadline_s[at],
            ordinal: chunk.ordinal[at],
        }
    }

    pub(crate) fn set_deadline(&mut self, slot: u32, deadline_s: u32) {
        let (chunk, at) = self.place(slot);
        self.chunks[chunk].deadline_s[at] = deadline_s;
    }

    /// Slots below it have been used.
    pub(crate) fn high(&self) -> u32 {
        self.high
    }

    fn set(&mut self, slot: u32, entry: Entry, state: SlotState) {
        let (chunk, at) = self.place(slot);
        let chunk = &mut self.chunks[chunk];
        chunk.prefix[at] = entry.prefix;
        chunk.tag[at] = entry.tag;
        chunk.deadline_s[at] = entry.deadline_s;
        chunk.ordinal[at] = entry.ordinal;
        chunk.state[at] = state;
    }

    fn reach(&mut self, slot: u32) {
        let (chunk, _) = self.place(slot);
        while self.chunks.len() <= chunk {
            self.chunks.push(Chunk::empty());
        }
    }

    fn place(&self, slot: u32) -> (usize, usize) {
        let slot = slot as usize;
        (slot / CHUNK_LEN, slot % CHUNK_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: u64) -> Entry {
        Entry {
            prefix,
            tag: 0,
            deadline_s: 0,
            ordinal: 0,
        }
    }

    #[test]
    fn a_released_slot_is_taken_again_before_a_new_one() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..2_000).filter_map(|i| slab.take(entry(i))).collect();
        assert_eq!(slots.len(), 2_000);
        slab.release(7);
        slab.release(1_500);
        assert_eq!(slab.take(entry(9)), Some(1_500));
        assert_eq!(slab.take(entry(9)), Some(7));
        assert_eq!(slab.take(entry(9)), Some(2_000));
        assert_eq!(slab.entry(7).prefix, 9);
    }

    #[test]
    fn gaps_between_claimed_slots_are_free_and_quarantined_ones_are_not() {
        let mut slab = Slab::new();
        slab.claim(3, entry(3), SlotState::Live);
        slab.claim(1, entry(1), SlotState::Quarantined);
        slab.fill_gaps();
        let taken: Vec<u32> = (0..3).filter_map(|i| slab.take(entry(i))).collect();
        assert_eq!(taken, [0, 2, 4]);
    }
}
