//! A simulated disk: a page cache over a medium that may lose what was not synced, in any legal
//! way. The same engine runs on it as on the real one. Legal after a power cut: each 512-byte
//! sector of a file at any version it had since the file's last sync, any size it had since, and
//! any subset of the operations on a directory since that directory's last sync.
//!
//! Deterministic: everything random comes from one seed.

mod content;
mod cut;
mod damage;
mod dice;
mod directory;
mod fault;
mod file;
mod inode;
mod real;
mod state;

use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use super::map::SharedBytes;
use super::site::{self, Site};
use crate::clock::{Clock, ManualClock};
pub use cut::Cut;
pub(crate) use cut::Slots;
pub(crate) use dice::{Dice, mix};
use fault::Faults;
pub(crate) use fault::Met;
pub use fault::{Failure, Fault, Operation};
pub use state::Call;
pub(crate) use state::State;
use state::{SEPARATOR, split};

/// What the clock of a new disk says: a day in November 2023.
const WALL_MS: u64 = 1_700_000_000_000;

/// Called after every operation that changes the disk.
pub(crate) type Hook = Box<dyn FnMut(&State) + Send>;

struct Shared {
    state: Mutex<State>,
    dice: Mutex<Dice>,
    hook: Mutex<Option<Hook>>,
    faults: Mutex<Faults>,
    locked: Mutex<BTreeSet<String>>,
    /// Maps of each file: they show what is written later.
    views: Mutex<BTreeMap<usize, Vec<Weak<SharedBytes>>>>,
    /// A sync from this line is taken for done without being done: what is it good for?
    deaf: Mutex<Option<Site>>,
    /// The next store that is opened here tells its operations to this hook alone.
    opening: Mutex<Option<Hook>>,
    clock: Arc<ManualClock>,
}

/// A simulated disk, or one directory of it: a page cache over a medium, in memory, deterministic
/// from one seed.
///
/// A store is opened on it with `Store::open_on`, files of a program's own with
/// [`SimDisk::directory`]; both see one page cache and lose power together. Clones are the same
/// disk. What a crash leaves is another disk: see [`SimDisk::crash`].
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
    dir: String,
    /// Files may be mapped.
    maps: bool,
}

