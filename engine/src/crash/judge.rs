//! Judges crash states: makes the disk that a crash leaves, lets the check look at it, crashes
//! the recovery that the check began, and judges that too.

use crate::sync::Mutex;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::case::Crash;
use super::program::{Crashed, Outcome};
use super::report::SiteReport;
use super::trace::{Point, lock, text_of};
use crate::disk::sim::{Cut, Dice, Operation, SimDisk, Slots, State, mix};
use crate::disk::site::Site;

/// How hard a state is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Points with at most that many legal power cuts are explored whole.
    pub(super) whole_up_to: u64,
    /// Crashes made at each other point in one round.
    pub(super) samples: u64,
    /// How often a recovery is crashed within a recovery.
    pub(super) depth: u32,
    /// Crashes made in one recovery; `None`: one at each of its calls.
    pub(super) recovery_samples: Option<u64>,
    /// Sectors may be written in part.
    pub(super) torn: bool,
}

/// Lines that changed the disk.
pub(super) type Sites = BTreeMap<(Site, Operation), SiteReport>;

/// What the judging of many states comes to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) states: u64,
    pub(super) recovery_states: u64,
    pub(super) repeated: u64,
    pub(super) losses: BTreeMap<&'static str, u64>,
    pub(super) sites: Sites,
    /// Media seen.
    pub(super) media: HashSet<u64>,
    /// Media and notes judged, with all that could still be lost of them.
    judged: HashSet<u64>,
    /// Media on which a second life was lived and held.
    lived: RefCell<HashSet<u64>>,
}

/// What the suite judged in all is told at its end.
#[cfg(test)]
impl Drop for Tally {
    fn drop(&mut self) {
        super::tests::budget::note(self.states);
    }
}

/// A state that did not hold.
pub(super) struct Bad {
    pub(super) path: Vec<Crash>,
    pub(super) what: String,
}

/// Looks at crash states of one run.
pub(super) struct Judge<'a, N> {
    pub(super) check: &'a dyn Fn(&Crashed<'_, N>) -> Outcome,
    pub(super) notes: &'a [N],
    /// A number for the notes made before a point, so that equal media with other promises are
    /// judged again.
    pub(super) note_key: &'a dyn Fn(&[N]) -> u64,
    pub(super) faulty: bool,
    /// A line whose syncs do nothing.
    pub(super) deaf: Option<Site>,
    pub(super) effort: Effort,
    pub(super) tally: &'a mut Tally,
}

/// What was done at one point.
#[derive(Default)]
pub(super) struct AtPoint {
    pub(super) whole: bool,
    pub(super) states: u64,
    pub(super) bad: Vec<Bad>,
}

/// Where a state stands.
struct At<'n, N> {
    notes: &'n [N],
    /// How often its recovery is still to be crashed.
    depth: u32,
    /// Only the process died so far.
    killed: bool,
}

/// What a check gets to see.
pub(super) struct View<'n, N> {
    pub(super) wall_ms: u64,
    pub(super) notes: &'n [N],
    /// Only the process died so far.
    pub(super) killed: bool,
    /// The calls of the first recovery are wanted.
    pub(super) follow: bool,
}

