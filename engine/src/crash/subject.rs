//! What an exploration is of.

use super::program::{Crashed, Outcome, Run};
use super::steps::Workload;

/// A program with its check, and the steps if it is a built-in workload.
pub(super) struct Subject<'s, N> {
    pub(super) program: &'s dyn Fn(&Run<N>) -> Outcome,
    pub(super) check: &'s dyn Fn(&Crashed<'_, N>) -> Outcome,
    pub(super) note_key: &'s dyn Fn(&[N]) -> u64,
    pub(super) workload: Option<Workload>,
}
