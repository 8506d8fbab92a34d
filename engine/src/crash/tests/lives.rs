//! Single promises under the crash lab, each in a small program of its own.

use std::sync::Arc;
use std::time::Duration;

use super::times;
use crate::crash::machine::{keyspace, options};
use crate::crash::{
    Case, Cut, Directory, Explorer, Failure, Fault, Operation, OsDirectory, Outcome, Report,
    SimDisk, Verdict, Workload,
};
use crate::merge::Merge;
use crate::options::{Durability, Write};
use crate::store::Store;

fn explorer() -> Explorer<'static> {
    Explorer::new().states(3_000 * times()).depth(1)
}

fn workloads(texts: &[&str]) -> Vec<Workload> {
    texts
        .iter()
        .map(|text| text.parse().expect("steps"))
        .collect()
}

#[test]
fn many_records_of_one_sync_have_no_holes() {
    let texts = [
        "p0.1.30k,p0.2.300k,p1.1.90k,p0.3.700k,p1.2.40k,p0.4.20k,p1.3.600k,p0.5.9k,s",
        "p0.1.600b,p0.2.600b,p0.3.600b,f,p1.1.600b,p1.2.600b,p1.3.600b,p0.4.600b,i",
        "b+0.1+0.2+0.3+0.4+0.5+1.1+1.2+1.3d,b+0.1+0.2+0.3+0.4+0.5+1.1+1.2+1.3d",
    ];
    explorer()
        .whole_up_to(512)
        .samples(40)
        .workloads(&workloads(&texts))
        .assert_survived(1_000);
}

#[test]
fn a_batch_over_a_roll_is_whole_or_absent() {
    let texts = [
        "p0.1.880d,p0.2.880d,p0.3.880d,p0.4.700d,b+0.1+0.2+0.3+1.1+1.2-0.4d,d0.1d",
        "p0.1.880k,p0.2.880k,p0.3.880k,p0.4.700k,b+0.1+0.2+0.3+1.1+1.2-0.4k,b-0.1-0.2+1.3b,s",
    ];
    explorer()
        .samples(40)
        .workloads(&workloads(&texts))
        .assert_survived(800);
}

#[test]
fn creation_and_the_first_segment_may_break_off_at_every_call_and_so_may_recovery() {
    let texts = ["s", "p0.1.700d,r,p0.2.700d", "x0,p2.1.30b,r,s"];
    let report = explorer()
        .states(u64::MAX)
        .whole_up_to(256)
        .samples(12)
        .depth(2)
        .recovery_samples(Some(4))
        .workloads(&workloads(&texts));
    println!("{report}");
    report.assert_survived(500);
}

#[test]
fn a_merge_may_break_off_at_every_call_with_every_input_there_or_not() {
    let texts = [
        "p0.1.300d,p1.1.300d,r,d0.1d,p1.2.30d,r,p0.2.40d,r,M,p0.3.10d",
        "p0.1.700d,r,d0.1d,r,m,M,m",
    ];
    let report = explorer()
        .states(u64::MAX)
        .whole_up_to(600)
        .samples(30)
        .workloads(&workloads(&texts));
    println!("{report}");
    report.assert_survived(500);
}

/// One record whose bytes reach the medium one by one, in any order.
#[test]
fn a_record_torn_at_any_byte_is_whole_or_absent() {
    let report = explorer().depth(0).samples(40).explore(
        |run| {
            let store = run.open(options())?;
            let space = keyspace(&store, 0)?;
            space.put("first", "here")?;
            run.note(1);
            run.disk().set_sector_len(1);
            space.put("second", [0x5A; 20])?;
            run.note(2);
            // Nothing more is written: close would write with the same sectors.
            Ok(())
        },
        |crashed| {
            let store = crashed.open(options())?;
            let Ok(space) = store.existing_keyspace("hash") else {
                return if crashed.notes().is_empty() {
                    Ok(())
                } else {
                    Err("lost".into())
                };
            };
            for (note, (key, value)) in
                (1..).zip([("first", &b"here"[..]), ("second", &[0x5A; 20])])
            {
                let found = space.get(key)?;
                let acknowledged = crashed.notes().contains(&note);
                if found.as_deref() != Some(value) && (acknowledged || found.is_some()) {
                    return Err(format!("{key} is {found:?}").into());
                }
            }
            match store
                .recovery()
                .damage
                .first()
                .filter(|_| !crashed.notes().is_empty())
            {
                Some(damage) => Err(format!("{damage:?}").into()),
                None => Ok(()),
            }
        },
    );
    println!("{report}");
    report.assert_survived(1_000);
}

