//! The peerstore beside the same table in SQLite, as upstream's plugin makes and uses it, in one run
//! on one disk. Only the ratios mean anything on another machine.
//!
//! `cargo bench -p peercask-peerstore --features sqlite` prints a Markdown table; a number behind
//! `--` is the number of records, 100,000 unless given. Five keys for each peer, values of 100 bytes,
//! one subsystem; SQLite with `synchronous=OFF`, the peerstore at `Kernel`: both survive the death of
//! the process, neither a power cut.
#![expect(
    clippy::print_stdout,
    reason = "the report of a benchmark goes to standard output"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that fails has nothing to report"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use peercask_peerstore::gnunet::{
    FOREVER, Filter, Options, Order, PeerIdentity, Peerstore, Query, Record, StoreOption,
};
use rusqlite::{Connection, params};

const SUBSYSTEM: &str = "bench";
const KEYS: [&str; 5] = [
    "peerstore-peer-hello-uri",
    "transport-communicator-url",
    "transport-peer-hello",
    "transport-backchannel-monotonic-time",
    "transport-dv-learn-monotonic-time",
];
const VALUE_LEN: usize = 100;

/// Upstream's table of 0.21 and later, through its own statements.
struct Sqlite {
    database: Connection,
}

impl Sqlite {
    fn open(path: &Path) -> Sqlite {
        let database = Connection::open(path).unwrap();
        database
            .execute_batch(
                "PRAGMA temp_store=MEMORY; PRAGMA synchronous=OFF; PRAGMA auto_vacuum=INCREMENTAL; \
                 PRAGMA encoding='UTF-8'; PRAGMA page_size=4096; \
                 CREATE TABLE IF NOT EXISTS peerstoredata (uid INTEGER PRIMARY KEY, \
                 sub_system TEXT NOT NULL, peer_id BLOB NOT NULL, key TEXT NOT NULL, \
                 value BLOB NULL, expiry INT8 NOT NULL); \
                 CREATE INDEX IF NOT EXISTS peerstoredata_key_index \
                 ON peerstoredata (sub_system, peer_id, key, uid);",
            )
            .unwrap();
        Sqlite { database }
    }

    fn store(&self, peer: &PeerIdentity, key: &str, value: &[u8], replace: bool) {
        if replace {
            let sql = "DELETE FROM peerstoredata WHERE sub_system = ? AND peer_id = ? AND key = ?";
            let mut statement = self.database.prepare_cached(sql).unwrap();
            statement
                .execute(params![SUBSYSTEM, &peer.0[..], key])
                .unwrap();
        }
        let sql = "INSERT INTO peerstoredata (sub_system, peer_id, key, value, expiry) VALUES (?,?,?,?,?)";
        let mut statement = self.database.prepare_cached(sql).unwrap();
        statement
            .execute(params![SUBSYSTEM, &peer.0[..], key, value, i64::MAX])
            .unwrap();
    }

    fn select(
        &self,
        peer: Option<&PeerIdentity>,
        key: Option<&str>,
        after: i64,
        limit: i64,
    ) -> (u64, i64) {
        let mut sql = "SELECT uid, sub_system, peer_id, key, value, expiry FROM peerstoredata \
                       WHERE uid > ?1 AND sub_system = ?2"
            .to_owned();
        if peer.is_some() {
            sql.push_str(" AND peer_id = ?4");
        }
        if key.is_some() {
            sql.push_str(" AND key = ?5");
        }
        sql.push_str(" ORDER BY uid ASC LIMIT ?3");
        let mut statement = self.database.prepare_cached(&sql).unwrap();
        statement.raw_bind_parameter(1, after).unwrap();
        statement.raw_bind_parameter(2, SUBSYSTEM).unwrap();
        statement.raw_bind_parameter(3, limit).unwrap();
        if let Some(peer) = peer {
            statement.raw_bind_parameter(4, &peer.0[..]).unwrap();
        }
        if let Some(key) = key {
            // Parameters are numbered by the text: without a peer the key is number 5 all the same.
            statement.raw_bind_parameter(5, key).unwrap();
        }
        let mut rows = statement.raw_query();
        let (mut count, mut last) = (0, after);
        while let Some(row) = rows.next().unwrap() {
            let value: Vec<u8> = row.get(4).unwrap();
            assert_eq!(value.len(), VALUE_LEN);
            last = row.get(0).unwrap();
            count += 1;
        }
        (count, last)
    }

    fn sweep(&self) {
        let sql = "DELETE FROM peerstoredata WHERE expiry < ?";
        let mut statement = self.database.prepare_cached(sql).unwrap();
        statement.execute(params![1_i64]).unwrap();
    }
}

struct Report {
    rows: Vec<(String, String, String, f64)>,
}

