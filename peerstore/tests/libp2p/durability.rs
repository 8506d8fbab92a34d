//! What survives: the crash lab, cuts at every byte, full and failing disks, damage, a second process, and
//! closing.

use std::path::Path;

use libp2p_core::Multiaddr;
use peercask::crash::{Cut, Explorer, Failure, Fault, Operation, SimDisk};
use peercask_peerstore::libp2p::{Acknowledge, ErrorKind, Options, Peer, PeerData, Peerstore, Ttl};

use crate::common::seeds;
use crate::support::{Backend, Place, addr, addrs, assert_addrs, key, peer};

pub(crate) fn quiet() -> Options {
    let clock = std::sync::Arc::new(peercask::ManualClock::new(crate::support::NOW_MS));
    Options::default().background(false).clock(clock)
}

fn engine() -> peercask::Options {
    peercask::Options::default()
        .background(false)
        .sync_interval(None)
}

/// A change that says its number in every book: addresses, protocols, metadata, keys.
pub(crate) fn tell(
    peers: &Peerstore,
    who: Peer,
    number: u64,
) -> peercask_peerstore::libp2p::Result<()> {
    peers.update(who, |peer| {
        peer.set_addrs(&addrs(0..2), Ttl::PERMANENT);
        peer.put_metadata("number", number)?;
        peer.set_protocols(&[format!("/{number}")])?;
        let own = addr(1_000 + usize::try_from(number).expect("small"));
        let old: Vec<Multiaddr> = peer
            .addresses()
            .iter()
            .map(|a| a.addr.clone())
            .filter(|a| !addrs(0..2).contains(a))
            .collect();
        peer.set_addrs(&old, Ttl::NONE);
        peer.add_addrs(&[own], Ttl::PERMANENT);
        match number % 2 {
            0 => peer.clear_keys(),
            _ => peer.add_public_key(&key(1).public().encode_protobuf()),
        }
    })
}

/// The number that all books of a peer say; none for a peer that is not known.
pub(crate) fn told(data: Option<&PeerData>) -> Result<u64, String> {
    let Some(data) = data else { return Ok(0) };
    let numbers = data.metadata.get("number").cloned();
    let Some(peercask_peerstore::libp2p::MetadataValue::U64(number)) = numbers else {
        return Err(format!("no number: {data:?}"));
    };
    let own = addr(1_000 + usize::try_from(number).expect("small"));
    let whole = data.protocols == [format!("/{number}")].into()
        && data.addresses.len() == 3
        && data.addrs().any(|addr| *addr == own)
        && data.public_key.is_some() == (number % 2 == 1);
    if whole {
        Ok(number)
    } else {
        Err(format!("mixed: {data:?}"))
    }
}

/// Over at least so many different ends a change of many books must be whole or absent: states of the disk in one
/// test, bytes of the log at which the process may die in the other.
const KILL_POINTS_MIN: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
enum Note {
    Begun(u64),
    Done(u64, Acknowledge),
}

