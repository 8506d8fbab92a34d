//! From a state that did not hold to the smallest case that shows it, its story and its test.

use std::sync::Arc;

use super::case::{Case, Crash};
use super::history::History;
use super::judge::{Bad, Effort, Judge, Tally, View};
use super::machine;
use super::program::{Crashed, Outcome, Run};
use super::report::Violation;
use super::steps::Workload;
use super::subject;
use super::survival;
use super::trace::{Point, Setting, Trace, record};
use crate::disk::sim::{Dice, Slots, State};

/// A program with its check.
pub(super) struct Subject<'s, N> {
    pub(super) program: &'s dyn Fn(&Run<N>) -> Outcome,
    pub(super) check: &'s dyn Fn(&Crashed<'_, N>) -> Outcome,
}

/// The same crash with as little lost as still shows it, told.
pub(super) fn shrunk<N: Clone + Send + 'static>(
    violation: Violation,
    subject: &subject::Subject<'_, N>,
) -> Violation {
    let subject_here = Subject {
        program: subject.program,
        check: subject.check,
    };
    let smaller = shrink_cuts(&violation.case, &subject_here).unwrap_or(violation);
    told(smaller, subject)
}

/// The same for a built-in workload, of which steps are left out as long as something still does
/// not hold.
pub(super) fn shrunk_workload(violation: Violation, workload: &Workload) -> Violation {
    let mut best = (violation, workload.clone());
    let mut index = best.1.steps.len();
    while let Some(before) = index.checked_sub(1) {
        index = before;
        let mut shorter = best.1.clone();
        shorter.steps.remove(index);
        if let Some(found) = explore_again(&best.0.case, &shorter) {
            best = (found, shorter);
        }
    }
    let program = |run: &Run<Arc<History>>| machine::run(&best.1, run);
    let subject = subject::Subject {
        program: &program,
        check: &survival::check,
        note_key: &machine::note_key,
        workload: Some(best.1.clone()),
    };
    shrunk(best.0, &subject)
}

/// States that one shorter workload is tried with.
const STATES_MAX: u64 = 400;

/// A violation of the workload under the setting of `case`, if a short look finds one.
fn explore_again(case: &Case, workload: &Workload) -> Option<Violation> {
    let program = |run: &Run<Arc<History>>| machine::run(workload, run);
    let trace = trace_of(case, &program);
    let mut tally = Tally::default();
    let mut judge = Judge {
        check: &survival::check,
        notes: &trace.notes,
        note_key: &machine::note_key,
        faulty: !case.faults.is_empty(),
        deaf: None,
        effort: Effort {
            whole_up_to: 16,
            samples: 6,
            depth: u32::try_from(case.path.len().saturating_sub(1)).unwrap_or(0),
            recovery_samples: Some(2),
            torn: true,
        },
        tally: &mut tally,
    };
    let mut dice = Dice::new(case.seed);
    let violation = |bad: Bad| Violation {
        case: Case {
            workload: Some(workload.clone()),
            path: bad.path,
            ..case.clone()
        },
        what: bad.what,
        story: String::new(),
        test: String::new(),
    };
    // From the end: what a step does wrong shows mostly after it.
    for point in trace.points.iter().rev() {
        let mut go_on = |tally: &Tally| tally.states < STATES_MAX;
        let at = judge.point(point, 0, &mut dice, &mut go_on);
        if let Some(bad) = at.bad.into_iter().next() {
            return Some(violation(bad));
        }
    }
    None
}

/// The story and the test of a violation.
pub(super) fn told<N: Clone + Send + 'static>(
    mut violation: Violation,
    subject: &subject::Subject<'_, N>,
) -> Violation {
    let trace = trace_of(&violation.case, subject.program);
    violation.story = story(&violation, &trace);
    violation.test = test_of(&violation.case);
    violation
}

/// Judges exactly one case: how many states were judged, and the violation if it is one.
pub(super) fn judge_case<N: Clone + Send + 'static>(
    case: &Case,
    subject: &Subject<'_, N>,
) -> (u64, Option<Violation>) {
    let trace = trace_of(case, subject.program);
    if case.path.is_empty() {
        let excused = !case.faults.is_empty() && !trace.panicked;
        let ended = trace.error.clone().filter(|_| !excused);
        let violation = ended.map(|error| Violation {
            case: case.clone(),
            what: format!("the run itself ended badly: {error}"),
            story: String::new(),
            test: test_of(case),
        });
        return (0, violation);
    }
    let (judged, said) = judge_path(case, &trace, subject.check);
    let violation = said.err().map(|what| {
        let mut violation = Violation {
            case: case.clone(),
            what,
            story: String::new(),
            test: test_of(case),
        };
        violation.story = story(&violation, &trace);
        violation
    });
    (judged, violation)
}

fn trace_of<N: Clone + Send + 'static>(
    case: &Case,
    program: &dyn Fn(&Run<N>) -> Outcome,
) -> Trace<N> {
    let setting = Setting {
        seed: case.seed,
        faults: case.faults.clone(),
        sector_len: case.sector_len,
        deaf: None,
    };
    record(&setting, program)
}

