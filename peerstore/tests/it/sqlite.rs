//! Upstream's database files: both schemas read, both written, each as upstream makes it.

use std::path::Path;

use peercask_peerstore::gnunet::sqlite::{Reader, Schema, Writer};
use peercask_peerstore::gnunet::{ErrorKind, FOREVER, Filter, Record};
use rusqlite::{Connection, params};

use crate::support::{Multiple, NOW_US, Place, Via, found, peer, record};

/// A database as upstream's plugin makes it.
fn upstream(path: &Path, schema: Schema) -> Connection {
    let database = Connection::open(path).expect("made");
    let uid = match schema {
        Schema::Plain => "",
        Schema::Numbered => "uid INTEGER PRIMARY KEY,",
    };
    database
        .execute_batch(&format!(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA page_size=4096; \
             CREATE TABLE IF NOT EXISTS peerstoredata ({uid} sub_system TEXT NOT NULL, \
             peer_id BLOB NOT NULL, key TEXT NOT NULL, value BLOB NULL, expiry INT8 NOT NULL);"
        ))
        .expect("a table");
    database
}

fn insert(database: &Connection, record: &Record, expiry: i64) {
    let sql =
        "INSERT INTO peerstoredata (sub_system, peer_id, key, value, expiry) VALUES (?,?,?,?,?)";
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let value = (!record.value.is_empty()).then(|| record.value.to_vec());
    let row = params![
        name(&record.subsystem),
        &record.peer.0[..],
        name(&record.key),
        value,
        expiry
    ];
    database.execute(sql, row).expect("inserted");
}

fn read(path: &Path) -> (Schema, Vec<Result<Record, String>>) {
    let reader = Reader::open(path).expect("opened");
    let mut records = Vec::new();
    reader
        .each(&mut |_, record| {
            records.push(record);
            true
        })
        .expect("read");
    assert_eq!(reader.rows().expect("counted"), records.len() as u64);
    (reader.schema(), records)
}

#[test]
fn both_of_upstreams_schemas_are_read_in_the_order_of_insertion() {
    for schema in [Schema::Plain, Schema::Numbered] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("peerstore.db");
        let database = upstream(&path, schema);
        let never = record("b", 2, "k", "never");
        insert(&database, &never, i64::MAX);
        let dated = record("a", 1, "", "dated");
        insert(&database, &dated, 77);
        insert(&database, &record("a", 1, "empty", ""), i64::MAX);
        insert(&database, &record("a", 1, "old", "negative"), -1);
        let sql = "INSERT INTO peerstoredata (sub_system, peer_id, key, value, expiry) VALUES ('s', x'00', 'k', x'01', 1)";
        database.execute(sql, []).expect("inserted");
        drop(database);
        let (known, records) = read(&path);
        assert_eq!(known, schema);
        assert_eq!(records[0].as_ref(), Ok(&never));
        assert_eq!(records[1].as_ref(), Ok(&dated.expires_at_us(77)));
        assert_eq!(records[2].as_ref().map(|record| record.value.len()), Ok(0));
        assert_eq!(
            records[3].as_ref().map(|record| record.expiry_us),
            Ok(FOREVER)
        );
        assert!(
            records[4]
                .as_ref()
                .is_err_and(|why| why.contains("1 bytes")),
            "{records:?}"
        );
    }
}

/// The way from 0.20 to 0.21 that upstream lacks: in, and out again in the other schema.
#[test]
fn a_database_goes_through_a_peerstore_into_the_other_schema() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let old = dir.path().join("old.db");
    let database = upstream(&old, Schema::Plain);
    for at in 0..50_u8 {
        let expiry = if at % 2 == 0 {
            i64::MAX
        } else {
            i64::try_from(NOW_US).expect("fits") + 5
        };
        insert(
            &database,
            &record("s", at % 7, &format!("k{}", at % 3), &at.to_string()),
            expiry,
        );
    }
    drop(database);
    let place = Place::native(Via::Process);
    for record in read(&old).1 {
        place
            .peerstore()
            .store(&record.expect("whole"), Multiple)
            .expect("stored");
    }
    let stored = found(&place.connect(), Filter::subsystem("s"));
    for schema in [Schema::Plain, Schema::Numbered] {
        let path = dir.path().join(format!("{schema:?}.db"));
        let mut writer = Writer::create(&path, schema).expect("made");
        for stored in &stored {
            writer.add(&stored.record).expect("added");
        }
        let nul = writer.add(&Record::new("a\0", peer(1), "k", "v"));
        assert_eq!(nul.expect_err("a NUL").kind(), ErrorKind::InvalidRecord);
        writer.finish().expect("committed");
        let (known, records) = read(&path);
        assert_eq!(known, schema);
        let back: Vec<Record> = records
            .into_iter()
            .map(|record| record.expect("whole"))
            .collect();
        let expected: Vec<Record> = stored.iter().map(|stored| stored.record.clone()).collect();
        assert_eq!(back, expected);
        // Names are text, as upstream's selects compare them.
        let database = Connection::open(&path).expect("opened");
        let sql =
            "SELECT count(*) FROM peerstoredata WHERE sub_system = 's' AND typeof(key) = 'text'";
        let count: i64 = database
            .query_row(sql, [], |row| row.get(0))
            .expect("counted");
        assert_eq!(count, 50);
    }
}

#[test]
fn what_is_no_database_of_upstreams_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let missing = Reader::open(dir.path().join("none"))
        .err()
        .expect("missing");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let noise = dir.path().join("noise");
    std::fs::write(
        &noise,
        [b"SQLite format 3\0".as_slice(), &[7; 500]].concat(),
    )
    .expect("written");
    let error = Reader::open(&noise).err().expect("noise");
    assert!(
        matches!(
            error.kind(),
            ErrorKind::InvalidArgument | ErrorKind::Corrupted | ErrorKind::Io
        ),
        "{error:?}"
    );
    let other = dir.path().join("other.db");
    let database = Connection::open(&other).expect("made");
    database
        .execute_batch("CREATE TABLE something (x);")
        .expect("a table");
    drop(database);
    let error = Reader::open(&other).err().expect("another one's");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(Writer::create(dir.path().join("no/such/directory"), Schema::Plain).is_err());
}
