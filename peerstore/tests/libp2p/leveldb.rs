//! A LevelDB directory as something to import: read whole, left as it was, and an error where it does not hold.

use peercask_peerstore::libp2p::{
    ErrorKind, Foreign, LevelDbEntries, MetadataValue, Options, Peer, Peerstore,
};

use crate::moving::hex;

/// What LevelDB 1.23 itself wrote (through plyvel 1.5.1): the golden vectors of go, two hundred other entries in a
/// compressed table, and a log that deletes one of the table's and adds another.
fn leveldb(dir: &std::path::Path) {
    for line in include_str!("leveldb.hex").lines() {
        let (name, bytes) = line.split_once(' ').expect("a name and bytes");
        std::fs::write(dir.join(name), hex(bytes)).expect("written");
    }
}

#[test]
fn a_leveldb_directory_is_read_and_left_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    leveldb(dir.path());
    let files = || {
        let entries = std::fs::read_dir(dir.path()).expect("listed");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("listed").path();
                let bytes = std::fs::read(&path).expect("read");
                (path, bytes)
            })
            .collect();
        files.sort();
        files
    };
    let before = files();
    let clock = std::sync::Arc::new(peercask::ManualClock::new(1_700_000_000_000));
    let options = Options::default().clock(clock).background(false);
    let peers = Peerstore::in_memory(options).expect("opened");
    let entries = LevelDbEntries::open(dir.path()).expect("opened");
    let report = peers.import_foreign(Foreign::Go, entries).expect("read");
    assert_eq!((report.peers, report.addresses, report.skipped), (1, 3, 0));
    let who = Peer::from_bytes(b"AB").expect("short");
    let found = peers.get(who).expect("readable").expect("known");
    let names: Vec<&String> = found.metadata.keys().collect();
    assert_eq!(
        names,
        ["AgentVersion", "n"],
        "from the table and from the log, and not what was deleted"
    );
    assert_eq!(found.metadata["n"], MetadataValue::I64(7));
    assert_eq!(files(), before);
}

#[test]
fn a_leveldb_that_does_not_hold_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kind = || LevelDbEntries::open(dir.path()).expect_err("none").kind();
    assert_eq!(kind(), ErrorKind::NotFound);
    std::fs::write(dir.path().join("CURRENT"), "MANIFEST-000009\n").expect("written");
    assert_eq!(kind(), ErrorKind::Corrupted, "its manifest is missing");
    // Whatever byte is other, it is read or it is an error, and never a panic.
    leveldb(dir.path());
    let all = |dir: &std::path::Path| -> Result<usize, ErrorKind> {
        let entries = LevelDbEntries::open(dir).map_err(|error| error.kind())?;
        let entries = entries.map(|entry| entry.map_err(|error| error.kind()));
        Ok(entries.collect::<Result<Vec<_>, _>>()?.len())
    };
    assert_eq!(all(dir.path()), Ok(203));
    let mut wrong = 0;
    for name in ["000005.ldb", "000004.log", "MANIFEST-000002", "CURRENT"] {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).expect("read");
        for at in (0..good.len()).step_by(good.len() / 12 + 1) {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            std::fs::write(&path, &bad).expect("written");
            match all(dir.path()) {
                Ok(count) => assert!(count <= 203),
                Err(kind) => {
                    assert!(matches!(kind, ErrorKind::Corrupted | ErrorKind::NotFound));
                    wrong += 1;
                }
            }
        }
        std::fs::write(&path, &good).expect("written");
    }
    assert!(wrong > 0);
}
