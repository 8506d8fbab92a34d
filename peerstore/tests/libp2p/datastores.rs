//! What a datastore promises, of each of those that are here.

use peercask_peerstore::libp2p::{
    Acknowledge, Batch, Datastore, ErrorKind, MemoryDatastore, PeercaskDatastore,
};

/// Keys of any bytes, among them those that databases of text get wrong.
const KEYS: [&[u8]; 10] = [
    b"",
    b"a",
    b"a\0",
    b"a%",
    b"a_b",
    b"a\xff",
    b"a\xff\xff",
    b"b/x",
    b"zz",
    b"\xff",
];

fn promises(data: &dyn Datastore) {
    for (number, key) in KEYS.iter().enumerate() {
        assert_eq!(data.get(key).expect("open"), None);
        data.put(key, &[u8::try_from(number).expect("small")])
            .expect("put");
        assert!(data.has(key).expect("open"));
    }
    data.put(b"a%", b"").expect("an empty value is one");
    assert_eq!(data.get(b"a%").expect("open").as_deref(), Some(&[][..]));
    for prefix in [&b""[..], b"a", b"a\xff", b"a%", b"b", b"\xff", b"none"] {
        let found: Result<Vec<_>, _> = data.query(prefix).expect("open").collect();
        let mut found: Vec<Vec<u8>> = found
            .expect("readable")
            .into_iter()
            .map(|(key, _)| key.to_vec())
            .collect();
        found.sort();
        let expected: Vec<Vec<u8>> = KEYS
            .iter()
            .filter(|key| key.starts_with(prefix))
            .map(|key| key.to_vec())
            .collect();
        assert_eq!(found, expected, "{prefix:?}");
    }
    // A walk goes on although what it walks over changes.
    for entry in data.query(b"a").expect("open") {
        let (key, _) = entry.expect("readable");
        data.delete(&key).expect("deleted");
        data.delete(&key).expect("gone already is no error");
    }
    assert_eq!(data.query(b"a").expect("open").count(), 0);
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.put("a", "2");
    batch.put("b/x", "3");
    batch.delete("zz");
    assert_eq!((batch.len(), batch.is_empty()), (4, false));
    assert_eq!(
        data.get(b"a").expect("open"),
        None,
        "nothing before its commit"
    );
    data.commit(batch, Acknowledge::Device).expect("committed");
    assert_eq!(
        data.get(b"a").expect("open").as_deref(),
        Some(&b"2"[..]),
        "the later one wins"
    );
    assert_eq!(data.get(b"zz").expect("open"), None);
    let mut batch = Batch::new();
    batch.put("never", "1");
    batch.discard();
    data.commit(batch, Acknowledge::Kernel).expect("nothing");
    assert!(!data.has(b"never").expect("open"));
    data.sync().expect("synced");
    data.close().expect("closed");
    data.close().expect("closed already");
    let closed = [
        data.get(b"a").map(|_| ()),
        data.has(b"a").map(|_| ()),
        data.put(b"a", b"1"),
        data.query(b"").map(|_| ()),
        data.sync(),
    ];
    for answer in closed {
        assert_eq!(answer.expect_err("closed").kind(), ErrorKind::Closed);
    }
}

#[test]
fn memory_keeps_its_promises() {
    promises(&MemoryDatastore::new());
}

#[test]
fn peercask_keeps_its_promises() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = peercask::Options::default().background(false);
    promises(&PeercaskDatastore::open(dir.path().join("store"), options).expect("opened"));
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_keeps_its_promises() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        peercask_peerstore::libp2p::SqliteDatastore::open(dir.path().join("db")).expect("opened")
    };
    promises(&open());
    assert_eq!(
        open().get(b"a").expect("open").as_deref(),
        Some(&b"2"[..]),
        "it lasts"
    );
}

#[test]
fn books_share_a_store_with_others_and_leave_it_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = peercask::Store::open(dir.path(), peercask::Options::default()).expect("opened");
    let data = PeercaskDatastore::on(&store).expect("made");
    data.put(b"a1", b"x").expect("put");
    data.close().expect("closed");
    let own = store
        .keyspace("mine", peercask::KeyspaceOptions::hash())
        .expect("the store is open");
    own.put("k", "v").expect("put");
    let again = PeercaskDatastore::on(&store).expect("made");
    assert_eq!(
        again.query(b"").expect("open").count(),
        1,
        "what others keep is theirs"
    );
    assert!(again.stats().writes >= 2);
}