/// Every legal crash after every call that changes the disk: an update of several books is old or new in all of
/// them, what was acknowledged is there, and two peers that changed together did so.
#[test]
fn after_any_legal_crash_a_change_of_many_books_is_whole_or_absent() {
    // States that a crash may leave, of which no two are the same, and the calls after which it came.
    let (mut states, mut points) = (0, 0);
    for seed in seeds(2) {
        let report = Explorer::new().seed(seed).states(600).explore(
            |run| {
                let store = run.open(engine())?;
                for acknowledge in [Acknowledge::Kernel, Acknowledge::Device] {
                    let peers = Peerstore::on(&store, quiet().acknowledge(acknowledge))?;
                    let first = if acknowledge == Acknowledge::Kernel {
                        1
                    } else {
                        5
                    };
                    for number in first..first + 4 {
                        run.note(Note::Begun(number));
                        tell(&peers, peer(1), number)?;
                        peers.update_many(&[peer(2), peer(3)], |both| {
                            both.iter_mut()
                                .try_for_each(|one| one.put_metadata("both", number))
                        })?;
                        run.note(Note::Done(number, acknowledge));
                    }
                    peers.close()?;
                }
                Ok(())
            },
            |crashed| {
                let store = crashed.open(engine())?;
                let peers = Peerstore::on(&store, quiet())?;
                if !peers.damaged().is_empty() {
                    return Err(format!("damage: {:?}", peers.damaged()).into());
                }
                let number = told(peers.get(peer(1))?.as_ref())?;
                let both = |who: u8| peers.metadata(peer(who), "both").ok();
                if both(2) != both(3) {
                    return Err(format!("a batch is torn: {:?} {:?}", both(2), both(3)).into());
                }
                let (mut least, mut most) = (0, 0);
                for note in crashed.notes() {
                    match *note {
                        Note::Begun(number) => most = number,
                        Note::Done(number, acknowledge) => {
                            if crashed.was_killed() || acknowledge == Acknowledge::Device {
                                least = number;
                            }
                        }
                    }
                }
                if !(least..=most).contains(&number) {
                    return Err(format!("{number} is not between {least} and {most}").into());
                }
                // And it goes on.
                tell(&peers, peer(1), 99)?;
                told(peers.get(peer(1))?.as_ref())?;
                Ok(())
            },
        );
        let report = report.assert_survived(600);
        states += report.states;
        points += report.points;
    }
    let few = seeds(2).end < 2;
    assert!(
        few || states >= KILL_POINTS_MIN && points > 50,
        "{states} states after {points} calls"
    );
}

/// The log is cut at every byte of a change, short and filled with zeros: the old state or the new one.
#[test]
fn cut_at_any_byte_a_change_of_many_books_is_old_or_new() {
    let disk = SimDisk::new(9);
    let small = || engine().segment_bytes(1 << 20).reserve_bytes(0);
    let store = peercask::Store::open_on(&disk, small()).expect("opened");
    let peers = Peerstore::on(&store, quiet()).expect("opened");
    tell(&peers, peer(1), 1).expect("told");
    let mut points = 0;
    for number in 2..6 {
        let before = disk.crash(&Cut::Kill);
        tell(&peers, peer(1), number).expect("told");
        let after = disk.crash(&Cut::Kill);
        let (file, bytes, from, to) = difference(&before, &after);
        for cut in from..=to {
            points += 1;
            for filled in [false, true] {
                let hit = after.crash(&Cut::Kill);
                let mut kept = bytes.clone();
                kept.truncate(cut);
                if filled {
                    kept.resize(bytes.len(), 0);
                }
                hit.put_file(&file, &kept);
                let store = peercask::Store::open_on(&hit, small()).expect("open always succeeds");
                let left = Peerstore::on(&store, quiet()).expect("open always succeeds");
                let found = told(left.get(peer(1)).expect("readable").as_ref()).expect("whole");
                assert!(
                    found == number || found == number - 1,
                    "cut at {cut}: {found}"
                );
                // All of it is there, zeros at its end included.
                assert!(
                    cut < to || !filled || found == number,
                    "cut at {cut}: {found}"
                );
            }
        }
    }
    assert!(points >= KILL_POINTS_MIN, "{points} points");
}

/// The one file that differs between two disks, its bytes now, and from where to where.
fn difference(before: &SimDisk, after: &SimDisk) -> (String, Vec<u8>, usize, usize) {
    for (name, _) in after.files() {
        let new = after.bytes_of(&name).expect("read");
        let mut old = before.bytes_of(&name).unwrap_or_default();
        old.resize(new.len(), 0);
        if let Some(from) = (0..new.len()).find(|at| old[*at] != new[*at]) {
            let to = (0..new.len())
                .rev()
                .find(|at| old[*at] != new[*at])
                .map_or(from, |at| at + 1);
            return (name, new, from, to);
        }
    }
    panic!("something was written")
}

