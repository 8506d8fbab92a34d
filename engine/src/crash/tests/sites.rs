//! Every line of the engine that changes the disk is crashed at, and every sync is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::programs;

use crate::crash::history::History;
use crate::crash::judge::{Effort, Judge, Tally};
use crate::crash::machine;
use crate::crash::program::Run;
use crate::crash::subject::Subject;
use crate::crash::survival;
use crate::crash::trace::{Setting, record};
use crate::crash::{
    Explorer, Failure, Fault, Operation, Report, Site, Step, Verdict, Without, Workload,
};
use crate::disk::os::OsDisk;
use crate::disk::sim::Dice;
use crate::disk::{Disk, read_whole};
use crate::store::Store;

/// What a line that changes the disk holds.
const CALLS: [&str; 9] = [
    "disk.remove(",
    ".remove(&names::",
    "disk.rename(",
    "disk.sync_dir(",
    "disk.link_to(",
    ".sync_data()",
    ".set_len(",
    "write_all_at(&",
    "file.reserve(",
];

/// Sources below `dir`, by their path below `src`.
fn sources(dir: &Path, below: &str, found: &mut Vec<(String, String)>) {
    let disk = OsDisk::new(dir);
    for name in disk.list().expect("the sources") {
        let path = format!("{below}{name}");
        if matches!(path.as_str(), "disk" | "crash" | "disk/" | "crash/") {
            continue;
        }
        if name.ends_with(".rs") {
            let text = read_whole(&disk, &name, 1 << 20).expect("readable");
            found.push((path, String::from_utf8(text).expect("text")));
        } else {
            sources(&dir.join(&name), &format!("{path}/"), found);
        }
    }
}

/// Every line that changes the disk, outside tests and outside the doorway.
fn lines() -> BTreeSet<String> {
    lines_with(|code| {
        let makes = code.contains("disk.open(")
            && (code.contains("How::CreateNew") || code.contains("How::Replace"));
        makes || CALLS.iter().any(|call| code.contains(call))
    })
}

/// Those of them that sync.
fn sync_lines() -> BTreeSet<String> {
    lines_with(|code| {
        ["disk.sync_dir(", ".sync_data()"]
            .iter()
            .any(|call| code.contains(call))
    })
}

fn lines_with(wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut all = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        "",
        &mut all,
    );
    let mut lines = BTreeSet::new();
    for (path, text) in all {
        let shipped = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for (number, line) in (1..).zip(shipped.lines()) {
            let code = line.trim_start();
            if wanted(code) && !code.starts_with("//") && !code.contains("_mutant") {
                lines.insert(format!("{path}:{number}"));
            }
        }
    }
    lines
}

/// What a program is run with, and how far its recoveries are crashed.
#[derive(Clone, Copy)]
struct How<'a> {
    told: &'a dyn Display,
    faults: &'a [Fault],
    depth: u32,
}

/// Runs a program and crashes it after the first call of every line that was not crashed at
/// before; `depth` 1 does the same for recoveries.
fn crash_at_new_lines<N: Clone + Send + 'static>(
    subject: &Subject<'_, N>,
    how: How<'_>,
    reached: &mut BTreeSet<String>,
) {
    let setting = Setting {
        seed: 1,
        faults: how.faults.to_vec(),
        sector_len: 512,
        deaf: None,
    };
    let trace = record(&setting, subject.program);
    let excused = !how.faults.is_empty() && !trace.panicked;
    if let Some(error) = trace.error.as_ref().filter(|_| !excused) {
        panic!("{} {:?}: {error}", how.told, how.faults);
    }
    let mut tally = Tally::default();
    let mut judge = Judge {
        check: subject.check,
        notes: &trace.notes,
        note_key: subject.note_key,
        faulty: true,
        deaf: None,
        effort: Effort {
            whole_up_to: 0,
            samples: 3,
            depth: how.depth,
            recovery_samples: None,
            torn: false,
        },
        tally: &mut tally,
    };
    let mut dice = Dice::new(1);
    for point in &trace.points {
        let site = point.state.last.as_ref().and_then(|call| call.site);
        let is_new = site.is_some_and(|site| !reached.contains(&site.to_string()));
        if !is_new && how.depth == 0 {
            continue;
        }
        let at = judge.point(point, 0, &mut dice, &mut |_| true);
        if let Some(bad) = at.bad.first() {
            panic!("{} {:?} {:?}: {}", how.told, how.faults, bad.path, bad.what);
        }
        reached.extend(site.map(|site| site.to_string()));
    }
    let crashed = tally.sites.iter().filter(|(_, site)| site.crashed > 0);
    reached.extend(crashed.map(|((site, _), _)| site.to_string()));
}