impl<N> Judge<'_, N> {
    /// Crashes at `point` as often as the effort says; `go_on` is asked before each.
    pub(super) fn point(
        &mut self,
        point: &Point,
        round: u64,
        dice: &mut Dice,
        go_on: &mut dyn FnMut(&Tally) -> bool,
    ) -> AtPoint {
        let slots = Slots::of(&point.state);
        let legal = slots.legal();
        let whole = legal <= u128::from(self.effort.whole_up_to);
        let before = self.tally.states;
        let mut bad = Vec::new();
        let mut number = 0;
        let cuts = if whole {
            legal + 1
        } else {
            self.effort.samples.into()
        };
        while number < cuts {
            if !go_on(self.tally) {
                let states = self.tally.states - before;
                return AtPoint {
                    whole: false,
                    states,
                    bad,
                };
            }
            let cut = match (whole, number, round) {
                (true, 0, _) => Cut::Kill,
                (true, number, _) => slots.nth(number - 1),
                (false, 0, 0) => slots.nothing_kept(),
                (false, 1, 0) => slots.all_kept(),
                (false, 2, 0) => Cut::Kill,
                _ => slots.random(dice, self.effort.torn),
            };
            number += 1;
            let notes = self.notes.get(..point.notes).unwrap_or_default();
            let place = At {
                notes,
                depth: self.effort.depth,
                killed: true,
            };
            let found = self.state(&point.state, cut, place, dice);
            if let Some(found) = found {
                bad.push(found);
                // One is enough to tell; the others at this point are mostly the same.
                break;
            }
        }
        AtPoint {
            whole,
            states: self.tally.states - before,
            bad,
        }
    }

    /// Judges what `cut` leaves of `state`, and the crashes of its recovery.
    fn state(&mut self, state: &State, cut: Cut, at: At<'_, N>, dice: &mut Dice) -> Option<Bad> {
        let At { notes, depth, .. } = at;
        let killed = at.killed && cut == Cut::Kill;
        let after = state.after(&cut);
        let digest = after.digest();
        let key = [
            after.digest_of_pending(digest),
            (self.note_key)(notes),
            u64::from(killed),
        ];
        let key = mix(&key);
        if !self.tally.judged.insert(key) {
            self.tally.repeated += 1;
            return None;
        }
        self.tally.media.insert(digest);
        self.count_site(state);
        self.tally.states += 1;
        self.count_loss(state, &cut, depth);
        let view = View {
            wall_ms: state.wall_ms,
            notes,
            killed,
            follow: depth > 0,
        };
        let (said, recovery) = self.look(after, digest, &view);
        let crash = Crash {
            point: state.operations,
            cut,
        };
        if let Err(what) = said {
            let path = vec![crash];
            return Some(Bad { path, what });
        }
        for inner in self.recovery_points(recovery.len(), dice) {
            let inner = recovery.get(inner)?;
            let slots = Slots::of(inner);
            let cut = match dice.below(4) {
                0 => slots.nothing_kept(),
                1 => Cut::Kill,
                _ => slots.random(dice, self.effort.torn),
            };
            let at = At {
                notes,
                depth: depth - 1,
                killed,
            };
            if let Some(mut bad) = self.state(inner, cut, at, dice) {
                bad.path.insert(0, crash);
                return Some(bad);
            }
        }
        None
    }

    /// Lets the check look at a disk; answers with what it said and, if wanted, with the
    /// disk after each call of the first recovery.
    pub(super) fn look(
        &self,
        after: State,
        seed: u64,
        view: &View<'_, N>,
    ) -> (Result<(), String>, Vec<State>) {
        let disk = SimDisk::with_state(after, seed, view.wall_ms);
        disk.set_deaf(self.deaf);
        let recovery = Arc::new(Mutex::new(Vec::new()));
        if view.follow {
            let keep = recovery.clone();
            let hook = move |state: &State| lock(&keep).push(state.clone());
            disk.set_opening_hook(Some(Box::new(hook)));
        }
        let crashed = Crashed {
            disk: &disk,
            notes: view.notes,
            faulty: self.faulty,
            killed: view.killed,
            lived: &self.tally.lived,
        };
        let said = match catch_unwind(AssertUnwindSafe(|| (self.check)(&crashed))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("panicked: {}", text_of(&*panic))),
        };
        let recovery = std::mem::take(&mut *lock(&recovery));
        (said, recovery)
    }

    /// Which calls of a recovery are crashed after.
    fn recovery_points(&self, calls: usize, dice: &mut Dice) -> Vec<usize> {
        match self.effort.recovery_samples {
            Some(samples) if (samples as u128) < calls as u128 => {
                (0..samples).map(|_| dice.below(calls)).collect()
            }
            _ => (0..calls).collect(),
        }
    }

    /// A crash after the call that brought `state` about.
    fn count_site(&mut self, state: &State) {
        if let Some(call) = &state.last
            && let Some(site) = call.site
        {
            let site = self.tally.sites.entry((site, call.operation)).or_default();
            site.crashed += 1;
        }
    }

    fn count_loss(&mut self, state: &State, cut: &Cut, depth: u32) {
        let kind = match cut {
            Cut::Kill => "kill",
            cut if self.effort.torn && Slots::of(state).is_torn(cut) => "torn sector",
            Cut::Power(digits) if digits.iter().all(|digit| *digit == 0) => "all unsynced lost",
            Cut::Power(_) => "part of the unsynced lost",
        };
        *self.tally.losses.entry(kind).or_default() += 1;
        if depth < self.effort.depth {
            self.tally.recovery_states += 1;
        }
    }
}
