//! A day of churn on a clock in hand (`PEERCASK_SEEDS` times as many days): more comes than the
//! disk may hold, so foreign records are refused, own ones never, and the files stay within their
//! budget at every moment. Once on a plain directory that is measured between the calls, once on a file
//! system that is no larger than what is allowed: there a byte too much is a failed write.

use std::path::Path;

use libp2p_kad::store::RecordStore;
use peercask::Merge;
use peercask_kad::{Handle, Limits, ManualTime, PersistentStore, Refusal, Stats, Time as _};

use crate::skip::skipped;
use crate::support::*;

/// The least that may be chosen.
const BUDGET: u64 = 16 << 20;
/// What the store chooses for it.
const SEGMENT: u64 = 1 << 20;
const STEP_S: u64 = 600;
const LIFE_S: u64 = 7_200;
const VALUES_A_STEP: u64 = 150;
const PROVIDES_A_STEP: u64 = 300;

struct Churn<'a> {
    dir: &'a Path,
    store: PersistentStore,
    handle: Handle,
    rng: Rng,
    /// The most that the files took whenever they were measured.
    most: u64,
    attempts: u64,
    taken: u64,
    own: u64,
}

impl Churn<'_> {
    fn measure(&mut self) {
        self.most = self.most.max(occupied(self.dir));
    }

    /// What others send in ten minutes: a third more than the disk holds in two hours.
    fn foreign(&mut self, time: &ManualTime) {
        let expires = time.instant() + seconds(LIFE_S);
        for number in 0..VALUES_A_STEP {
            let mut value = record(self.rng.below(50_000), &[7; 10_000]);
            value.expires = Some(expires);
            self.attempts += 1;
            self.taken += u64::from(self.store.put(value).is_ok());
            for _ in 0..PROVIDES_A_STEP / VALUES_A_STEP {
                let provide = provider(self.rng.below(1 << 40), self.rng.below(500));
                self.attempts += 1;
                let added = self.store.add_provider(with_expiry(provide, expires));
                self.taken += u64::from(added.is_ok());
            }
            if number % 10 == 0 {
                self.measure();
            }
        }
        for _ in 0..10 {
            let gone = self.rng.below(50_000);
            self.store.remove(&key(gone));
        }
    }

    /// However full it is.
    fn own(&mut self) {
        let number = self.own;
        self.store
            .add_provider(own_provide(number))
            .expect("own provides are always taken");
        self.store
            .put(own_record(1 << 50 | number, b"mine"))
            .expect("own values too");
        self.own += 1;
    }

    fn upkeep(&mut self) {
        self.handle.step().expect("stepped");
        self.measure();
        self.handle.merge(Merge::Needed).expect("merged");
        self.measure();
        self.handle.step().expect("stepped");
        self.measure();
    }

    fn refused(&self) -> u64 {
        self.handle.stats().refused.total()
    }
}

/// What a number of days leaves, after all that was foreign is over.
struct Day {
    most: u64,
    attempts: u64,
    taken: u64,
    own: u64,
    /// Steps in which something was refused, and in which something was taken after that.
    steps_refused: u64,
    steps_taken: u64,
    /// Memory of the engine's index after a quarter, and at the end.
    index_bytes: [u64; 2],
    stats: Stats,
    left_bytes: u64,
}

fn day(dir: &Path) -> Day {
    let limits = Limits {
        disk_bytes_max: Some(BUDGET),
        ..Limits::default()
    };
    let (time, options) = timed();
    let store = open_with(dir, options.limits(limits));
    let mut churn = Churn {
        dir,
        handle: store.handle(),
        store,
        rng: Rng::new(27),
        most: 0,
        attempts: 0,
        taken: 0,
        own: 0,
    };
    let steps = rounds(86_400 / STEP_S);
    let (mut steps_refused, mut steps_taken) = (0, 0);
    let mut index_bytes = [0; 2];
    for step in 0..steps {
        let before = (churn.refused(), churn.taken);
        churn.foreign(&time);
        churn.own();
        churn.upkeep();
        steps_refused += u64::from(churn.refused() > before.0);
        steps_taken += u64::from(before.0 > 0 && churn.taken > before.1);
        index_bytes[usize::from(step > steps / 4)] = churn.handle.engine().stats().index_bytes;
        time.advance(seconds(STEP_S));
    }
    time.advance(seconds(2 * LIFE_S));
    for _ in 0..3 {
        churn.upkeep();
    }
    Day {
        most: churn.most,
        attempts: churn.attempts,
        taken: churn.taken,
        own: churn.own,
        steps_refused,
        steps_taken,
        index_bytes,
        stats: churn.handle.stats(),
        left_bytes: occupied(dir),
    }
}