#[test]
fn close_makes_everything_durable() {
    let report = explorer().explore(
        |run| {
            for life in 0..3_u8 {
                let store = run.open(options())?;
                let space = keyspace(&store, 1)?;
                for key in 0..4_u8 {
                    let weak = Write::new().durability(Durability::Buffered);
                    space.put_with([life, key], "value", weak)?.wait()?;
                }
                drop(space);
                store.close()?;
                run.note(life);
            }
            Ok(())
        },
        |crashed| {
            let store = crashed.open(options())?;
            for life in crashed.notes() {
                let space = store.existing_keyspace("ordered")?;
                assert_eq!(space.prefix([*life])?.count(), 4, "life {life}");
            }
            Ok(())
        },
    );
    report.assert_survived(300);
}

/// Another thread's sync covers what this one wrote, also while writers are at it.
#[test]
fn a_sync_of_one_thread_makes_the_writes_of_others_durable() {
    let disk = SimDisk::new(5);
    let store = Store::open_on(&disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    for round in 0..20_u8 {
        let weak = || Write::new().durability(Durability::Buffered);
        let before = space.put_with([round], "before", weak());
        drop(before.expect("put"));
        crate::sync::thread::scope(|scope| {
            scope.spawn(|| {
                for key in 0..20_u8 {
                    let put = space.put_with([round, key], [key; 90], weak());
                    drop(put.expect("put"));
                }
            });
            let synced = scope.spawn(|| store.sync());
            synced.join().expect("no panic").expect("synced");
            let after = disk.crash_losing_all();
            let store = Store::open_on(&after, options()).expect("opens");
            let space = keyspace(&store, 0).expect("there");
            for earlier in 0..=round {
                let found = space.get([earlier]).expect("read");
                assert_eq!(
                    found.as_deref(),
                    Some(&b"before"[..]),
                    "{earlier} of {round}"
                );
            }
        });
    }
}

#[test]
fn leftovers_of_every_kind_are_removed_and_foreign_files_are_not_touched() {
    let disk = SimDisk::new(1);
    let store = Store::open_on(&disk, options()).expect("opened");
    keyspace(&store, 0)
        .expect("made")
        .put("k", "v")
        .expect("put");
    store.close().expect("closed");
    let leftovers = [
        "manifest-a.tmp",
        "manifest-b.tmp",
        "keydir-a.tmp",
        "keydir-b.tmp",
        "CHECKPOINT.tmp",
        "seg-00000000000000ff.cask.tmp",
        "hint-00000000000000ff.cask.tmp",
        "hint-00000000000000fe.cask",
    ];
    let foreign = [
        "notes.txt",
        "seg-1.cask",
        "hint-00000000000000FF.cask",
        ".hidden",
    ];
    for name in leftovers.iter().chain(&foreign) {
        disk.put_file(name, b"left by somebody");
    }
    let store = Store::open_on(&disk, options()).expect("opens");
    let names: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
    assert!(
        leftovers
            .iter()
            .all(|name| !names.iter().any(|found| found == name)),
        "{names:?}"
    );
    for name in foreign {
        assert_eq!(
            disk.bytes_of(name).expect("kept"),
            b"left by somebody",
            "{name}"
        );
    }
    let space = keyspace(&store, 0).expect("there");
    assert_eq!(space.get("k").expect("read").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_reader_keeps_what_it_was_lent_and_a_snapshot_what_it_saw_across_a_merge() {
    let disk = SimDisk::new(1);
    let store = Store::open_on(&disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    space.put("k", [1; 700]).expect("put");
    store.rotate().expect("sealed");
    let lent = space.get("k").expect("read").expect("there");
    let seen = store.snapshot().expect("taken");
    space.put("k", [2; 700]).expect("put");
    store.merge(Merge::Full).expect("merged");
    assert_eq!(&*lent, &[1; 700][..], "lent bytes stay");
    let old = seen.get(&space, "k").expect("read");
    assert_eq!(
        old.as_deref(),
        Some(&[1; 700][..]),
        "the snapshot's version stays"
    );
    for after in [disk.crash_losing_all(), disk.crash(&Cut::Kill)] {
        let store = Store::open_on(&after, options()).expect("opens");
        let space = keyspace(&store, 0).expect("there");
        let found = space.get("k").expect("read");
        assert_eq!(
            found.as_deref(),
            Some(&[2; 700][..]),
            "a crash ends the snapshot"
        );
    }
}

/// Back a year, forward a century, at the epoch, stuck: what has expired stays expired, what has
/// not is there, across crashes too.
#[test]
fn a_clock_that_steps_revives_nothing_and_loses_nothing() {
    let year = 365 * 24 * 3_600_000_i64;
    for (step, epoch) in [(-year, false), (100 * year, false), (0, true), (0, false)] {
        let report = explorer().states(400).explore(
            move |run| {
                let store = run.open(options())?;
                let space = keyspace(&store, 0)?;
                space.put("stays", "here")?;
                let short = Write::new().ttl(Duration::from_secs(5));
                space.put_with("goes", "soon", short)?.wait()?;
                run.note("put");
                run.disk().clock().advance(Duration::from_secs(10));
                store.background_step(crate::crash::Background::Work)?;
                run.note("over");
                match epoch {
                    true => run.disk().clock().set_wall_ms(0),
                    false => run.disk().clock().step_wall_ms(step),
                }
                store.merge(Merge::Full)?;
                space.put("last", "word")?;
                run.note("stepped");
                Ok(())
            },
            |crashed| {
                let store = crashed.open(options())?;
                for note in crashed.notes() {
                    let space = store.existing_keyspace("hash")?;
                    let (stays, goes) = (space.get("stays")?, space.get("goes")?);
                    assert_eq!(stays.as_deref(), Some(&b"here"[..]), "{note}");
                    if *note == "stepped" {
                        assert_eq!(goes, None, "expired for good");
                    }
                }
                Ok(())
            },
        );
        report.assert_survived(50);
    }
}

/// An application that keeps a file of its own in step with the store: the file is renamed only
/// after what it speaks of is durable.
fn with_a_file_of_its_own(careful: bool) -> Report {
    let program = move |run: &crate::crash::Run<u8>| -> Outcome {
        let store = run.open(options())?;
        let space = keyspace(&store, 0)?;
        let files = run.directory("mine");
        for n in 1..4_u8 {
            let durability = if careful {
                Durability::Device
            } else {
                Durability::Kernel
            };
            let write = Write::new().durability(durability);
            space.put_with("count", [n], write)?.wait()?;
            files.write("count.tmp", &[n])?;
            files.sync_file("count.tmp")?;
            files.rename("count.tmp", "count")?;
            files.sync()?;
            run.note(n);
        }
        Ok(())
    };
    let check = |crashed: &crate::crash::Crashed<'_, u8>| -> Outcome {
        let store = crashed.open(options())?;
        let said = crashed
            .directory("mine")
            .read("count")
            .map_or(0, |bytes| bytes[0]);
        let space = store.keyspace("hash", crate::options::KeyspaceOptions::hash())?;
        let held = space.get("count")?.map_or(0, |value| value[0]);
        assert!(held >= said, "the file says {said}, the store holds {held}");
        assert!(
            Some(&said) >= crashed.notes().last(),
            "the file itself is acknowledged"
        );
        Ok(())
    };
    Explorer::new()
        .states(1_500)
        .depth(1)
        .explore(program, check)
}

#[test]
fn a_program_with_files_of_its_own_is_tried_as_a_whole() {
    with_a_file_of_its_own(true).assert_survived(500);
    let report = with_a_file_of_its_own(false);
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
}

#[test]
fn a_violation_is_shrunk_told_and_replayed() {
    let program = |run: &crate::crash::Run<u8>| -> Outcome {
        let files = run.directory("");
        files.append("log", &[1; 100])?;
        files.append("log", &[2; 100])?;
        files.sync_file("log")?;
        run.note(1);
        Ok(())
    };
    let check = |crashed: &crate::crash::Crashed<'_, u8>| -> Outcome {
        let found = crashed.directory("").read("log").unwrap_or_default();
        assert!(
            crashed.notes().is_empty() || found.len() == 200,
            "{} bytes",
            found.len()
        );
        Ok(())
    };
    // The run ends with the sync: there is no later call, so one more is made.
    let program = |run: &crate::crash::Run<u8>| -> Outcome {
        program(run)?;
        Ok(run.directory("").append("other", b"x")?)
    };
    let report = Explorer::new().states(200).explore(program, check);
    let violation = report.violations.first().expect("the name was not synced");
    assert!(
        violation.story.contains("lost: the entry of log"),
        "{}",
        violation.story
    );
    assert!(violation.test.contains(&violation.case.to_string()));
    let case: Case = violation.case.to_string().parse().expect("a case");
    let again = Explorer::new().replay_of(&case, program, check);
    assert_eq!(again.violations.len(), 1, "{again}");
    assert_eq!(again.states, 1);
}

#[test]
fn a_run_that_measured_nothing_is_not_taken_for_a_pass() {
    let idle = Explorer::new().explore::<u8>(|_| Ok(()), |_| Ok(()));
    assert_eq!(idle.verdict(), Verdict::NotMeasured);
    let none = Explorer::new().states(0).run();
    assert_eq!(none.verdict(), Verdict::NotMeasured);
    let case: Case = "v1:1:s:none:99999.k".parse().expect("a case");
    let nowhere = Explorer::new().replay(&case).expect("a built-in workload");
    assert_eq!(nowhere.verdict(), Verdict::NotMeasured);
}

#[test]
fn the_time_and_the_listener_end_an_exploration() {
    let mut told = 0;
    let report = Explorer::new()
        .states(u64::MAX)
        .on_progress(|progress| {
            told += 1;
            match progress.states {
                0..100 => std::ops::ControlFlow::Continue(()),
                _ => std::ops::ControlFlow::Break(()),
            }
        })
        .run();
    assert!((100..400).contains(&report.states), "{}", report.states);
    let short = Explorer::new()
        .states(u64::MAX)
        .time(Duration::from_millis(50))
        .run();
    assert!(short.budget_used && short.verdict() == Verdict::Survived);
    assert!(told > 3);
}

#[test]
fn a_disk_is_saved_and_brought_back_and_the_real_directory_has_the_same_face() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = SimDisk::new(1);
    let store = Store::open_on(&disk, options()).expect("opened");
    keyspace(&store, 0)
        .expect("made")
        .put("k", "v")
        .expect("put");
    disk.directory("mine").write("note", b"x").expect("written");
    disk.crash(&Cut::Kill).save_to(dir.path()).expect("saved");
    let back = SimDisk::load_from(dir.path(), 2).expect("loaded");
    assert_eq!(back.files().len(), disk.files().len());
    assert_eq!(back.directory("mine").read("note").expect("there"), b"x");
    let store = Store::open_on(&back.in_directory("elsewhere"), options()).expect("another");
    assert!(store.recovery().created);
    let real = OsDirectory::open(dir.path().join("real")).expect("made");
    let faces: [Arc<dyn Directory>; 2] = [Arc::new(real), Arc::new(disk.directory("face"))];
    for face in faces {
        face.append("f", b"one").expect("appended");
        face.append("f", b"two").expect("appended");
        face.write_at("f", b"T", 3).expect("written");
        face.sync_file("f").expect("synced");
        face.rename("f", "g").expect("renamed");
        face.sync().expect("synced");
        assert_eq!(face.read("g").expect("there"), b"oneTwo");
        face.set_len("g", 3).expect("cut");
        assert_eq!(face.read("g").expect("there"), b"one");
        assert_eq!(face.list().expect("listed"), ["g"]);
        face.remove("g").expect("removed");
        assert!(face.read("g").is_err());
    }
    let fault = Fault::new(Operation::Write, Failure::QuotaExceeded);
    disk.set_faults(&[fault]);
    let refused = disk
        .directory("mine")
        .write("more", b"x")
        .expect_err("as told");
    assert_eq!(refused.kind(), std::io::ErrorKind::QuotaExceeded);
}