/// Where a workload runs: on a disk of so many bytes, in a store with such a cap.
#[derive(Clone, Copy, Default)]
struct Bounds {
    capacity: Option<usize>,
    space_cap: Option<u64>,
}

/// The same for a workload of steps.
fn crash_workload_at_new_lines(
    workload: &Workload,
    bounds: Bounds,
    faults: &[Fault],
    depth: u32,
    reached: &mut BTreeSet<String>,
) {
    let is_bounded = bounds.capacity.is_some() || bounds.space_cap.is_some();
    let options = machine::options()
        .reserve_bytes(if is_bounded { 1_000 } else { 0 })
        .space_cap(bounds.space_cap);
    let program = |run: &Run<Arc<History>>| {
        run.disk().set_capacity(bounds.capacity);
        let ran = machine::run_with(workload, run, options.clone());
        if ran.is_err() && bounds.capacity.is_some() {
            // A full disk may end it, which is no fault of the store.
            return Ok(());
        }
        ran?;
        if workload.steps.contains(&Step::Checkpoint) {
            // Opened, a checkpoint becomes a store of its own.
            Store::open_on(&run.disk().in_directory("copy"), machine::options())?.close()?;
        }
        Ok(())
    };
    let subject = Subject {
        program: &program,
        check: &survival::check,
        note_key: &machine::note_key,
        workload: None,
    };
    let how = How {
        told: workload,
        faults,
        depth,
    };
    crash_at_new_lines(&subject, how, reached);
}

fn steps(text: &str) -> Workload {
    text.parse().expect("steps")
}

/// Deletes by prefix, over several segments.
fn spread() -> Workload {
    steps("p1.0.30k,p1.1.30k,p1.2.30k,p1.3.30k,D1k,p1.1.30d")
}

/// Overwrites until even deletes find no room under the cap and get the reserve, then a put that wants
/// it back.
fn up_to_the_cap() -> Workload {
    let filling = [("p0.1.3600k", 20), ("p0.2.400k", 12), ("p0.3.9k", 80)];
    let mut text = String::new();
    for (step, times) in filling {
        text += &format!("{step},").repeat(times);
    }
    steps(&(text + "b-0.1-0.2-0.3k,p0.3.9k,p0.3.9k"))
}

#[test]
fn every_line_that_changes_the_disk_is_crashed_at() {
    let wanted = lines();
    assert!(
        wanted.len() > 25,
        "the search for lines is broken: {wanted:?}"
    );
    let workload = steps("p0.1.700d,p1.2.400k,r,p0.1.900b,s,M,d1.2d,p0.4.30k,r,m,M,o,p0.5.40d,x0");
    let mut reached = BTreeSet::new();
    let none = Bounds::default();
    crash_workload_at_new_lines(&workload, none, &[], 1, &mut reached);
    crash_workload_at_new_lines(&spread(), none, &[], 1, &mut reached);
    let copied = steps("p0.1.700d,c,p0.2.700d,p1.1.40d,M,c");
    crash_workload_at_new_lines(&copied, none, &[], 0, &mut reached);
    for capacity in (0..12_000).step_by(97) {
        let small = Bounds {
            capacity: Some(capacity),
            ..none
        };
        crash_workload_at_new_lines(&workload, small, &[], 0, &mut reached);
    }
    let capped = Bounds {
        space_cap: Some(150_000),
        ..none
    };
    crash_workload_at_new_lines(&up_to_the_cap(), capped, &[], 0, &mut reached);
    for program in programs::ALL {
        let subject = Subject {
            program: &program.run,
            check: &program.check,
            note_key: &|notes: &[u8]| notes.len() as u64,
            workload: None,
        };
        let how = How {
            told: &program.name,
            faults: &[],
            depth: 1,
        };
        crash_at_new_lines(&subject, how, &mut reached);
    }
    crash_where_calls_fail(&workload, &copied, &mut reached);
    let missing: Vec<_> = wanted.difference(&reached).collect();
    println!(
        "{} lines change the disk, {} were crashed at",
        wanted.len(),
        reached.len()
    );
    assert_eq!(missing, [""; 0], "lines that no crash came after");
}