fn point_of<'t, N>(trace: &'t Trace<N>, crash: &Crash) -> Option<&'t Point> {
    let mut points = trace.points.iter();
    points.find(|point| point.state.operations == crash.point)
}

/// Follows the path of crashes and lets the check look at the last one. A path that leads nowhere
/// judges nothing.
fn judge_path<N: Clone>(
    case: &Case,
    trace: &Trace<N>,
    check: &dyn Fn(&Crashed<'_, N>) -> Outcome,
) -> (u64, Result<(), String>) {
    let Some((first, inner)) = case.path.split_first() else {
        return (0, Ok(()));
    };
    let Some(point) = point_of(trace, first) else {
        return (0, Ok(()));
    };
    let notes = trace.notes.get(..point.notes).unwrap_or_default();
    let mut tally = Tally::default();
    let judge = Judge {
        check,
        notes: &trace.notes,
        note_key: &|_| 0,
        faulty: !case.faults.is_empty(),
        deaf: None,
        effort: Effort {
            whole_up_to: 0,
            samples: 0,
            depth: 0,
            recovery_samples: None,
            torn: false,
        },
        tally: &mut tally,
    };
    let view = |wall_ms, killed, follow| View {
        wall_ms,
        notes,
        killed,
        follow,
    };
    let mut killed = first.cut == crate::disk::sim::Cut::Kill;
    let (mut at, mut cut): (State, _) = (point.state.clone(), &first.cut);
    for crash in inner {
        let after = at.after(cut);
        let digest = after.digest();
        let follow = judge.look(after, digest, &view(at.wall_ms, killed, true)).1;
        let found = follow
            .into_iter()
            .find(|state| state.operations == crash.point);
        let Some(found) = found else {
            return (0, Ok(()));
        };
        killed &= crash.cut == crate::disk::sim::Cut::Kill;
        (at, cut) = (found, &crash.cut);
    }
    let after = at.after(cut);
    let digest = after.digest();
    (
        1,
        judge
            .look(after, digest, &view(at.wall_ms, killed, false))
            .0,
    )
}

/// Keeps one lost thing after the other, as long as the check still objects.
fn shrink_cuts<N: Clone + Send + 'static>(
    case: &Case,
    subject: &Subject<'_, N>,
) -> Option<Violation> {
    let trace = trace_of(case, subject.program);
    let mut best: Option<Violation> = None;
    let mut case = case.clone();
    // Only a crash of the run itself: a recovery's own slots change with the crash before it.
    while case.path.len() == 1 {
        let state = &point_of(&trace, case.path.first()?)?.state;
        let milder = Slots::of(state).milder(&case.path.first()?.cut);
        let found = milder.into_iter().find_map(|cut| {
            let mut milder = case.clone();
            milder.path.first_mut()?.cut = cut;
            let (_, said) = judge_path(&milder, &trace, subject.check);
            said.err().map(|what| (milder, what))
        });
        let Some((smaller, what)) = found else { break };
        case = smaller;
        best = Some(Violation {
            case: case.clone(),
            what,
            story: String::new(),
            test: String::new(),
        });
    }
    best
}

/// The calls, the crash, and what the check said, numbered.
fn story<N>(violation: &Violation, trace: &Trace<N>) -> String {
    let mut lines = Vec::new();
    let case = &violation.case;
    lines.push(format!("seed {}", case.seed));
    if let Some(workload) = &case.workload {
        lines.push(format!("steps {workload}"));
    }
    for fault in &case.faults {
        lines.push(format!("fault {fault}"));
    }
    let last = case.path.first().map_or(u64::MAX, |crash| crash.point);
    for (number, (call, notes)) in (1_u64..).zip(&trace.calls) {
        if number <= last {
            lines.push(format!("call {number}, step {notes}: {call}"));
        }
    }
    if let Some(first) = case.path.first() {
        let what = match first.cut {
            crate::disk::sim::Cut::Kill => "the process is killed",
            crate::disk::sim::Cut::Power(_) => "the power is cut",
        };
        lines.push(format!("after call {}, {what}", first.point));
        if let Some(point) = point_of(trace, first) {
            lines.extend(Slots::of(&point.state).told(&point.state, &first.cut));
        }
    }
    for crash in case.path.iter().skip(1) {
        lines.push(format!(
            "recovery is crashed after its call {}: {}",
            crash.point, crash.cut
        ));
    }
    lines.push(violation.what.clone());
    let numbered = (1..)
        .zip(lines)
        .map(|(n, line): (u32, String)| format!("{n}. {line}"));
    numbered.collect::<Vec<_>>().join("\n")
}

/// A test that replays a case.
fn test_of(case: &Case) -> String {
    let replay = match case.workload {
        Some(_) => "let report = Explorer::new().replay(&case).expect(\"a built-in workload\");",
        None => "let report = Explorer::new().replay_of(&case, program, check);",
    };
    format!(
        "#[test]\nfn a_crash_that_was_found_once_is_survived() {{\n    \
         let case: Case = \"{case}\".parse().expect(\"a case\");\n    \
         {replay}\n    report.assert_survived(1);\n}}\n"
    )
}
