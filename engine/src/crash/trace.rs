//! One run of a program with a snapshot of the disk after each call that changed it.

use crate::sync::{Mutex, PoisonError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::program::{Outcome, Run};
use crate::disk::sim::{Call, Fault, Met, SimDisk, State};
use crate::disk::site::Site;

/// More snapshots than this are thinned out, so that a long program needs no more memory.
const POINTS_MAX: usize = 8_192;

/// A moment of a run.
pub(super) struct Point {
    pub(super) state: State,
    /// Notes made before.
    pub(super) notes: usize,
}

/// What a run left behind.
pub(super) struct Trace<N> {
    pub(super) points: Vec<Point>,
    /// Every call that changed the disk, with the number of notes made before.
    pub(super) calls: Vec<(Call, usize)>,
    pub(super) notes: Vec<N>,
    /// How the run ended, if not well.
    pub(super) error: Option<String>,
    /// It ended in a panic, which no fault excuses.
    pub(super) panicked: bool,
    pub(super) met: Met,
}

/// How a run is made.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) sector_len: usize,
    /// A line whose syncs do nothing.
    pub(super) deaf: Option<Site>,
}

#[derive(Default)]
struct Recorder {
    points: Vec<Point>,
    calls: Vec<(Call, usize)>,
    /// Every that many calls are kept.
    stride: u64,
}

impl Recorder {
    fn take(&mut self, state: &State, notes: usize) {
        self.calls
            .extend(state.last.clone().map(|call| (call, notes)));
        if !state.operations.is_multiple_of(self.stride) {
            return;
        }
        self.points.push(Point {
            state: state.clone(),
            notes,
        });
        if self.points.len() >= POINTS_MAX {
            self.stride *= 2;
            let stride = self.stride;
            let kept = |point: &Point| point.state.operations.is_multiple_of(stride);
            self.points.retain(kept);
        }
    }
}

/// Runs the program to its end.
pub(super) fn record<N: Clone + Send + 'static>(
    setting: &Setting,
    program: &dyn Fn(&Run<N>) -> Outcome,
) -> Trace<N> {
    let disk = SimDisk::new(setting.seed);
    disk.set_sector_len(setting.sector_len);
    disk.set_deaf(setting.deaf);
    disk.set_faults(&setting.faults);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder {
        stride: 1,
        ..Recorder::default()
    };
    let recorder = Arc::new(Mutex::new(recorder));
    let (told, seen) = (recorder.clone(), notes.clone());
    disk.set_hook(Some(Box::new(move |state| {
        let noted = lock(&seen).len();
        lock(&told).take(state, noted);
    })));
    let run = Run::new(disk.clone(), notes.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| program(&run)));
    disk.set_hook(None);
    drop(run);
    let panicked = ended.is_err();
    let error = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(format!("panicked: {}", text_of(&*panic))),
    };
    let recorder = std::mem::take(&mut *lock(&recorder));
    let notes = std::mem::take(&mut *lock(&notes));
    Trace {
        points: recorder.points,
        calls: recorder.calls,
        notes,
        error,
        panicked,
        met: disk.faults_met(),
    }
}

/// What a panic said.
pub(super) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".to_owned())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
