//! `records()` and `provided()`: a bounded window of slots, in the order of the keyspace, and an
//! iterator that reads them one by one. A store larger than a window goes on where the last call
//! ended, over restarts too. What is close to its deadline is left out.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use libp2p_kad::{ProviderRecord, Record};
use peercask::{Durability, Write};

use crate::shared::{Shared, State, Which};
use crate::time::{Anchor, seconds};

/// Index entries looked at for each record of a window: those near their deadline are passed over.
const LOOKED_PER_RECORD_MAX: usize = 8;

/// Which of the two iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    Records = 0,
    Provided = 1,
}

impl Walked {
    fn tables(self) -> &'static [Which] {
        match self {
            Walked::Records => &[Which::Values, Which::OwnValues],
            Walked::Provided => &[Which::OwnProvides],
        }
    }

    /// The key of its cursor among the store's notes.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Walked::Records => "cursor.records",
            Walked::Provided => "cursor.provided",
        }
    }
}

/// Slots to read, and the anchor to read them with.
pub(crate) struct Window {
    shared: Arc<Shared>,
    slots: std::vec::IntoIter<(Which, u32)>,
    anchor: Anchor,
}

/// Value records of a window; holds nothing of the store but a handle.
pub struct RecordsIter<'a> {
    window: Window,
    /// The trait ties its items to the store; nothing in here is.
    store: PhantomData<&'a ()>,
}

/// Own provider records of a window; holds nothing of the store but a handle.
pub struct ProvidedIter<'a> {
    window: Window,
    /// The trait ties its items to the store; nothing in here is.
    store: PhantomData<&'a ()>,
}

impl RecordsIter<'_> {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        RecordsIter {
            window: Window::next(shared, Walked::Records),
            store: PhantomData,
        }
    }
}

impl ProvidedIter<'_> {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        ProvidedIter {
            window: Window::next(shared, Walked::Provided),
            store: PhantomData,
        }
    }
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = Cow<'a, Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let Window {
            shared,
            slots,
            anchor,
        } = &mut self.window;
        slots
            .find_map(|held| shared.read_any_value(held, anchor))
            .map(Cow::Owned)
    }
}

impl<'a> Iterator for ProvidedIter<'a> {
    type Item = Cow<'a, ProviderRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let Window {
            shared,
            slots,
            anchor,
        } = &mut self.window;
        slots
            .find_map(|(_, slot)| shared.read_own_provide(slot, anchor))
            .map(Cow::Owned)
    }
}

impl Window {
    fn next(shared: &Arc<Shared>, walked: Walked) -> Window {
        let mut window = Window {
            shared: shared.clone(),
            slots: Vec::new().into_iter(),
            anchor: shared.lock().anchor,
        };
        if shared.is_closed() {
            return window;
        }
        let soon_s = shared
            .now()
            .second
            .saturating_add(seconds(shared.options.near_expiry));
        let Some(mut state) = shared.lock_to_change() else {
            return window;
        };
        window.anchor = state.anchor;
        let max = shared.options.window_records;
        let at = walked as usize;
        let total: u64 = walked
            .tables()
            .iter()
            .map(|which| state.table(*which).len())
            .sum();
        let whole = total <= max as u64;
        let from = if whole { 0 } else { state.cursors[at] };
        let (slots, next) = gather(&state, walked, from, soon_s, max);
        window.slots = slots.into_iter();
        if state.cursors[at] != next {
            state.cursors[at] = next;
            drop(state);
            shared.save_cursor(walked, next);
        }
        window
    }
}

/// Up to `max` slots from a prefix on, keys kept whole, and the prefix to go on from.
fn gather(
    state: &State,
    walked: Walked,
    from: u64,
    soon_s: u32,
    max: usize,
) -> (Vec<(Which, u32)>, u64) {
    let mut sources: Vec<_> = walked
        .tables()
        .iter()
        .map(|which| (*which, state.table(*which).at_prefix(from).peekable()))
        .collect();
    let mut slots = Vec::new();
    let mut last = None;
    let mut looked = 0;
    loop {
        let heads = sources.iter_mut().enumerate();
        let first = heads
            .filter_map(|(at, (_, source))| source.peek().map(|(prefix, _)| (*prefix, at)))
            .min();
        let Some((prefix, at)) = first else {
            return (slots, 0);
        };
        let full = slots.len() >= max || looked >= max.saturating_mul(LOOKED_PER_RECORD_MAX);
        if full && last != Some(prefix) {
            return (slots, prefix);
        }
        last = Some(prefix);
        looked += 1;
        let (which, source) = &mut sources[at];
        if let Some((_, slot)) = source.next() {
            let deadline_s = state.table(*which).entry(slot).deadline_s;
            if deadline_s == 0 || deadline_s > soon_s {
                slots.push((*which, slot));
            }
        }
    }
}

impl Shared {
    fn save_cursor(&self, walked: Walked, next: u64) {
        let write = Write::new().never_expires().durability(Durability::Kernel);
        let saved = self
            .meta
            .put_with(walked.note(), next.to_le_bytes(), write)
            .and_then(peercask::Commit::wait);
        if let Err(error) = saved {
            // A restart then goes on from an older place: some records are yielded twice.
            self.counters.note_error(&error, self.store.now_ms());
        }
    }
}
