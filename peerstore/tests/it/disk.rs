//! A disk that is full, bytes that are not what was written, a second one who wants the store.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use peercask::KeyspaceOptions;
use peercask_peerstore::gnunet::{
    Acknowledge, ClientOptions, Connection, ErrorKind, Options, Peerstore, Result, Service,
    ServiceOptions, Stored,
};

use crate::common::skipped;
use crate::support::{
    Multiple, NOW_US, Place, Replace, Via, all, both, found, put, record, values,
};

const DIR: &str = "PEERCASK_TEST_PEERSTORE_FULL_DIR";
const MOUNT: &str = r#"mount -t tmpfs -o size=3m,mode=700 none "$0" && exec "$@""#;

#[test]
#[cfg(target_os = "linux")]
fn on_a_full_disk_stores_fail_truly_deletes_go_on_and_stores_resume() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let command = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", MOUNT]);
        command.arg(dir.path()).arg(program);
        command
    };
    if !command("true".as_ref())
        .status()
        .is_ok_and(|status| status.success())
    {
        skipped(
            "a full disk under a peerstore",
            "this system gives no mount namespace",
        );
        return;
    }
    let exe = std::env::current_exe().expect("this test is a file");
    let mut command = command(exe.as_os_str());
    command
        .args([
            "disk::helper_fills_the_disk",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir.path());
    let ran = command.output().expect("unshare ran before");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

/// Not a test of its own: runs on a file system of three megabytes.
#[test]
fn helper_fills_the_disk() {
    let Some(root) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let store = peercask::Options::default()
        .background(false)
        .segment_bytes(256 << 10)
        .reserve_bytes(64 << 10);
    let options = Options::native().store(store);
    let peers = Peerstore::open(root.join("store"), options.clone()).expect("opened");
    let service = Service::start(&peers, root.join("socket"), ServiceOptions::default());
    let service = service.expect("serves");
    let client = Connection::to_service(root.join("socket"), ClientOptions::default());
    let client = client.expect("good options");
    let large = "x".repeat(20_000);
    let (mut stored, mut refused) = (0, 0);
    for at in 0..1_000_u32 {
        let value = format!("{at} {large}");
        let one = record("s", 1, &(at % 50).to_string(), &value);
        let option = if at.is_multiple_of(3) {
            Replace
        } else {
            Multiple
        };
        match client.store(&one, option, Acknowledge::Kernel) {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                // Refused is not stored, and what a replace would have replaced is still there.
                let there = values(&client, one.triple());
                assert!(!there.contains(&value));
                refused += 1;
                if refused == 20 {
                    break;
                }
            }
        }
    }
    assert!(
        stored > 50 && refused == 20,
        "{stored} stored, {refused} refused"
    );
    let before = found(&client, all("s"));
    assert!(client.remove(&all("s").key("7")).expect("deletes go on") > 0);
    assert!(client.remove(&all("s")).expect("deletes go on") > 0);
    peers.engine().merge(peercask::Merge::Full).expect("merged");
    put(&client, &record("s", 1, "k", "again"), Multiple);
    assert!(before.len() > 10);
    drop(client);
    service.stop();
    peers.close().expect("closed");
    let peers = Peerstore::open(root.join("store"), options).expect("opened");
    assert_eq!(values(&peers.connect(), all("s")), ["again"]);
    println!("DONE");
}