/// Lines that only failing calls lead to.
fn crash_where_calls_fail(workload: &Workload, copied: &Workload, reached: &mut BTreeSet<String>) {
    let none = Bounds::default();
    let operations = [
        Operation::Create,
        Operation::Write,
        Operation::Reserve,
        Operation::Resize,
        Operation::Sync,
        Operation::Rename,
    ];
    let two_outputs = steps("p0.1.700d,p0.2.600t90d,r,M");
    for (workload, calls) in [(workload, 40), (&two_outputs, 60), (&spread(), 24)] {
        for (operation, after) in operations
            .iter()
            .flat_map(|op| (0..calls).map(|n| (*op, n)))
        {
            let fault = Fault::new(operation, Failure::StorageFull).after(after);
            crash_workload_at_new_lines(workload, none, &[fault], 0, reached);
        }
    }
    // What cannot be removed is emptied.
    let stays = Fault::new(Operation::Remove, Failure::Io).for_good(true);
    for after in 0..24 {
        let full = Fault::new(Operation::Write, Failure::StorageFull).after(after);
        crash_workload_at_new_lines(&spread(), none, &[stays, full], 0, reached);
    }
    // No links here: segments are copied.
    let no_links = Fault::new(Operation::Link, Failure::PermissionDenied).for_good(true);
    crash_workload_at_new_lines(copied, none, &[no_links], 0, reached);
    for after in 0..40 {
        let full = Fault::new(Operation::Sync, Failure::StorageFull).after(after);
        crash_workload_at_new_lines(copied, none, &[no_links, full], 0, reached);
    }
}

/// What each line that syncs is good for, in these reports together: the states without it, and
/// those of them that did not hold.
fn without(reports: &[Report]) -> BTreeMap<(Site, Operation), Without> {
    let mut all: BTreeMap<(Site, Operation), Without> = BTreeMap::new();
    for (at, found) in reports.iter().flat_map(|report| &report.sites) {
        // The programs make directories of their own; only lines of the engine are asked for.
        let Some(one) = found
            .without
            .as_ref()
            .filter(|_| !at.0.file.starts_with("crash/"))
        else {
            continue;
        };
        let sum = all.entry(*at).or_default();
        sum.first = sum.first.or(one.first.map(|first| sum.states + first));
        sum.states += one.states;
        sum.bad += one.bad;
    }
    all
}

#[test]
fn every_sync_is_needed() {
    let explorer = || Explorer::new().seed(1).depth(1).sync_coverage(true);
    // A kill in a merge, then a power cut in recovery: too rare for the dice.
    let merging = steps("p0.1.700d,r,p0.1.700d,r,M");
    let mut reports = vec![
        explorer().states(1_000).run(),
        explorer()
            .states(600)
            .whole_up_to(64)
            .samples(2)
            .recovery_samples(None)
            .workloads(&[merging]),
    ];
    for program in programs::ALL {
        let report = explorer()
            .states(300)
            .whole_up_to(program.whole_up_to)
            .samples(program.samples)
            .explore(program.run, program.check);
        assert_eq!(
            report.verdict(),
            Verdict::Survived,
            "{}: {report}",
            program.name
        );
        reports.push(report);
    }
    let mut useless = Vec::new();
    println!("| line | states without it | not held | first |");
    for ((site, operation), found) in without(&reports) {
        let first = found
            .first
            .map_or("-".to_owned(), |first| first.to_string());
        println!(
            "| {site} {operation} | {} | {} | {first} |",
            found.states, found.bad
        );
        if found.bad == 0 {
            useless.push(format!("{site} {operation}"));
        }
    }
    assert_eq!(useless, [""; 0], "syncs without which nothing went wrong");
    let tried = without(&reports);
    let tried: BTreeSet<String> = tried.keys().map(|(site, _)| site.to_string()).collect();
    let untried: Vec<String> = sync_lines().difference(&tried).cloned().collect();
    println!(
        "{} lines sync, {} were left out one at a time",
        sync_lines().len(),
        tried.len()
    );
    assert_eq!(untried, [""; 0], "syncs that nothing was run without");
}