fn assert_held(day: &Day) {
    let stats = &day.stats;
    let steps = rounds(86_400 / STEP_S);
    // It really was full, most of the time, and never stayed so.
    assert!(
        stats.refused.of(Refusal::Disk) > day.attempts / 20,
        "{:?} of {}",
        stats.refused,
        day.attempts
    );
    assert!(day.steps_refused > steps / 2, "{}", day.steps_refused);
    assert!(day.steps_taken > steps / 2, "{}", day.steps_taken);
    assert!(day.most > BUDGET * 3 / 4, "{} bytes: it was used", day.most);
    assert!(
        day.most <= BUDGET + SEGMENT,
        "{} bytes at most, {BUDGET} allowed",
        day.most
    );
    assert!(
        day.index_bytes[1] <= day.index_bytes[0] * 2,
        "memory stays flat: {:?}",
        day.index_bytes
    );
    // Every call has its outcome, every record its end.
    assert_eq!(day.taken + stats.refused.total(), day.attempts);
    assert_eq!((stats.own_keys, stats.own_records), (day.own, day.own));
    assert_eq!(stats.records - stats.own_records, 0);
    assert_eq!((stats.provider_records, stats.provider_keys), (0, 0));
    assert_eq!(
        stats.added,
        2 * day.own + stats.swept + stats.evicted + stats.removed
    );
    assert!(stats.swept > 0 && stats.removed > 0);
    assert_eq!((stats.io_errors, stats.lost, stats.undecodable), (0, 0, 0));
    assert_eq!(stats.refused.of(Refusal::Failed), 0);
    assert!(
        day.left_bytes < BUDGET / 2,
        "{} bytes: the space is back",
        day.left_bytes
    );
}

#[test]
fn a_day_of_churn_meets_the_disk_budget_and_stays_within_it() {
    let dir = dir();
    let day = day(dir.path());
    println!(
        "{} of {} calls taken, {} refused for the disk; {} KiB at most of {} allowed, {} KiB when all was over",
        day.taken,
        day.attempts,
        day.stats.refused.of(Refusal::Disk),
        day.most / 1_024,
        BUDGET / 1_024,
        day.left_bytes / 1_024
    );
    assert_held(&day);
}

const DIR: &str = "PEERCASK_KAD_CHURN_DIR";
const MOUNT: &str = r#"mount -t tmpfs -o size=17m,mode=700 none "$0" && exec "$@""#;

/// The kernel measures at every write: the file system has room for the budget and one segment.
#[test]
#[cfg(target_os = "linux")]
fn a_day_of_churn_fits_a_file_system_of_its_budget() {
    use std::process::Command;

    assert_eq!(BUDGET + SEGMENT, 17 << 20, "as it is mounted");
    let place = dir();
    let unshared = || {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--map-root-user", "sh", "-c", MOUNT])
            .arg(place.path());
        command
    };
    let can = unshared().arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        skipped(
            "a disk of the budget's size",
            "this system gives no mount namespace",
        );
        return;
    }
    let ran = unshared()
        .arg(std::env::current_exe().expect("this test has a file"))
        .args(["churn::helper_lives_a_day", "--exact", "--nocapture"])
        .env(DIR, place.path())
        .output()
        .expect("unshare ran before");
    let told = String::from_utf8_lossy(&ran.stdout);
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
}

/// Not a test of its own: runs as the child of the one above.
#[test]
fn helper_lives_a_day() {
    if let Some(dir) = std::env::var_os(DIR) {
        assert_held(&day(Path::new(&dir)));
        println!("\nDONE");
    }
}