impl SimDisk {
    /// An empty disk. Everything random in it, and in a store on it, comes from `seed`: the same calls give
    /// the same bytes. Reads and writes are short or interrupted at times, as a kernel's may be.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::with_state(State::new(), seed, WALL_MS)
    }

    pub(crate) fn with_state(state: State, seed: u64, wall_ms: u64) -> SimDisk {
        let shared = Shared {
            state: Mutex::new(state),
            dice: Mutex::new(Dice::new(seed)),
            hook: Mutex::new(None),
            faults: Mutex::new(Faults::default()),
            locked: Mutex::new(BTreeSet::new()),
            views: Mutex::new(BTreeMap::new()),
            deaf: Mutex::new(None),
            opening: Mutex::new(None),
            clock: Arc::new(ManualClock::new(wall_ms)),
        };
        SimDisk {
            shared: Arc::new(shared),
            dir: String::new(),
            maps: true,
        }
    }

    /// The disk's clock, which stands still until it is moved. Stores opened on the disk go by
    /// it; it survives a crash.
    #[must_use]
    pub fn clock(&self) -> Arc<ManualClock> {
        self.shared.clock.clone()
    }

    /// Another directory of the same disk, which is always there; the empty name is the disk's own.
    #[must_use]
    pub fn in_directory(&self, dir: &str) -> SimDisk {
        SimDisk {
            shared: self.shared.clone(),
            dir: dir.to_owned(),
            maps: self.maps,
        }
    }

    /// The same directory, in which no file is ever mapped.
    pub(crate) fn without_maps(&self) -> SimDisk {
        SimDisk {
            maps: false,
            ..self.clone()
        }
    }

    /// What a crash at this moment leaves, as a disk of its own; this one goes on. Locks are let go,
    /// faults forgotten, the clock says what this one's says.
    #[must_use]
    pub fn crash(&self, cut: &Cut) -> SimDisk {
        let state = self.state();
        let seed = mix(&[state.digest(), state.operations]);
        let wall_ms = self.shared.clock.wall_ms();
        SimDisk::with_state(state.after(cut), seed, wall_ms)
    }

    /// What a power cut leaves that takes everything which was not synced.
    #[must_use]
    pub fn crash_losing_all(&self) -> SimDisk {
        self.crash(&Cut::Power(Vec::new()))
    }

    /// What a power cut leaves by the dice of `seed`: any legal subset.
    #[must_use]
    pub fn crash_by_dice(&self, seed: u64) -> SimDisk {
        let cut = Slots::of(&self.state()).random(&mut Dice::new(seed), true);
        self.crash(&cut)
    }

    /// How many crashes are legal at this moment, as far as 128 bits can count.
    #[must_use]
    pub fn legal_crashes(&self) -> u128 {
        Slots::of(&self.state()).legal()
    }

    /// How many calls changed the disk so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        hold(&self.shared.state).operations
    }

    /// A number for all that is on the disk now; equal disks have equal ones.
    #[must_use]
    pub fn digest(&self) -> u64 {
        hold(&self.shared.state).digest()
    }

    /// Faults that wait for calls from now on, in place of those before.
    pub fn set_faults(&self, faults: &[Fault]) {
        hold(&self.shared.faults).set(faults);
    }

    /// How often each fault was met.
    pub(crate) fn faults_met(&self) -> Met {
        hold(&self.shared.faults).met.clone()
    }

    /// Bytes that fit on the disk from now on; `None` is no limit.
    pub fn set_capacity(&self, capacity: Option<usize>) {
        hold(&self.shared.state).capacity = capacity;
    }

    /// What the medium writes whole, in bytes: 512 on a new disk; 1 tears at every byte.
    pub fn set_sector_len(&self, bytes: usize) {
        hold(&self.shared.state).sector_len = bytes.max(1);
    }

    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        *hold(&self.shared.hook) = hook;
    }

    pub(crate) fn set_opening_hook(&self, hook: Option<Hook>) {
        *hold(&self.shared.opening) = hook;
    }

    /// The hook for the store that is being opened; once.
    pub(crate) fn take_opening_hook(&self) -> Option<Hook> {
        hold(&self.shared.opening).take()
    }

    pub(crate) fn set_deaf(&self, site: Option<Site>) {
        *hold(&self.shared.deaf) = site;
    }

    pub(crate) fn state(&self) -> State {
        hold(&self.shared.state).clone()
    }

    pub(crate) fn dir(&self) -> &str {
        &self.dir
    }

    fn full(&self, name: &str) -> String {
        if self.dir.is_empty() {
            name.to_owned()
        } else {
            format!("{}{SEPARATOR}{name}", self.dir)
        }
    }

    /// The call in full if somebody asks for it: words cost more than the call.
    fn call(&self, operation: Operation, name: &str, at: usize, len: usize) -> Call {
        let asked = hold(&self.shared.hook).is_some() || hold(&self.shared.deaf).is_some();
        Call {
            operation,
            file: if asked {
                state::shown(name)
            } else {
                String::new()
            },
            at: at as u64,
            len: len as u64,
            site: site::take(asked),
        }
    }

    /// Meets a fault if one waits, for a call that changes nothing.
    fn look(&self, operation: Operation) -> io::Result<()> {
        match hold(&self.shared.faults).meet(operation) {
            Some((failure, _)) => Err(failure.error()),
            None => Ok(()),
        }
    }

    /// Meets a fault if one waits, or changes the disk and tells the hook.
    fn change<T>(
        &self,
        call: Call,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let fault = hold(&self.shared.faults).meet(call.operation);
        if let Some((failure, false)) = fault {
            return Err(failure.error());
        }
        let hooked = hold(&self.shared.hook).is_some();
        let (answer, after) = {
            let mut state = hold(&self.shared.state);
            let answer = change(&mut state)?;
            state.did(call, self.shared.clock.wall_ms());
            (answer, hooked.then(|| state.clone()))
        };
        // Out of its place while it runs: it may use this disk itself, as a reader beside does.
        let hook = after.and_then(|after| Some((hold(&self.shared.hook).take()?, after)));
        if let Some((mut hook, after)) = hook {
            hook(&after);
            hold(&self.shared.hook).get_or_insert(hook);
        }
        match fault {
            Some((failure, _)) => Err(failure.error()),
            None => Ok(answer),
        }
    }

    /// Whether a sync from this line is to be taken for done without being done.
    fn is_deaf(&self, call: &Call) -> bool {
        let deaf = *hold(&self.shared.deaf);
        deaf.is_some() && deaf == call.site
    }

    /// Every map of the file shows its bytes from `at` to `end`.
    fn show(&self, inode: usize, at: usize, end: usize) {
        let mut views = hold(&self.shared.views);
        let Some(of_file) = views.get_mut(&inode) else {
            return;
        };
        let state = hold(&self.shared.state);
        let Ok(file) = state.inode(inode) else { return };
        let bytes = file.now.range(at, end);
        of_file.retain(|view| match view.upgrade() {
            Some(view) => {
                view.set_end(file.now.len());
                view.copy_in(at, &bytes);
                true
            }
            None => false,
        });
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = hold(&self.shared.state);
        f.debug_struct("SimDisk")
            .field("dir", &self.dir)
            .field("operations", &state.operations)
            .field("files", &state.names.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
