//! `quickstart`: the store's main promise on real files. Import, be killed half-way, recover, prove that
//! nothing acknowledged is missing, go on, overwrite and delete half, merge, and prove it again.
//!
//! This file is the order of the phases; each phase is a file. Any mismatch ends in exit code 1.

mod checks;
mod content;
mod floors;
mod kill;
mod place;
mod plan;
mod raw_log;
mod report;
mod rework;
mod shelf;
mod source;
pub(crate) mod writer;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use fastrand::Rng;
use peercask::{
    Damage, Keyspace, Merge, MergeReport, Options, RecoveryReport, Store, VerifyReport,
};

use self::checks::{AfterKill, Checks, Expected};
use self::kill::Killed;
use self::place::Place;
use self::report::{Index, Opens, Rate, Report, Space};
use self::rework::Written;
use self::shelf::Shelf;
use self::source::{Chosen, Limits};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::reports::{self, MergeJson, RecoveryJson, VerifyJson};
use crate::units::{self, count, counted};

#[derive(Args)]
pub(crate) struct QuickstartArgs {
    /// A directory to work in, new or empty, and kept; left out, a temporary one is used and removed
    dir: Option<PathBuf>,
    /// Import the files below this directory, not those of the cargo registry and the toolchain
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Import at most this many files
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    max_files: usize,
    /// Import at most this much
    #[arg(long, value_name = "SIZE", default_value = "1.5GiB", value_parser = units::parse_size)]
    max_bytes: u64,
    /// Repeat a run: the same choices, in the same order
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(args: &QuickstartArgs, output: &mut Output) -> Result<Exit, Failure> {
    let place = Place::prepare(args.dir.as_deref())?;
    interrupt::watch()?;
    let report = match phases(args, &place, output) {
        Ok(report) => report,
        Err(failure) => {
            place.leave(&failure);
            return Err(failure);
        }
    };
    let printed = report.print(output);
    place.finish(report.ok, output)?;
    match printed {
        Err(failure) if !failure.is_reader_gone() => Err(failure),
        _ if report.ok => Ok(Exit::Done),
        _ => Ok(Exit::NotFoundOrWrong),
    }
}

fn phases(args: &QuickstartArgs, place: &Place, output: &mut Output) -> Result<Report, Failure> {
    let started = Instant::now();
    let seed = args.seed.unwrap_or_else(|| fastrand::u32(..).into());
    let mut run = Run::plan(args, place, seed, output)?;
    let killed = run.be_killed(output)?;
    let (recovery, after_kill) = run.recover(&killed, output)?;
    let resumed = run.resume(output)?;
    let (overwritten, deleted, merge) = run.rework_and_merge(output)?;
    let verify = run.prove_again(output)?;
    output.say("measuring the store beside a raw append log and a HashMap")?;
    let floors = floors::measure(&run.chosen.files, &place.floors_dir(), &mut run.rng)?;
    Ok(Report {
        ok: run.checks.mismatches == 0 && run.damaged == 0,
        seed,
        dir: place.dir().display().to_string(),
        sources: report::sources(&run.chosen),
        files: run.files(),
        bytes: run.bytes(),
        left_out_by_limits: run.chosen.left_out,
        killed_child: Rate::from(&killed),
        recovery: json(&RecoveryJson::from(&recovery))?,
        after_kill,
        resumed: Rate::from(&resumed),
        vanished_before_import: resumed.gone,
        overwritten: overwritten.files,
        deleted: deleted.files,
        space: run.space,
        merge: MergeJson::from(&merge),
        opens: run.opens,
        index: run.index,
        verify: json(&VerifyJson::from(&verify))?,
        damaged: run.damaged,
        floors,
        checks: run.checks,
        elapsed_ms: units::whole_ms(started.elapsed()),
    })
}

fn json(value: &impl serde::Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::new(Exit::Other, error.to_string()))
}

/// What the phases hand on to each other.
struct Run<'a> {
    place: &'a Place,
    chosen: Chosen,
    seed: u64,
    rng: Rng,
    planned_at: SystemTime,
    expected: Vec<Expected>,
    checks: Checks,
    /// Damaged places that any open or the last verify reported.
    damaged: u64,
    space: Space,
    opens: Opens,
    index: Index,
}

