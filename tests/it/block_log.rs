//! Power cuts of real file systems: ext4, XFS and btrfs over a loop device over a file that logs each
//! block and each flush. Any moment of the log, with any part of what no flush covered, is
//! mounted, and the store on it opened: it holds a prefix of history, everything acknowledged
//! included, and lives on. What the simulated disk claims of disks is tried here on the kernel.
//!
//! Needs root, FUSE, loop devices and the tools that make the file systems, and says so where they are
//! missing. Everything is mounted in a namespace of the child's own, which ends with it.
//! `PEERCASK_ROUNDS` tries more.
#![cfg(all(target_os = "linux", target_endian = "little"))]

mod device;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use peercask::{Durability, Keyspace, Merge, Options, Store, Write};

use crate::support::{Place, Rng, hash, ordered, rounds, skipped};
use device::{Device, Event, Kept, cut, make_file};

const DIR: &str = "PEERCASK_TEST_BLOCK_LOG_DIR";
const FILE_SYSTEM: &str = "PEERCASK_TEST_BLOCK_LOG_FS";
const MIB: u64 = 1 << 20;

/// A file system, how it is made and mounted, and the least that it takes.
struct Kind {
    name: &'static str,
    make: &'static [&'static str],
    mount: &'static str,
    bytes: u64,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "ext4",
        make: &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0"],
        mount: "loop",
        bytes: 16 * MIB,
    },
    Kind {
        name: "ext4-writeback",
        make: &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0"],
        mount: "loop,data=writeback",
        bytes: 16 * MIB,
    },
    Kind {
        name: "xfs",
        make: &["mkfs.xfs", "-q", "-f"],
        mount: "loop",
        bytes: 300 * MIB,
    },
    Kind {
        name: "btrfs",
        make: &["mkfs.btrfs", "-q", "-f"],
        mount: "loop",
        bytes: 120 * MIB,
    },
];

fn run(command: &mut Command) -> Result<(), String> {
    let why = match command.output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!("{}: {why}", command.get_program().display()))
}

/// What the child told, or why there was none.
fn survives_power_cuts(name: &str) -> String {
    let test = format!("real power cuts on {name}");
    let kind = KINDS.iter().find(|kind| kind.name == name).expect("known");
    let place = Place::on_disk();
    let probe = place.file("probe");
    make_file(&probe, kind.bytes);
    if let Err(why) = run(Command::new(kind.make[0]).args(&kind.make[1..]).arg(&probe)) {
        skipped(&test, &why);
        return why;
    }
    // The whole way of mounting, tried by a shell before anything is asked of the store.
    let script = r#"test -r /dev/fuse && mount -o loop "$0" "$1" && umount "$1""#;
    let look = place.file("look");
    fs::create_dir(&look).expect("made");
    let can = run(Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([&probe, &look]));
    if let Err(why) = can {
        skipped(&test, &why);
        return why;
    }
    let ran = Command::new("unshare")
        .arg("--mount")
        .arg(std::env::current_exe().expect("this test has a file"))
        .args(["block_log::helper_cuts_the_power", "--exact", "--nocapture"])
        .args(["--test-threads=1"])
        .env(DIR, place.path())
        .env(FILE_SYSTEM, name)
        .output()
        .expect("unshare ran before");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
    told
}

#[test]
fn power_cuts_of_ext4_leave_a_prefix_of_history() {
    println!("{}", survives_power_cuts("ext4"));
}

#[test]
fn power_cuts_of_ext4_with_data_written_back_late_leave_a_prefix_of_history() {
    println!("{}", survives_power_cuts("ext4-writeback"));
}

#[test]
fn power_cuts_of_xfs_leave_a_prefix_of_history() {
    println!("{}", survives_power_cuts("xfs"));
}

#[test]
fn power_cuts_of_btrfs_leave_a_prefix_of_history() {
    println!("{}", survives_power_cuts("btrfs"));
}

type Content = BTreeMap<(u8, u8), Vec<u8>>;

/// What the store may hold, by how much the device had seen when it came about.
#[derive(Default)]
struct History {
    /// States in order.
    states: Vec<Content>,
    /// From this length of the log on, the state of that number may be found.
    begun: Vec<(usize, usize)>,
    /// From this length on, no older one may.
    acknowledged: Vec<(usize, usize)>,
    /// The length when the work was done; what comes later is the end of the test.
    ended: usize,
}

impl History {
    fn last_at(list: &[(usize, usize)], len: usize) -> Option<usize> {
        let seen = list.iter().take_while(|(at, _)| *at <= len);
        seen.map(|(_, state)| *state).max()
    }

    fn allowed(&self, len: usize) -> &[Content] {
        let least = History::last_at(&self.acknowledged, len).unwrap_or(0);
        let most = History::last_at(&self.begun, len).unwrap_or(0);
        &self.states[least..=most.max(least)]
    }
}

fn options() -> Options {
    Options::default()
        .background(false)
        .segment_bytes(16 << 10)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
        .image_index_bytes(0)
}

fn spaces(store: &Store) -> [Keyspace; 2] {
    [hash(store, "hash"), ordered(store, "ordered")]
}