#[test]
fn with_device_what_is_acknowledged_survives_a_power_cut_and_sync_makes_it_so() {
    for (acknowledge, synced, there) in [
        (Acknowledge::Device, false, true),
        (Acknowledge::Kernel, true, true),
        (Acknowledge::Kernel, false, false),
    ] {
        let disk = SimDisk::new(7);
        let store = peercask::Store::open_on(&disk, engine()).expect("opened");
        let peers = Peerstore::on(&store, quiet().acknowledge(acknowledge)).expect("opened");
        peers.sync().expect("synced");
        peers
            .add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT)
            .expect("added");
        if synced {
            peers.sync().expect("synced");
        }
        let after = disk.crash_losing_all();
        let store = peercask::Store::open_on(&after, engine()).expect("opens");
        let peers = Peerstore::on(&store, quiet()).expect("opens");
        assert_eq!(peers.has_peer(peer(1)), there, "{acknowledge:?} {synced}");
    }
}

#[test]
fn a_disk_that_is_full_or_fails_is_an_error_and_memory_stays_as_it_was() {
    for failure in [Failure::StorageFull, Failure::Io] {
        let disk = SimDisk::new(3);
        let store = peercask::Store::open_on(&disk, engine().reserve_bytes(0)).expect("opened");
        let peers = Peerstore::on(&store, quiet()).expect("opened");
        peers
            .add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT)
            .expect("added");
        let faults = [Operation::Write, Operation::Reserve, Operation::Create]
            .map(|operation| Fault::new(operation, failure).for_good(true));
        disk.set_faults(&faults);
        // Space that was set aside may take some; then it shows.
        let mut refused = None;
        for number in 2..200 {
            if let Err(error) = peers.add_addrs(peer(number), &addrs(0..60), Ttl::PERMANENT) {
                refused = Some((number, error));
                break;
            }
        }
        let (number, error) = refused.expect("it shows");
        let kind = if failure == Failure::StorageFull {
            ErrorKind::StorageFull
        } else {
            ErrorKind::Io
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            !peers.has_peer(peer(number))
                && peers.addrs(peer(number)).expect("readable").is_empty()
        );
        assert_addrs(&peers, peer(1), &addrs(0..1));
        let fails = peers.set_addrs(peer(1), &addrs(5..6), Ttl::PERMANENT);
        assert!(fails.is_err());
        assert_addrs(&peers, peer(1), &addrs(0..1));
        disk.set_faults(&[]);
        peers
            .add_addrs(peer(1), &addrs(1..2), Ttl::PERMANENT)
            .expect("there is space again");
        assert_addrs(&peers, peer(1), &addrs(0..2));
    }
}

#[test]
fn what_cannot_be_decoded_is_kept_aside_counted_and_the_rest_served() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = peercask::Store::open(dir.path(), engine()).expect("opened");
    let peers = Peerstore::on(&store, quiet()).expect("opened");
    for number in 0..10 {
        tell(&peers, peer(number), 2).expect("told");
    }
    peers.close().expect("closed");
    let addresses = store.existing_keyspace("libp2p-addresses").expect("there");
    let books = store.existing_keyspace("libp2p-books").expect("there");
    addresses.put(peer(3).as_bytes(), [1, 255, 7]).expect("put");
    addresses
        .put([7; 200], [1])
        .expect("a name that is too long");
    books.put(peer(4).as_bytes(), [1, 9, 9, 9]).expect("put");
    let refused = Peerstore::on(&store, quiet().strict(true)).expect_err("strict");
    assert_eq!(refused.kind(), ErrorKind::Corrupted);
    addresses.put(peer(3).as_bytes(), [1, 255, 7]).expect("put");
    let peers = Peerstore::on(&store, quiet()).expect("opens");
    assert!(!peers.damaged().is_empty() && peers.stats().unreadable > 0);
    assert!(!peers.has_peer(peer(3)) && peers.count() == 9);
    for number in [0, 1, 2, 5, 6, 7, 8, 9] {
        assert_eq!(
            told(peers.get(peer(number)).expect("readable").as_ref()),
            Ok(2)
        );
    }
    assert_eq!(
        peers.protocols(peer(4)).expect_err("cut").kind(),
        ErrorKind::Corrupted
    );
    assert_eq!(peers.addrs(peer(4)).expect("readable").len(), 3);
    let aside = store.existing_keyspace("libp2p-unreadable").expect("there");
    let key = [b"a", peer(3).as_bytes()].concat();
    assert_eq!(
        aside.get(key).expect("readable").as_deref(),
        Some(&[1, 255, 7][..])
    );
    // Written anew, also beside what was kept.
    tell(&peers, peer(3), 4).expect("told");
    tell(&peers, peer(4), 6).expect("told");
    let key = [b"b", peer(4).as_bytes()].concat();
    assert!(aside.contains(key).expect("readable"));
    assert_eq!(told(peers.get(peer(4)).expect("readable").as_ref()), Ok(6));
}