impl<'a> Run<'a> {
    fn plan(
        args: &QuickstartArgs,
        place: &'a Place,
        seed: u64,
        output: &mut Output,
    ) -> Result<Run<'a>, Failure> {
        let mut rng = Rng::with_seed(seed);
        let limits = Limits {
            files: args.max_files,
            bytes: args.max_bytes,
        };
        let planned_at = SystemTime::now();
        let chosen = source::choose(args.source.as_deref(), &limits, place.dir(), &mut rng)?;
        plan::write(&chosen.files, &place.list())?;
        let run = Run {
            place,
            expected: vec![Expected::Nothing; chosen.files.len()],
            chosen,
            seed,
            rng,
            planned_at,
            checks: Checks::default(),
            damaged: 0,
            space: Space::default(),
            opens: Opens::default(),
            index: Index::default(),
        };
        for source in &run.chosen.sources {
            output.say(format_args!(
                "source: {} ({})",
                source.root.display(),
                source.label
            ))?;
        }
        output.say(format_args!(
            "chosen: {}, {} ({} left out by the limits); seed {seed}",
            counted(run.files(), "file"),
            units::bytes(run.bytes()),
            count(run.chosen.left_out)
        ))?;
        Ok(run)
    }

    fn files(&self) -> u64 {
        u64::try_from(self.chosen.files.len()).unwrap_or(0)
    }

    fn bytes(&self) -> u64 {
        self.chosen.files.iter().map(|file| file.len).sum()
    }

    fn open(
        &mut self,
        background: bool,
        output: &mut Output,
    ) -> Result<(Shelf, Duration), Failure> {
        let started = Instant::now();
        let options = Options::default().background(background);
        let store = Store::open(self.place.store_dir(), options)?;
        let took = started.elapsed();
        let recovery = store.recovery();
        output.say(reports::recovery_line(recovery))?;
        for cut in &recovery.cut {
            output.say(format_args!("  {}", reports::cut_line(cut)))?;
        }
        self.tell_damage(&recovery.damage, output)?;
        Ok((Shelf::open(store)?, took))
    }

    /// No crash of a process damages anything, so any damage is a failure.
    fn tell_damage(&mut self, damage: &[Damage], output: &mut Output) -> Result<(), Failure> {
        for damage in damage {
            output.say(format_args!("  DAMAGED {damage}"))?;
            self.damaged += 1;
        }
        Ok(())
    }

    fn be_killed(&mut self, output: &mut Output) -> Result<Killed, Failure> {
        let files = self.chosen.files.len();
        let killed = kill::import_until_killed(
            &self.place.store_dir(),
            &self.place.list(),
            files,
            &mut self.rng,
        )?;
        output.say(format_args!(
            "killed: a child process, by SIGKILL, after it acknowledged {} ({}) in {}",
            counted(killed.acknowledged, "file"),
            units::bytes(killed.bytes),
            units::duration(killed.elapsed)
        ))?;
        Ok(killed)
    }

    fn recover(
        &mut self,
        killed: &Killed,
        output: &mut Output,
    ) -> Result<(RecoveryReport, AfterKill), Failure> {
        let (shelf, took) = self.open(true, output)?;
        self.opens.after_kill_ms = took.as_secs_f64() * 1_000.0;
        let recovery = shelf.store.recovery().clone();
        let (after, expected) =
            self.checks
                .after_kill(&self.chosen.files, &killed.acks, self.planned_at, &shelf)?;
        self.expected = expected;
        output.say(format_args!(
            "survived: {} of {} acknowledged files with the right content in both keyspaces; {} more written whole \
             but not yet acknowledged; {} half there",
            count(after.acknowledged_and_right),
            count(after.acknowledged),
            count(after.unacknowledged_but_whole),
            count(after.half)
        ))?;
        shelf.store.close()?;
        Ok((recovery, after))
    }

    fn resume(&mut self, output: &mut Output) -> Result<Written, Failure> {
        let (shelf, _) = self.open(true, output)?;
        let resumed = rework::resume(&self.chosen.files, &mut self.expected, &shelf)?;
        output.say(format_args!(
            "resumed: {} more ({}); {} had vanished before they were read",
            counted(resumed.files, "file"),
            units::bytes(resumed.bytes),
            count(resumed.gone)
        ))?;
        self.prove("verifying every value", &shelf, output)?;
        self.measure_index(&shelf)?;
        shelf.store.close()?;
        Ok(resumed)
    }

    fn measure_index(&mut self, shelf: &Shelf) -> Result<(), Failure> {
        let per_key = |keyspace: &Keyspace| -> Result<f64, Failure> {
            let info = keyspace.info()?;
            Ok(units::ratio(info.index_bytes, info.keys))
        };
        let keys = self.chosen.files.iter().map(|file| file.key.len());
        let key_bytes = u64::try_from(keys.sum::<usize>()).unwrap_or(0);
        self.index = Index {
            hash_bytes_per_key: per_key(&shelf.files)?,
            ordered_bytes_per_key: per_key(&shelf.paths)?,
            mean_key_bytes: units::ratio(key_bytes, self.files()),
        };
        Ok(())
    }

    fn prove(
        &mut self,
        title: &'static str,
        shelf: &Shelf,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let before = (self.checks.verified, self.checks.mismatches);
        self.checks
            .whole_store(title, &self.chosen.files, &self.expected, self.seed, shelf)?;
        output.say(format_args!(
            "verified: {} as they must be, {} not",
            counted(self.checks.verified - before.0, "key"),
            count(self.checks.mismatches - before.1)
        ))
    }

    /// Without background threads, so that the sizes before and after the merge are of known moments.
    fn rework_and_merge(
        &mut self,
        output: &mut Output,
    ) -> Result<(Written, Written, MergeReport), Failure> {
        let (shelf, took) = self.open(false, output)?;
        self.opens.after_import_ms = took.as_secs_f64() * 1_000.0;
        self.space.imported = shelf.store.stats().disk_bytes;
        let (overwritten, deleted) = rework::overwrite_and_delete(
            &self.chosen.files,
            &mut self.expected,
            self.seed,
            &mut self.rng,
            &shelf,
        )?;
        self.space.overwritten_and_deleted = shelf.store.stats().disk_bytes;
        output.say(format_args!(
            "changed: {} overwritten ({}), {} deleted",
            counted(overwritten.files, "file"),
            units::bytes(overwritten.bytes),
            count(deleted.files)
        ))?;
        let mut progress = Progress::new("merging", Count::Bytes, 0);
        let merge = shelf
            .store
            .merge_with(Merge::Full, &mut |done| progress.follow(&done))?;
        drop(progress);
        let stats = shelf.store.stats();
        self.space.merged = stats.disk_bytes;
        self.space.live_after_merge = stats.live_bytes;
        self.space.reclaimed = self
            .space
            .overwritten_and_deleted
            .saturating_sub(stats.disk_bytes);
        output.say(format_args!("merged: {}", reports::merge_line(&merge)))?;
        output.say(format_args!(
            "space: {} before, {} after, {} reclaimed",
            units::bytes(self.space.overwritten_and_deleted),
            units::bytes(self.space.merged),
            units::bytes(self.space.reclaimed)
        ))?;
        shelf.store.close()?;
        Ok((overwritten, deleted, merge))
    }

    fn prove_again(&mut self, output: &mut Output) -> Result<VerifyReport, Failure> {
        let (shelf, took) = self.open(true, output)?;
        self.opens.after_merge_ms = took.as_secs_f64() * 1_000.0;
        self.opens.keys_after_merge = shelf.store.stats().keys;
        self.prove("verifying every value again", &shelf, output)?;
        let mut progress = Progress::new("verifying every checksum", Count::Bytes, 0);
        let verify = shelf.store.verify(&mut |done| progress.follow(&done))?;
        drop(progress);
        output.say(format_args!("checked: {}", reports::verify_line(&verify)))?;
        self.tell_damage(&verify.damage, output)?;
        shelf.store.close()?;
        self.space.all_files_closed = (self.place.store_files_bytes())
            .map_err(|error| Failure::io("measure the store's files", &error))?;
        Ok(verify)
    }
}