impl Report {
    /// Operations of each side and how long they took.
    fn rate(&mut self, what: &str, count: u64, ours: Duration, theirs: Duration) {
        let per_second = |time: Duration| count as f64 / time.as_secs_f64();
        let (ours, theirs) = (per_second(ours), per_second(theirs));
        let shown = |rate: f64| format!("{}/s", grouped(rate));
        self.rows
            .push((what.into(), shown(ours), shown(theirs), ours / theirs));
    }

    fn time(&mut self, what: &str, ours: Duration, theirs: Duration) {
        let shown = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        self.rows
            .push((what.into(), shown(ours), shown(theirs), ratio));
    }

    fn bytes(&mut self, what: &str, ours: f64, theirs: f64) {
        let shown = |bytes: f64| format!("{bytes:.0} B");
        self.rows
            .push((what.into(), shown(ours), shown(theirs), theirs / ours));
    }

    fn print(&self) {
        println!("| | peercask | SQLite | times better |");
        println!("|---|---:|---:|---:|");
        for (what, ours, theirs, ratio) in &self.rows {
            println!("| {what} | {ours} | {theirs} | {ratio:.1} |");
        }
    }
}

fn grouped(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let done = work();
    (done, started.elapsed())
}

/// Who is asked, in an order that neither side stored in.
struct Workload {
    peers: Vec<PeerIdentity>,
    asked: Vec<(usize, usize)>,
}

impl Workload {
    fn of(records: usize) -> Workload {
        let mut rng = fastrand::Rng::with_seed(7);
        let peer = |_| {
            let mut bytes = [0; 32];
            rng.fill(&mut bytes);
            PeerIdentity(bytes)
        };
        let peers: Vec<PeerIdentity> = (0..records / KEYS.len()).map(peer).collect();
        let mut asked: Vec<(usize, usize)> = (0..peers.len())
            .flat_map(|peer| (0..KEYS.len()).map(move |key| (peer, key)))
            .collect();
        rng.shuffle(&mut asked);
        Workload { peers, asked }
    }

    fn len(&self) -> u64 {
        self.asked.len() as u64
    }
}

/// Walks and counts.
fn count(peers: &Peerstore, query: impl Into<Query>) -> u64 {
    let walk = peers.iterate(query).unwrap();
    walk.map(|stored| assert_eq!(stored.unwrap().record.value.len(), VALUE_LEN))
        .count() as u64
}

fn disk_bytes(dir: &Path) -> f64 {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum::<u64>() as f64
}

/// The directory of a child that opens a peerstore and tells what memory that took.
const OPEN: &str = "PEERCASK_BENCH_OPEN";

/// Memory of this process that no file stands behind, in bytes.
fn anonymous_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1_024.0)
}

fn open_and_tell(dir: &Path) {
    let before = anonymous_bytes();
    let peers = Peerstore::open(dir, Options::default()).unwrap();
    let records = peers.stats().unwrap().records as f64;
    println!("{}", (anonymous_bytes() - before) / records);
}

/// What a fresh process needs for each record, engine included.
fn memory_bytes(dir: &Path) -> f64 {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let told = child.env(OPEN, dir).output().unwrap();
    String::from_utf8_lossy(&told.stdout)
        .trim()
        .parse()
        .unwrap()
}

fn stores(work: &Workload, ours: &Peerstore, theirs: &Sqlite, report: &mut Report) {
    let value = [7_u8; VALUE_LEN];
    for (what, option, rounds) in [
        ("store, new", StoreOption::Multiple, work.asked.len()),
        (
            "replace, existing",
            StoreOption::Replace,
            work.asked.len() / 2,
        ),
    ] {
        let replace = option == StoreOption::Replace;
        let (_, mine) = timed(|| {
            for (peer, key) in &work.asked[..rounds] {
                let record = Record::new(SUBSYSTEM, work.peers[*peer], KEYS[*key], value.to_vec());
                ours.store(&record, option).unwrap();
            }
        });
        let (_, their) = timed(|| {
            for (peer, key) in &work.asked[..rounds] {
                theirs.store(&work.peers[*peer], KEYS[*key], &value, replace);
            }
        });
        report.rate(what, rounds as u64, mine, their);
    }
}

