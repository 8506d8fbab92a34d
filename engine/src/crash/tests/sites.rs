//! Every line of the engine that changes the disk is crashed at, and every sync is needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::crash::history::History;
use crate::crash::judge::{Effort, Judge, Tally};
use crate::crash::machine;
use crate::crash::program::Run;
use crate::crash::trace::{Setting, record};
use crate::crash::{Explorer, Failure, Fault, Operation, Step, Workload};
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

/// Lines that nothing here can reach, with the reason.
const ELSEWHERE: [(&str, &str); 5] = [
    (
        "repair.rs",
        "writes a new store, marked unfinished until whole: tests/it/damage/salvage.rs",
    ),
    (
        "segment/base.rs",
        "gives the reserve back at a space cap: looked at after every call in room.rs",
    ),
    (
        "recovery/repair.rs",
        "copies a torn file that somebody linked: tests/it/torn.rs",
    ),
    (
        "recovery/image.rs",
        "removes the images of a store that is damaged: tests/it/keydir_image.rs",
    ),
    ("mutant", "put in by a mutant"),
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
            let calls = CALLS.iter().any(|call| code.contains(call));
            let makes = code.contains("disk.open(")
                && (code.contains("How::CreateNew") || code.contains("How::Replace"));
            if (calls || makes) && !code.starts_with("//") && !code.contains("_mutant") {
                lines.insert(format!("{path}:{number}"));
            }
        }
    }
    lines
}

/// Runs a workload and crashes it after the first call of every line that was not crashed at
/// before; `depth` 1 does the same for recoveries.
fn crash_at_new_lines(
    (workload, faults, capacity): (&Workload, &[Fault], Option<usize>),
    depth: u32,
    reached: &mut BTreeSet<String>,
) {
    let reserved = capacity.map_or(0, |_| 1_000);
    let program = |run: &Run<Arc<History>>| {
        run.disk().set_capacity(capacity);
        machine::run_with(workload, run, machine::options().reserve_bytes(reserved))?;
        if workload.steps.contains(&Step::Checkpoint) {
            // Opened, a checkpoint becomes a store of its own.
            Store::open_on(&run.disk().in_directory("copy"), machine::options())?.close()?;
        }
        Ok(())
    };
    let setting = Setting {
        seed: 1,
        faults: faults.to_vec(),
        sector_len: 512,
        deaf: None,
    };
    let trace = record(&setting, &program);
    let mut tally = Tally::default();
    let mut judge = Judge {
        check: &machine::check,
        notes: &trace.notes,
        note_key: &machine::note_key,
        faulty: true,
        deaf: None,
        effort: Effort {
            whole_up_to: 0,
            samples: 3,
            depth,
            recovery_samples: None,
            torn: false,
        },
        tally: &mut tally,
    };
    let mut dice = Dice::new(1);
    for point in &trace.points {
        let site = point.state.last.as_ref().and_then(|call| call.site);
        let is_new = site.is_some_and(|site| !reached.contains(&site.to_string()));
        if !is_new && depth == 0 {
            continue;
        }
        let at = judge.point(point, 0, &mut dice, &mut |_| true);
        if let Some(bad) = at.bad.first() {
            panic!(
                "{workload} {faults:?} {capacity:?} {:?}: {}",
                bad.path, bad.what
            );
        }
        reached.extend(site.map(|site| site.to_string()));
    }
    let crashed = tally.sites.iter().filter(|(_, site)| site.crashed > 0);
    reached.extend(crashed.map(|((site, _), _)| site.to_string()));
}

#[test]
fn every_line_that_changes_the_disk_is_crashed_at() {
    let wanted = lines();
    assert!(
        wanted.len() > 25,
        "the search for lines is broken: {wanted:?}"
    );
    let workload: Workload =
        "p0.1.700d,p1.2.400k,r,p0.1.900b,s,M,d1.2d,p0.4.30k,r,m,M,o,p0.5.40d,x0"
            .parse()
            .expect("steps");
    let mut reached = BTreeSet::new();
    crash_at_new_lines((&workload, &[], None), 1, &mut reached);
    let copied = "p0.1.700d,c,p0.2.700d,p1.1.40d,M,c".parse().expect("steps");
    crash_at_new_lines((&copied, &[], None), 0, &mut reached);
    for capacity in (0..12_000).step_by(97) {
        crash_at_new_lines((&workload, &[], Some(capacity)), 0, &mut reached);
    }
    let operations = [
        Operation::Create,
        Operation::Write,
        Operation::Reserve,
        Operation::Resize,
        Operation::Sync,
        Operation::Rename,
    ];
    let two_outputs = "p0.1.700d,p0.2.600t90d,r,M".parse().expect("steps");
    for (workload, calls) in [(&workload, 40), (&two_outputs, 60)] {
        for (operation, after) in operations
            .iter()
            .flat_map(|op| (0..calls).map(|n| (*op, n)))
        {
            let fault = Fault::new(operation, Failure::StorageFull).after(after);
            crash_at_new_lines((workload, &[fault], None), 0, &mut reached);
        }
    }
    // No links here: segments are copied.
    let no_links = Fault::new(Operation::Link, Failure::PermissionDenied).for_good(true);
    crash_at_new_lines((&copied, &[no_links], None), 0, &mut reached);
    for after in 0..40 {
        let full = Fault::new(Operation::Sync, Failure::StorageFull).after(after);
        crash_at_new_lines((&copied, &[no_links, full], None), 0, &mut reached);
    }
    let elsewhere = |line: &&String| ELSEWHERE.iter().any(|(path, _)| line.starts_with(path));
    let missing: Vec<_> = wanted
        .difference(&reached)
        .filter(|line| !elsewhere(line))
        .collect();
    println!(
        "{} lines change the disk, {} were crashed at",
        wanted.len(),
        reached.len()
    );
    assert_eq!(missing, [""; 0], "lines that no crash came after");
}

#[test]
fn every_sync_is_needed() {
    let report = Explorer::new()
        .seed(1)
        .states(2_000)
        .depth(1)
        .sync_coverage(true)
        .run();
    // A kill in a merge, then a power cut in recovery: too rare for the dice.
    let merging = "p0.1.700d,r,p0.1.700d,r,M".parse().expect("steps");
    let whole = Explorer::new()
        .states(600)
        .whole_up_to(64)
        .samples(2)
        .depth(1)
        .recovery_samples(None)
        .sync_coverage(true)
        .workloads(&[merging]);
    let mut useless = Vec::new();
    println!("| line | calls | crashes | states without it | not held | first |");
    for ((site, operation), found) in &report.sites {
        let Some(without) = &found.without else {
            continue;
        };
        println!(
            "| {site} {operation} | {} | {} | {} | {} | {} |",
            found.calls,
            found.crashed,
            without.states,
            without.bad,
            without
                .first
                .map_or("-".to_owned(), |first| first.to_string())
        );
        let there = whole.sites.get(&(*site, *operation));
        let also = there.and_then(|found| found.without.as_ref());
        // A cache: torn, it is known by its checksum and the hints are read. The sync only makes
        // the next open fast after a power cut too.
        let cache = site.to_string().starts_with("image.rs");
        if !cache && without.bad + also.map_or(0, |without| without.bad) == 0 {
            useless.push(format!("{site} {operation}"));
        }
    }
    assert_eq!(useless, [""; 0], "syncs without which nothing went wrong");
}
