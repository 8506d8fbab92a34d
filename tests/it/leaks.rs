//! A thousand lives of one store: open, write, merge, close. Descriptors, threads, maps and files
//! end where they began. The numbers come from the proc file system, so Linux only.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use peercask::{Durability, Merge};

use crate::support::{Place, child, files, hash, ordered, rounds, wait_until};

const CHILD: &str = "PEERCASK_TEST_LEAKS";

/// What a process holds, as the kernel counts it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    maps_of_segments: usize,
}

fn held() -> Held {
    let entries = |dir: &str| fs::read_dir(dir).expect("proc is there").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("proc is there");
    Held {
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        maps_of_segments: maps.lines().filter(|line| line.contains(".cask")).count(),
    }
}

/// What is held when nothing changes any more.
fn settled() -> Held {
    let mut last = held();
    let mut same = 0;
    wait_until("nothing changes", || {
        let now = held();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 10
    });
    last
}

/// Not a test of its own: the child of the one below, alone in its process, so that no other test
/// opens files beside it.
#[test]
fn helper_lives_a_thousand_times() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let place = Place::new();
    let mut first: Option<(Held, usize)> = None;
    for life in 0..rounds(1_000) {
        let options = place.options().durability(Durability::Buffered);
        let store = place.open_with(options.background(life % 4 == 0));
        let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
        for key in 0..12 {
            let key = format!("key {}", (key + life) % 20);
            flat.put(&key, [b'v'; 100]).expect("put");
            sorted.put(&key, [b'v'; 50]).expect("put");
        }
        let kept = flat
            .get(format!("key {}", life % 20))
            .expect("read")
            .expect("there");
        sorted
            .delete(format!("key {}", life % 20))
            .expect("deleted");
        assert_eq!(
            sorted.iter().expect("ordered").flatten().count(),
            sorted.walk().count()
        );
        store
            .merge(if life % 10 == 9 {
                Merge::Full
            } else {
                Merge::Needed
            })
            .expect("merged");
        drop((flat, sorted));
        store.close().expect("closed");
        assert_eq!(kept.len(), 100);
        drop(kept);

        let files_now = files(place.path()).len();
        match &first {
            None if life == 20 => first = Some((settled(), files_now)),
            None => {}
            Some((first, first_files)) => {
                // The kernel lists a joined thread for a moment longer.
                wait_until(
                    &format!("life {life}: {first:?} again, not {:?}", held()),
                    || held() == *first,
                );
                let now = files(place.path());
                assert!(files_now <= first_files + 20, "life {life}: {now:?}");
            }
        }
    }
    assert!(first.is_some());
    println!("\nALL FLAT");
}

#[test]
fn a_thousand_lives_leave_descriptors_threads_maps_and_files_as_they_were() {
    let mut command = child("leaks::helper_lives_a_thousand_times");
    let mut run = command
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let out = BufReader::new(run.stdout.take().expect("piped"));
    let lines: Vec<String> = out.lines().map(|line| line.expect("text")).collect();
    let ended = run.wait().expect("ended");
    assert!(ended.success(), "{}", lines.join("\n"));
    assert!(
        lines.iter().any(|line| line == "ALL FLAT"),
        "{}",
        lines.join("\n")
    );
}
