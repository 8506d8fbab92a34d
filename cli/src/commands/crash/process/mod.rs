//! `crash --process`: a real child on the real disk, killed with SIGKILL again and again in one
//! directory: while it opens and recovers, writes, merges, and, where strace can, at the n-th system
//! call. After each kill everything acknowledged must be there, and what is there must be the state
//! after some number of its writes.
//!
//! This file is the order of the rounds; how a child dies is in kill.rs, what must hold in judge.rs.

mod changes;
pub(crate) mod child;
mod judge;
mod kill;
mod place;
mod report;
mod strace;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::changes::State;
use self::judge::Finding;
use self::kill::{Death, Moment};
use self::place::Place;
use self::report::Report;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::{self, Output};
use crate::progress::{Count, Progress};

/// What a run may use up.
pub(super) struct Budget {
    pub(super) dir: Option<PathBuf>,
    pub(super) seconds: Option<u64>,
    pub(super) rounds: Option<u64>,
    pub(super) seed: u64,
}

pub(super) fn run(budget: &Budget, output: &mut Output) -> Result<Exit, Failure> {
    let mut place = Place::prepare(budget.dir.as_deref())?;
    interrupt::watch()?;
    let may_trace = strace::may_trace();
    if let Err(why) = &may_trace {
        output::note(format_args!(
            "kills at the n-th system call are skipped: {why}"
        ));
    }
    let mut run = Run {
        state: State::new(budget.seed),
        rng: Rng::with_seed(budget.seed),
        traced: may_trace.is_ok(),
        report: Report::new(budget.seed, may_trace.is_ok()),
        started: Instant::now(),
    };
    let ended = run.rounds(budget, &place);
    run.report.elapsed = run.started.elapsed();
    let violated = !run.report.violations.is_empty();
    place.leave(violated || ended.is_err());
    run.report.kept = place.kept();
    ended?;
    run.report.interrupted = interrupt::requested();
    let printed = run.report.print(output);
    match printed {
        Err(failure) if !failure.is_reader_gone() => Err(failure),
        _ => Ok(run.report.exit()),
    }
}

struct Run {
    state: State,
    rng: Rng,
    traced: bool,
    report: Report,
    started: Instant,
}

impl Run {
    fn rounds(&mut self, budget: &Budget, place: &Place) -> Result<(), Failure> {
        let until = budget.seconds.map(Duration::from_secs);
        let total = budget.rounds.or(budget.seconds).unwrap_or(u64::MAX);
        let title = match budget.rounds {
            Some(_) => "killing a child (rounds)",
            None => "killing a child (seconds)",
        };
        let mut progress = Progress::new(title, Count::Things, total);
        for round in 0.. {
            let spent = until.is_some_and(|until| self.started.elapsed() >= until);
            let done = budget.rounds.is_some_and(|rounds| round >= rounds);
            if spent || done || interrupt::requested() || !self.report.violations.is_empty() {
                break;
            }
            progress.set(match budget.rounds {
                Some(_) => round,
                None => self.started.elapsed().as_secs(),
            });
            self.round(round, place)?;
        }
        Ok(())
    }

    /// One life of a child, its death, and what its store must hold then.
    fn round(&mut self, round: u64, place: &Place) -> Result<(), Failure> {
        let moment = Moment::choose(&mut self.rng, self.traced);
        let life = child::Life {
            seed: self.state.seed(),
            from: self.state.writes() + 1,
            until: self.state.writes() + kill::WRITES_MAX,
            round,
        };
        let death = kill::child(&place.store_dir(), life, moment, &mut self.rng)?;
        self.report.note_death(moment, &death);
        let least = death.acknowledged.unwrap_or(self.state.writes());
        if let Death {
            failed: Some(why), ..
        } = &death
        {
            return self.violation(round, place, &format!("the child failed: {why}"));
        }
        // The copy is evidence, and every other round the next child finds what this one left.
        place.copy_store()?;
        let looked_at = match round % 2 {
            0 => place.copy_dir(),
            _ => place.store_dir(),
        };
        match judge::store(&looked_at, &mut self.state, least, round) {
            Ok(found) => {
                self.report.note_found(&found, least);
                Ok(())
            }
            Err(Finding::Violation(what)) => self.violation(round, place, &what),
            Err(Finding::Failure(failure)) => Err(failure),
        }
    }

    fn violation(&mut self, round: u64, place: &Place, what: &str) -> Result<(), Failure> {
        place.keep_evidence()?;
        self.report
            .violations
            .push(format!("round {round}: {what}"));
        Ok(())
    }
}