#[test]
fn a_flipped_byte_costs_the_record_that_it_hits() {
    let disk = SimDisk::new(5);
    let store = peercask::Store::open_on(&disk, engine()).expect("opened");
    let peers = Peerstore::on(&store, quiet()).expect("opened");
    for number in 0..20 {
        peers
            .add_addrs(peer(number), &addrs(0..3), Ttl::PERMANENT)
            .expect("added");
    }
    peers.close().expect("closed");
    store.close().expect("closed");
    // A word that only records of addresses hold says which file it is.
    let word = peer(7).as_bytes().to_vec();
    let holds = |bytes: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    let files = disk.files().into_iter().map(|(name, _)| name);
    let bytes_of = |name: &str| disk.bytes_of(name).expect("read");
    let name = files
        .max_by_key(|name| holds(&bytes_of(name)))
        .expect("a segment");
    let len = bytes_of(&name).len();
    let mut rotten = 0;
    for at in (0..len.min(8_000)).step_by(61) {
        let hit = disk.crash(&Cut::Kill);
        hit.rot(&name, at, 0x10).expect("rotten");
        let store = peercask::Store::open_on(&hit, engine()).expect("opens");
        let peers = Peerstore::on(&store, quiet()).expect("opens");
        let known = peers.count();
        assert!(known >= 19, "byte {at}: {known} of 20");
        rotten += u64::from(known < 20);
        for who in peers.all_peers() {
            match peers.addrs(who) {
                Ok(found) => assert_eq!(found.len(), 3),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupted);
                    rotten += 1;
                }
            }
        }
    }
    assert!(rotten > 0, "some byte was in a record");
}

#[test]
fn a_second_opener_is_told_and_one_who_only_reads_is_let_in() {
    let place = Place::new(Backend::Peercask);
    let peers = place.peers();
    peers
        .add_addrs(peer(1), &addrs(0..2), Ttl::PERMANENT)
        .expect("added");
    let second = place.opened(place.options()).expect_err("taken");
    assert_eq!(second.kind(), ErrorKind::Locked);
    let dir = place.dir.path().join("store");
    let reader = Peerstore::open_read_only(&dir, place.options()).expect("reads");
    assert_addrs(&reader, peer(1), &addrs(0..2));
    for refused in [
        reader.add_addrs(peer(2), &addrs(0..1), Ttl::ADDRESS),
        reader.set_protocols(peer(1), &["/a"]),
        reader.gc().map(|_| ()),
        reader.merge(),
    ] {
        assert_eq!(refused.expect_err("read-only").kind(), ErrorKind::ReadOnly);
    }
    reader.close().expect("closed");
    peers
        .add_addrs(peer(1), &addrs(2..3), Ttl::PERMANENT)
        .expect("the writer goes on");
    let nothing = Peerstore::open_read_only(place.dir.path().join("none"), place.options());
    assert_eq!(nothing.expect_err("none").kind(), ErrorKind::NotFound);
}

