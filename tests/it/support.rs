//! What the integration tests share: a directory for one store, options in which nothing runs by
//! itself, copies and images of directories, random numbers that come back, and child processes.
//! `PEERCASK_SEED` changes the numbers, `PEERCASK_ROUNDS` multiplies the rounds of bounded tests.
//! Names of files are looked at here as docs/format.md gives them; their bytes are not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peercask::{
    Durability, Error, ErrorKind, Keyspace, KeyspaceOptions, ManualClock, Options, Result, Store,
};
use tempfile::TempDir;

/// What manual clocks start at.
pub(crate) const START_MS: u64 = 1_700_000_000_000;
/// Segments of most tests, so that a few records fill one.
pub(crate) const SMALL_SEGMENT: u64 = 4_096;
/// How long a poll for something that must come waits before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory for one store, and the clock that the store is opened with.
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Place {
    /// In memory where the system has a place for that: most tests sync thousands of times and
    /// ask nothing of the device.
    pub(crate) fn new() -> Place {
        let shared_memory = Path::new("/dev/shm");
        let dir = if cfg!(target_os = "linux") && shared_memory.is_dir() {
            tempfile::tempdir_in(shared_memory).or_else(|_| tempfile::tempdir())
        } else {
            tempfile::tempdir()
        };
        Place::of(dir.expect("a temporary directory"))
    }

    /// On a file system with a device behind it.
    pub(crate) fn on_disk() -> Place {
        Place::of(tempfile::tempdir().expect("a temporary directory"))
    }

    fn of(dir: TempDir) -> Place {
        Place {
            dir,
            clock: Arc::new(ManualClock::new(START_MS)),
        }
    }

    /// A new place with the files that `dir` has now.
    pub(crate) fn copy_of(dir: &Path) -> Place {
        let place = Place::new();
        copy_files(dir, place.path());
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Small segments, no threads, no reserve, writes that end in the kernel.
    pub(crate) fn options(&self) -> Options {
        Options::default()
            .background(false)
            .durability(Durability::Kernel)
            .reserve_bytes(0)
            .segment_bytes(SMALL_SEGMENT)
            .clock(self.clock.clone())
    }

    #[track_caller]
    pub(crate) fn open(&self) -> Store {
        self.open_with(self.options())
    }

    #[track_caller]
    pub(crate) fn open_with(&self, options: Options) -> Store {
        match Store::open(self.path(), options) {
            Ok(store) => store,
            Err(error) => panic!("the store opens: {error:?}; files {:?}", files(self.path())),
        }
    }

    pub(crate) fn image(&self) -> Image {
        image(self.path())
    }
}

#[track_caller]
pub(crate) fn hash(store: &Store, name: &str) -> Keyspace {
    store
        .keyspace(name, KeyspaceOptions::hash())
        .expect("a hash keyspace")
}

#[track_caller]
pub(crate) fn ordered(store: &Store, name: &str) -> Keyspace {
    store
        .keyspace(name, KeyspaceOptions::ordered())
        .expect("an ordered keyspace")
}

// ---- files

/// The names in a directory, sorted.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let entries = fs::read_dir(dir).expect("the directory can be listed");
    let mut names: Vec<String> = entries
        .map(|entry| name(entry.expect("the directory can be listed")))
        .collect();
    names.sort();
    names
}

pub(crate) fn segments(dir: &Path) -> Vec<String> {
    named(dir, "seg-")
}

pub(crate) fn hints(dir: &Path) -> Vec<String> {
    named(dir, "hint-")
}

fn named(dir: &Path, prefix: &str) -> Vec<String> {
    files(dir)
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .collect()
}

pub(crate) fn delete_hints(dir: &Path) {
    delete(dir, "hint-");
}

pub(crate) fn delete_manifests(dir: &Path) {
    delete(dir, "manifest-");
}

pub(crate) fn delete(dir: &Path, prefix: &str) {
    for name in named(dir, prefix) {
        fs::remove_file(dir.join(name)).expect("a file of the test is removed");
    }
}

/// Copies all files of `from` to `to`, by name; a file that goes meanwhile is left out.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    for name in files(from) {
        if from.join(&name).is_file() {
            match fs::copy(from.join(&name), to.join(&name)) {
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => panic!("{name} is copied: {e}"),
            }
        }
    }
}

/// The files of a directory in memory, by name.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

pub(crate) fn image(dir: &Path) -> Image {
    let read = |name: String| {
        let bytes = fs::read(dir.join(&name)).expect("a file of the store can be read");
        (name, bytes)
    };
    files(dir).into_iter().map(read).collect()
}

