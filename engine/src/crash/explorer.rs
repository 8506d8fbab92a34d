//! The explorer as its user sets it up: what is to be tried, how hard and how long.

use std::ops::ControlFlow;
use std::time::Duration;

use super::judge::Effort;
use super::report::Progress;
use crate::disk::sim::Failure;

/// More violations than these are not sought.
const VIOLATIONS_MAX: usize = 10;

pub(super) type Listener<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;

/// Explores what crashes leave of a program, or of workloads of its own.
///
/// At every call that changes the simulated disk it makes the crashes that are legal there: all of
/// them where they are few, by the dice of a seed where they are many. Each is opened and judged
/// by a check; the recovery is crashed too, and what that leaves is judged again.
///
/// ```
/// use peercask::crash::Explorer;
/// use peercask::{KeyspaceOptions, Options};
///
/// let report = Explorer::new().seed(7).states(300).explore(
///     |run| {
///         let store = run.open(Options::default())?;
///         let names = store.keyspace("names", KeyspaceOptions::hash())?;
///         for n in 0..3_u8 {
///             names.put([n], "here")?;
///             run.note(n);
///         }
///         Ok(())
///     },
///     |crashed| {
///         let store = crashed.open(Options::default())?;
///         for n in crashed.notes() {
///             let names = store.existing_keyspace("names")?;
///             if names.get([*n])?.is_none() {
///                 return Err(format!("{n} was acknowledged and is gone").into());
///             }
///         }
///         Ok(())
///     },
/// );
/// report.assert_survived(100);
/// ```
pub struct Explorer<'a> {
    pub(super) seed: u64,
    pub(super) states: u64,
    pub(super) time: Option<Duration>,
    pub(super) ops: usize,
    pub(super) effort: Effort,
    pub(super) faults: Vec<Failure>,
    pub(super) sector_len: usize,
    pub(super) coverage: bool,
    pub(super) violations_max: usize,
    pub(super) shrink: bool,
    pub(super) listener: Option<Listener<'a>>,
}

impl Default for Explorer<'_> {
    fn default() -> Self {
        Explorer::new()
    }
}

impl<'a> Explorer<'a> {
    /// Seed 1, at most 10,000 states, recoveries crashed to depth 2, no faults.
    #[must_use]
    pub fn new() -> Explorer<'a> {
        Explorer {
            seed: 1,
            states: 10_000,
            time: None,
            ops: 24,
            effort: Effort {
                whole_up_to: 16,
                samples: 6,
                depth: 2,
                recovery_samples: Some(1),
                torn: true,
            },
            faults: Vec::new(),
            sector_len: 512,
            coverage: false,
            violations_max: VIOLATIONS_MAX,
            shrink: true,
            listener: None,
        }
    }

    /// What decides everything but the time. Default: 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The most states to judge. Default: 10,000.
    #[must_use]
    pub fn states(mut self, states: u64) -> Self {
        self.states = states;
        self
    }

    /// The longest time to take. Default: no limit.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// How many steps a random workload has. Default: 24.
    #[must_use]
    pub fn ops(mut self, ops: usize) -> Self {
        self.ops = ops;
        self
    }

    /// How often a recovery is crashed within a recovery. Default: 2; 0 crashes no recovery.
    #[must_use]
    pub fn depth(mut self, depth: u32) -> Self {
        self.effort.depth = depth;
        self
    }

    /// Points with at most that many legal power cuts are explored whole. Default: 16.
    #[must_use]
    pub fn whole_up_to(mut self, legal: u64) -> Self {
        self.effort.whole_up_to = legal;
        self
    }

    /// How many crashes are made at each other point, in one round. Default: 6.
    #[must_use]
    pub fn samples(mut self, crashes: u64) -> Self {
        self.effort.samples = crashes;
        self
    }

    /// How many calls of one recovery are crashed after; `None` is all of them. Default: 1.
    #[must_use]
    pub fn recovery_samples(mut self, calls: Option<u64>) -> Self {
        self.effort.recovery_samples = calls;
        self
    }

    /// Whether sectors may be written in part. Default: true.
    #[must_use]
    pub fn torn(mut self, torn: bool) -> Self {
        self.effort.torn = torn;
        self
    }

    /// What the medium writes whole, in bytes. Default: 512; 1 tears at every byte. A store counts on
    /// sectors of 512 bytes that are whole or torn at one place: with smaller ones the header of a segment
    /// just begun may be told as damage. They are for files of a program's own, and for single records.
    #[must_use]
    pub fn sector_len(mut self, bytes: usize) -> Self {
        self.sector_len = bytes.max(1);
        self
    }

    /// How calls may fail: each run but every third has one such fault, at a call by the dice,
    /// once or for good. Default: none.
    #[must_use]
    pub fn faults(mut self, faults: &[Failure]) -> Self {
        self.faults = faults.to_vec();
        self
    }

    /// Tries as well, for each line of the engine that syncs, what happens if it does not:
    /// [`SiteReport::without`](super::SiteReport::without). Takes up to that many states more for each
    /// such line. Default: no.
    #[must_use]
    pub fn sync_coverage(mut self, coverage: bool) -> Self {
        self.coverage = coverage;
        self
    }

    /// Whether to end at the first violation instead of seeking up to ten. Default: no.
    #[must_use]
    pub fn first_only(mut self, first_only: bool) -> Self {
        self.violations_max = if first_only { 1 } else { VIOLATIONS_MAX };
        self
    }

    /// Whether the first violation is made as small as can be, which takes a while. Default: yes.
    #[must_use]
    pub fn shrink(mut self, shrink: bool) -> Self {
        self.shrink = shrink;
        self
    }

    /// Called now and then with how far the exploration is; it ends early if told to.
    #[must_use]
    pub fn on_progress(mut self, listener: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }
}