both! {
    /// One flipped byte costs the record that it hit; walks say so and go on, opening reports it.
    fn a_damaged_record_costs_only_itself(via) {
        let mut place = Place::native(via);
        for value in ["before", "THE DAMAGED VALUE", "after"] {
            put(&place.connect(), &record("s", 1, "k", value), Multiple);
        }
        place.close();
        let needle = b"THE DAMAGED VALUE";
        let mut flipped = 0;
        for entry in fs::read_dir(place.store_dir()).expect("listed") {
            let path = entry.expect("listed").path();
            let bytes = fs::read(&path).expect("read");
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
                file.write_all_at(b"X", u64::try_from(at).expect("small")).expect("written");
                flipped += 1;
            }
        }
        assert_eq!(flipped, 1);
        place.reopen();
        let connection = place.connect();
        assert_eq!(values(&connection, all("s")), ["before", "after"]);
        assert_eq!(connection.stats().expect("stats").damaged, 1);
        let damaged = place.peerstore().damaged();
        assert!(damaged[0].contains("offset"), "{damaged:?}");
        assert!(!place.peerstore().engine().verify(&mut |_| {}).expect("read").is_clean());
        put(&connection, &record("s", 1, "k", "new"), Replace);
        assert_eq!(values(&connection, all("s")), ["new"]);
    }

    /// Damage that comes while the store is open shows in the walk that meets it.
    fn damage_met_by_a_walk_is_told_and_the_walk_goes_on(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let needle = "THE DAMAGED VALUE";
        for value in ["before", needle, "after"] {
            let stored = record("s", 1, "k", value);
            connection.store(&stored, Multiple, Acknowledge::Device).expect("stored");
        }
        for entry in fs::read_dir(place.store_dir()).expect("listed") {
            let path = entry.expect("listed").path();
            let bytes = fs::read(&path).expect("read");
            let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
            if let Some(at) = at {
                let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
                file.write_all_at(b"X", u64::try_from(at).expect("small")).expect("written");
            }
        }
        let walk = connection.iterate(all("s")).expect("a walk");
        let met: Vec<Result<Stored>> = walk.collect();
        assert_eq!(met.len(), 3, "{met:?}");
        assert_eq!(met[1].as_ref().expect_err("damaged").kind(), ErrorKind::Corrupted);
        assert!(met[0].is_ok() && met[2].is_ok());
        // Removing it is possible.
        assert_eq!(connection.remove(&all("s")).expect("removed"), 3);
        assert_eq!(found(&connection, all("s")), []);
    }
}

/// Rows of the keyspace that hold anything: reported at open, never a panic, never a record.
#[test]
fn rows_that_are_no_records_are_reported_and_passed_over() {
    let mut place = Place::native(Via::Process);
    let peers = place.peerstore().clone();
    peers
        .store(
            &record("s", 1, "k", "good").expires_at_us(NOW_US + 1),
            Multiple,
        )
        .expect("stored");
    let rows = peers
        .engine()
        .keyspace("gnunet-peerstore", KeyspaceOptions::hash())
        .expect("there");
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let key: Vec<u8> = (0..rng.usize(0..12)).map(|_| rng.u8(100..)).collect();
        let value: Vec<u8> = (0..rng.usize(0..60)).map(|_| rng.u8(..)).collect();
        rows.put(key, [&[1][..], &value].concat()).expect("put");
    }
    drop((peers, rows));
    place.reopen();
    let peers = place.peerstore();
    assert!(peers.damaged().len() > 20, "{:?}", peers.damaged());
    assert_eq!(peers.iterate(all("s")).expect("a walk").count(), 1);
}

#[test]
fn a_second_opener_of_a_store_is_told_that_it_is_taken() {
    let place = Place::native(Via::Process);
    let second = Peerstore::open(place.store_dir(), Options::native());
    assert_eq!(second.expect_err("taken").kind(), ErrorKind::Locked);
    // And a second peerstore on one open store, whose index would not see the first one's changes.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = peercask::Store::open(dir.path(), peercask::Options::default()).expect("opened");
    let first = Peerstore::on(&store, Options::native()).expect("the first");
    let second = Peerstore::on(&store, Options::native());
    assert_eq!(second.expect_err("taken").kind(), ErrorKind::Locked);
    first
        .store(&record("s", 1, "k", "v"), Multiple)
        .expect("stored");
    first.close().expect("closed");
    let again = Peerstore::on(&store, Options::native()).expect("free again");
    assert_eq!(values(&again.connect(), all("s")), ["v"]);
    again.close().expect("closed");
    store.close().expect("the caller's store was left open");
}

#[test]
fn options_out_of_range_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for options in [
        Options::native().value_len_max(usize::MAX),
        Options::native().queue_len(0),
        Options::native().sweep_interval(Some(std::time::Duration::ZERO)),
    ] {
        let refused = Peerstore::open(dir.path().join("store"), options);
        assert_eq!(refused.expect_err("bad").kind(), ErrorKind::InvalidArgument);
    }
    assert!(!dir.path().join("store").exists());
}