/// Makes the directory hold exactly the files of `image`.
pub(crate) fn write_image(dir: &Path, image: &Image) {
    for name in files(dir) {
        if !image.contains_key(&name) {
            fs::remove_file(dir.join(name)).expect("a file of the test is removed");
        }
    }
    for (name, bytes) in image {
        fs::write(dir.join(name), bytes).expect("a file of the test is written");
    }
}

pub(crate) fn set_len(path: &Path, len: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the file is there");
    file.set_len(len).expect("the file is cut");
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("the file is there");
    file.write_all(bytes).expect("the bytes are appended");
}

/// Whether any file of the directory holds these bytes; answers with its name.
pub(crate) fn find_bytes(dir: &Path, wanted: &[u8]) -> Option<String> {
    let holds = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    image(dir)
        .into_iter()
        .find(|(_, bytes)| holds(bytes))
        .map(|(name, _)| name)
}

// ---- contents

/// Keyspace name and key to value.
pub(crate) type Contents = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// Everything live in a store, as walked; each key is also looked up by itself.
#[track_caller]
pub(crate) fn contents(store: &Store) -> Contents {
    let mut all = Contents::new();
    for info in store.keyspaces() {
        let keyspace = store.existing_keyspace(&info.name).expect("it is listed");
        for entry in keyspace.walk() {
            let entry = entry.expect("every record is readable");
            let alone = keyspace.get(&entry.key).expect("every record is readable");
            assert_eq!(
                alone.as_ref(),
                Some(&entry.value),
                "walked and looked up: the same"
            );
            let place = (info.name.clone(), entry.key.to_vec());
            let before = all.insert(place, entry.value.to_vec());
            assert_eq!(before, None, "no key is met twice");
        }
    }
    all
}

/// Compares, and names only what differs.
#[track_caller]
pub(crate) fn assert_same(found: &Contents, expected: &Contents, what: &str) {
    let shown = |bytes: Option<&Vec<u8>>| match bytes {
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        None => "nothing".to_owned(),
    };
    let places: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differ = |place: &&&(String, Vec<u8>)| found.get(*place) != expected.get(*place);
    let differences: Vec<String> = places
        .iter()
        .filter(differ)
        .map(|place| {
            let key = place.1.escape_ascii();
            let (is, should) = (shown(found.get(*place)), shown(expected.get(*place)));
            format!("\n  {} \"{key}\" is {is} instead of {should}", place.0)
        })
        .collect();
    assert!(differences.is_empty(), "{what}:{}", differences.concat());
}

// ---- errors

/// The call failed with this kind, and the message holds these parts.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) -> Error {
    let Err(error) = result else {
        panic!("this is refused with {kind:?}, {parts:?}")
    };
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "the message names `{part}`: {text}");
    }
    error
}

// ---- rounds, chance and time

/// `n`, times what `PEERCASK_ROUNDS` says.
pub(crate) fn rounds(n: u64) -> u64 {
    n * number_from_env("PEERCASK_ROUNDS").unwrap_or(1).max(1)
}

pub(crate) fn seed() -> u64 {
    number_from_env("PEERCASK_SEED").unwrap_or(0x5EED_CA5C)
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")),
    )
}

/// Numbers by xorshift: the same for one seed and stream on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    /// Each test takes a stream of its own. The seed is printed where the test fails.
    #[expect(
        clippy::print_stderr,
        reason = "captured; shown only for a test that fails"
    )]
    pub(crate) fn new(stream: u64) -> Rng {
        let seed = seed();
        eprintln!("PEERCASK_SEED={seed} stream {stream}");
        Rng::quiet(seed, stream)
    }

    /// The same for the same two numbers, whatever the environment says.
    pub(crate) fn quiet(seed: u64, stream: u64) -> Rng {
        let mut rng = Rng((seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 up to, not including, `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        let below = self.below(u64::try_from(len).expect("a length fits 64 bits"));
        usize::try_from(below).expect("below a length")
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Asks again and again until `done` says yes; fails after half a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < PATIENCE,
            "still not after {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sets a flag when it goes, also by a panic: threads that work until then end, and a test that
/// fails does not hang in their scope.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// ---- what this machine lacks

/// Says that a test, or a part of one, did not run, and why. Never silent: `scripts/check` counts
/// these and prints them at its end.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}\n");
    eprint!("{line}");
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peercask-skipped.txt");
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).append(true).open(list);
    // One write, so that lines of tests that run at the same time do not mix.
    let told = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    told.expect("the list of skipped tests can be written");
}

// ---- children

/// This test binary again, told to run one test alone, which does something only if it finds the
/// environment variables that the caller adds.
pub(crate) fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test has a file"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command
}