fn content(store: &Store) -> Content {
    let mut content = Content::new();
    for (number, space) in (0_u8..).zip(spaces(store)) {
        for entry in space.walk() {
            let entry = entry.expect("readable");
            content.insert((number, entry.key[0]), entry.value.to_vec());
        }
    }
    content
}

/// Writes of all kinds, and what they make of the content; `len` is that of the device's log.
fn work(dir: &Path, rng: &mut Rng, len: &dyn Fn() -> usize) -> History {
    let mut history = History::default();
    let mut now = Content::new();
    history.states.push(now.clone());
    let mut store = Store::open(dir, options()).expect("made");
    for step in 0..60_u64 {
        let spaces = spaces(&store);
        let how = [Durability::Kernel, Durability::Kernel, Durability::Device][rng.index(3)];
        let mut batch = store.batch();
        for _ in 0..1 + rng.below(3) {
            let (space, key) = ([0, 1][rng.index(2)], [0, 1, 2, 3, 4, 5][rng.index(6)]);
            if rng.below(4) == 0 {
                batch.delete(&spaces[usize::from(space)], [key]);
                now.remove(&(space, key));
            } else {
                let len = rng.index(1_500);
                let value = [step.to_le_bytes().to_vec(), rng.bytes(len)].concat();
                batch.put(&spaces[usize::from(space)], [key], &value);
                now.insert((space, key), value);
            }
        }
        history.states.push(now.clone());
        let state = history.states.len() - 1;
        history.begun.push((len(), state));
        let commit = batch.commit_with(how).expect("written");
        commit.wait().expect("as durable as asked");
        let synced = match step % 20 {
            7 => store.sync().map(|()| true),
            11 => store.merge(Merge::Full).map(|_| false),
            16 => {
                drop(spaces);
                store.close().expect("closed");
                store = Store::open(dir, options()).expect("opened");
                Ok(true)
            }
            _ => Ok(how == Durability::Device),
        };
        if synced.expect("done") {
            history.acknowledged.push((len(), state));
        }
    }
    history.ended = len();
    history
}

/// Opens what is there, looks, and writes on.
fn judge(dir: &Path, allowed: &[Content], what: &str) {
    let store = Store::open(dir, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(store.recovery().damage, [], "{what}: a cut is no damage");
    let found = content(&store);
    assert!(
        allowed.contains(&found),
        "{what}: found {:?}, none of {} allowed states",
        found.keys().collect::<Vec<_>>(),
        allowed.len()
    );
    let [space, _] = spaces(&store);
    let kernel = Write::new().durability(Durability::Kernel);
    let put = space.put_with([200], "second life", kernel);
    put.and_then(|commit| commit.wait()).expect("it lives on");
    store.close().expect("closed");
}

/// Not a test of its own: runs as a child of those above, in a namespace of its own.
#[test]
fn helper_cuts_the_power() {
    let Some(root) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let name = std::env::var(FILE_SYSTEM).expect("set with the directory");
    let kind = KINDS.iter().find(|kind| kind.name == name).expect("known");
    let mount = |image: &Path, at: &Path| {
        run(Command::new("mount")
            .args(["-o", kind.mount])
            .arg(image)
            .arg(at))
    };
    let unmount = |at: &Path| run(Command::new("umount").arg(at)).expect("unmounted");
    let mut rng = Rng::new(77);
    let (backing, base) = (root.join("backing"), root.join("probe"));
    copy_with_holes(&base, &backing);
    let device = Device::mount(&backing, &root.join("disk")).expect("the device");
    let (live, look) = (root.join("live"), root.join("look"));
    fs::create_dir(&live).expect("made");
    mount(&device.path, &live).expect("mounted");
    let history = work(&live.join("store"), &mut rng, &|| device.len());
    unmount(&live);
    let mut events = device.unmount();
    events.truncate(history.ended);
    let len = events.len();
    let flushes = events
        .iter()
        .filter(|event| matches!(event, Event::Flush))
        .count();
    let acknowledged = history.acknowledged.len();
    assert!(
        flushes > 30 && acknowledged > 10,
        "a device that sees no flush proves nothing: {flushes}, {acknowledged}"
    );
    let state = root.join("state");
    let cuts = rounds(24);
    for number in 0..cuts {
        let kept = [Kept::Nothing, Kept::Some, Kept::Some, Kept::Everything][rng.index(4)];
        let count = rng.index(len + 1);
        let what = format!("{name}, cut {number} after {count} of {len} calls, {kept:?} kept");
        copy_with_holes(&base, &state);
        cut(&state, &events, count, kept, &mut rng);
        mount(&state, &look).unwrap_or_else(|error| panic!("{what}: {error}"));
        judge(&look.join("store"), history.allowed(count), &what);
        unmount(&look);
    }
    println!(
        "\nDONE: {cuts} power cuts, {len} calls with {flushes} flushes, {acknowledged} acknowledgements"
    );
}

fn copy_with_holes(from: &Path, to: &Path) {
    let copied = run(Command::new("cp").arg("--sparse=always").args([from, to]));
    copied.expect("copied");
}