fn walks(work: &Workload, ours: &Peerstore, theirs: &Sqlite, report: &mut Report) {
    let sample = &work.asked[..work.asked.len() / 5];
    let triple =
        |(peer, key): &(usize, usize)| Filter::triple(SUBSYSTEM, work.peers[*peer], KEYS[*key]);
    let (found, mine) = timed(|| {
        sample
            .iter()
            .map(|asked| count(ours, triple(asked)))
            .sum::<u64>()
    });
    let one = |(peer, key): &(usize, usize)| {
        theirs
            .select(Some(&work.peers[*peer]), Some(KEYS[*key]), 0, i64::MAX)
            .0
    };
    let (also, their) = timed(|| sample.iter().map(one).sum::<u64>());
    assert_eq!((found, also), (sample.len() as u64, sample.len() as u64));
    report.rate("iterate one full key", found, mine, their);

    let all = Filter::subsystem(SUBSYSTEM);
    for (what, order) in [
        (
            "iterate (subsystem), by insertion, records",
            Order::Insertion,
        ),
        ("iterate (subsystem), by peer, records", Order::Peer),
    ] {
        let (found, mine) = timed(|| count(ours, Query::new(all.clone()).order(order)));
        let ((also, _), their) = timed(|| theirs.select(None, None, 0, i64::MAX));
        assert_eq!((found, also), (work.len(), work.len()));
        report.rate(what, found, mine, their);
    }
    let of_key = all.key(KEYS[0]);
    let (found, mine) = timed(|| count(ours, of_key.clone()));
    let ((also, _), their) = timed(|| theirs.select(None, Some(KEYS[0]), 0, i64::MAX));
    assert_eq!(
        (found, also),
        (work.peers.len() as u64, work.peers.len() as u64)
    );
    report.time(
        &format!(
            "iterate (subsystem, key) over {} peers",
            grouped(found as f64)
        ),
        mine,
        their,
    );
}

/// As every shipped client of upstream's pages: one record for each request.
fn paging(work: &Workload, ours: &Peerstore, theirs: &Sqlite, report: &mut Report) {
    let pages = (work.peers.len() as u64 / 2).min(10_000);
    let key = Filter::subsystem(SUBSYSTEM).key(KEYS[0]);
    let (_, mine) = timed(|| {
        let mut after = 0;
        for _ in 0..pages {
            let mut walk = ours.iterate(Query::new(key.clone()).after(after)).unwrap();
            after = walk.next().unwrap().unwrap().seq;
        }
    });
    // Quadratic there: a part is measured, from the front, and named.
    let part = pages / 20;
    let (_, their) = timed(|| {
        let mut after = 0;
        for _ in 0..part {
            let (found, last) = theirs.select(None, Some(KEYS[0]), after, 1);
            assert_eq!(found, 1);
            after = last;
        }
    });
    let what = format!(
        "(subsystem, key) one by one, per page of {}",
        grouped(pages as f64)
    );
    let per = |time: Duration, count: u64| time / u32::try_from(count).unwrap();
    report.time(&what, per(mine, pages), per(their, part));
}

fn main() {
    if let Some(dir) = std::env::var_os(OPEN) {
        return open_and_tell(Path::new(&dir));
    }
    let number = std::env::args().find_map(|argument| argument.parse().ok());
    let work = Workload::of(number.unwrap_or(100_000));
    let dir = tempfile::tempdir().unwrap();
    let (store_dir, database) = (dir.path().join("store"), dir.path().join("peerstore.db"));
    let options = || Options::default().history_bytes(1 << 20);
    let ours = Peerstore::open(&store_dir, options()).unwrap();
    let theirs = Sqlite::open(&database);
    let mut report = Report { rows: Vec::new() };
    stores(&work, &ours, &theirs, &mut report);
    walks(&work, &ours, &theirs, &mut report);
    let (_, mine) = timed(|| assert_eq!(ours.expire(1).unwrap(), 0));
    let (_, their) = timed(|| theirs.sweep());
    report.time("sweep with nothing to do", mine, their);
    paging(&work, &ours, &theirs, &mut report);
    let kept = ours
        .iterate(Filter::subsystem(SUBSYSTEM))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(kept.record.expiry_us, FOREVER);
    ours.close().unwrap();
    let memory = memory_bytes(&store_dir);
    let (reopened, mine) = timed(|| Peerstore::open(&store_dir, options()).unwrap());
    drop(theirs);
    let (database_again, their) = timed(|| {
        let again = Sqlite::open(&database);
        again.select(Some(&work.peers[0]), Some(KEYS[0]), 0, 1);
        again
    });
    report.time("open, first look-up", mine, their);
    reopened.engine().merge(peercask::Merge::Full).unwrap();
    reopened.close().unwrap();
    drop(database_again);
    let records = work.len() as f64;
    let database_bytes = std::fs::metadata(&database).unwrap().len() as f64;
    report.bytes(
        "on disk per record, merged",
        disk_bytes(&store_dir) / records,
        database_bytes / records,
    );
    println!(
        "{} records of {VALUE_LEN} bytes, {} peers\n",
        grouped(records),
        work.peers.len()
    );
    report.print();
    println!(
        "\nmemory of a peerstore that is open: {memory:.0} bytes for each record, engine included"
    );
}