#[test]
fn closing_twice_is_nothing_and_later_calls_say_that_it_is_closed() {
    let place = Place::new(Backend::Peercask);
    let peers = place.peers();
    peers
        .add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT)
        .expect("added");
    let other = peers.clone();
    peers.close().expect("closed");
    peers.close().expect("closed already");
    let answers = [
        other.add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS),
        other.addrs(peer(1)).map(|_| ()),
        other.get(peer(1)).map(|_| ()),
        other.protocols(peer(1)).map(|_| ()),
        other.public_key(peer(1)).map(|_| ()),
        other.record(peer(1)).map(|_| ()),
        other.gc().map(|_| ()),
        other.sync(),
    ];
    for answer in answers {
        assert_eq!(answer.expect_err("closed").kind(), ErrorKind::Closed);
    }
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(Backend::Peercask);
    place
        .peers()
        .add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT)
        .expect("added");
    let dir = place.dir.path().join("store");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(&dir).expect("listed") {
        let path = entry.expect("listed").path();
        // The file of the lock is empty.
        if path.ends_with("LOCK") {
            continue;
        }
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn books_of_a_newer_version_are_refused_by_their_number() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = peercask::Store::open(dir.path(), engine()).expect("opened");
    Peerstore::on(&store, quiet())
        .expect("opened")
        .close()
        .expect("closed");
    let meta = store.existing_keyspace("libp2p-meta").expect("there");
    meta.put("format", "2").expect("put");
    let refused = Peerstore::on(&store, quiet()).expect_err("newer");
    assert_eq!(refused.kind(), ErrorKind::UnsupportedVersion);
    assert!(refused.to_string().contains("version 2"), "{refused}");
    meta.put("format", "1").expect("put");
    let addresses = store.existing_keyspace("libp2p-addresses").expect("there");
    addresses.put("x", [2, 0, 0]).expect("put");
    let refused = Peerstore::on(&store, quiet()).expect_err("newer");
    assert_eq!(refused.kind(), ErrorKind::UnsupportedVersion);
}

#[test]
fn a_backup_taken_while_others_write_is_one_moment() {
    let place = Place::new(Backend::Peercask);
    let peers = place.peers();
    tell(peers, peer(1), 1).expect("told");
    let copy = place.dir.path().join("copy");
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| (2..200).for_each(|number| tell(peers, peer(1), number).expect("told")));
        peers.backup_to(&copy).expect("copied");
        writer.join().expect("joined");
    });
    let copied = Peerstore::open(&copy, quiet()).expect("opens");
    let number = told(copied.get(peer(1)).expect("readable").as_ref()).expect("whole");
    assert!((1..200).contains(&number));
    assert_eq!(
        told(peers.get(peer(1)).expect("readable").as_ref()),
        Ok(199)
    );
}

// ---- kill -9

const DIR: &str = "PEERCASK_TEST_BOOKS_DIR";

/// Not a test of its own: what the child does.
#[test]
fn helper_of_a_child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let peers = Peerstore::open(Path::new(&dir).join("store"), Options::default()).expect("opened");
    let from = told(peers.get(peer(1)).expect("readable").as_ref()).expect("whole");
    for number in from + 1.. {
        tell(&peers, peer(1), number).expect("told");
        let mut out = std::io::stdout();
        std::io::Write::write_all(&mut out, format!("\ndone {number}\n").as_bytes())
            .expect("heard");
    }
}

#[test]
fn after_kill_9_everything_acknowledged_is_there_and_whole() {
    use std::io::BufRead as _;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut last = 0;
    for round in 1..=6_u64 {
        let mut child =
            std::process::Command::new(std::env::current_exe().expect("this test is a file"))
                .args([
                    "durability::helper_of_a_child",
                    "--exact",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env(DIR, dir.path())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("a child starts");
        let out = child.stdout.take().expect("piped");
        let mut done = last;
        let mut heard = 0;
        for line in std::io::BufReader::new(out).lines() {
            let Ok(line) = line else { break };
            if let Some(number) = line.strip_prefix("done ") {
                done = number.parse().expect("a number");
                heard += 1;
            }
            if heard == 7 * round {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("gone");
        let peers = Peerstore::open(dir.path().join("store"), Options::default()).expect("opens");
        last = told(peers.get(peer(1)).expect("readable").as_ref()).expect("whole");
        assert!(
            last == done || last == done + 1,
            "{last} is there, {done} was told"
        );
    }
}
