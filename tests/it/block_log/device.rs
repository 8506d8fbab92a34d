//! A disk that remembers: one file of a file system in user space, which lies under a loop device.
//! Every block that the kernel writes to it, and every flush, is logged in the order of its coming, so
//! that any moment of it can be made again with less than all of what no flush covered.
//!
//! The protocol is that of the kernel's `fuse.h`, as much of it as one regular file needs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::support::Rng;

/// What the kernel asked for.
pub(super) enum Event {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    /// Everything before it is on the medium.
    Flush,
}

type Log = Arc<Mutex<Vec<Event>>>;

/// The file while it is mounted.
pub(super) struct Device {
    /// Where the file is to be seen.
    pub(super) path: PathBuf,
    log: Log,
    server: Option<JoinHandle<()>>,
}

impl Device {
    /// Mounts the content of `backing` over the file at `path`.
    pub(super) fn mount(backing: &Path, path: &Path) -> std::io::Result<Device> {
        let connection = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        let file = OpenOptions::new().read(true).write(true).open(backing)?;
        File::create(path)?;
        let log = Log::default();
        let options = "fd=0,rootmode=100000,user_id=0,group_id=0";
        let mut mounting = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", options, "block-log"])
            .arg(path)
            .stdin(Stdio::from(connection.try_clone()?))
            .spawn()?;
        let server = Server {
            connection,
            file,
            log: log.clone(),
        };
        let server = std::thread::spawn(move || server.run());
        if !mounting.wait()?.success() {
            return Err(std::io::Error::other("the file cannot be mounted"));
        }
        Ok(Device {
            path: path.to_path_buf(),
            log,
            server: Some(server),
        })
    }

    /// How much came so far.
    pub(super) fn len(&self) -> usize {
        hold(&self.log).len()
    }

    /// Ends it, and answers with all that came.
    pub(super) fn unmount(mut self) -> Vec<Event> {
        super::run(Command::new("umount").arg(&self.path)).expect("unmounted");
        let server = self.server.take().expect("ended once");
        server.join().expect("it served to the end");
        std::mem::take(&mut *hold(&self.log))
    }
}

fn hold(log: &Log) -> std::sync::MutexGuard<'_, Vec<Event>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much of what no flush covered is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    Nothing,
    Everything,
    Some,
}

/// Makes `image`, which holds what the device held before any of `events`, what a power cut after
/// the first `count` of them may leave.
pub(super) fn cut(image: &Path, events: &[Event], count: usize, kept: Kept, rng: &mut Rng) {
    let file = OpenOptions::new().write(true).open(image).expect("there");
    let before = &events[..count];
    let flushed = before
        .iter()
        .rposition(|event| matches!(event, Event::Flush));
    for (index, event) in before.iter().enumerate() {
        let Event::Write { at, bytes } = event else {
            continue;
        };
        let is_safe = flushed.is_some_and(|flush| index < flush);
        let len = match kept {
            _ if is_safe => bytes.len(),
            Kept::Everything => bytes.len(),
            Kept::Nothing => 0,
            // Sectors are whole; a write of many is not.
            Kept::Some => match rng.below(4) {
                0 | 1 => bytes.len(),
                2 => 0,
                _ => rng.index(bytes.len() / 512 + 1) * 512,
            },
        };
        file.write_all_at(&bytes[..len], *at).expect("written");
    }
}

/// Answers the kernel until the file is unmounted.
struct Server {
    connection: File,
    file: File,
    log: Log,
}

/// No such call, and the kernel need not ask again.
const ENOSYS: i32 = 38;
/// Not for this file.
const EOPNOTSUPP: i32 = 95;
const WRITE_MAX: u32 = 128 << 10;
const HEADER_LEN: usize = 40;

/// Fields of a request, little-endian as on every machine that this test runs on.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

impl Server {
    fn run(mut self) {
        let mut buffer = vec![0; usize::try_from(WRITE_MAX).expect("small") + 4_096];
        loop {
            match self.connection.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    let request = buffer[..len].to_vec();
                    if !self.answer(&request) {
                        return;
                    }
                }
                // Not mounted yet; a request was taken back.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => std::thread::yield_now(),
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::NotFound) => {}
                // Unmounted.
                Err(_) => return,
            }
        }
    }

    /// False after the last request.
    fn answer(&mut self, request: &[u8]) -> bool {
        let header = Fields(request);
        let (opcode, unique) = (header.u32(4), header.u64(8));
        let body = &request[HEADER_LEN..];
        let answer = match opcode {
            // FORGET, INTERRUPT and BATCH_FORGET want no answer.
            2 | 36 | 42 => return true,
            // INIT
            26 => Ok(Server::init()),
            // GETATTR, SETATTR
            3 | 4 => Ok(self.attributes()),
            // OPEN: no handle; every call comes here, past the page cache.
            14 => Ok([[0; 8], [1, 0, 0, 0, 0, 0, 0, 0]].concat()),
            15 => Ok(self.read(&Fields(body))),
            16 => Ok(self.write(body)),
            // FSYNC
            20 => {
                hold(&self.log).push(Event::Flush);
                Ok(Vec::new())
            }
            // FLUSH, RELEASE, DESTROY
            18 | 25 | 38 => Ok(Vec::new()),
            // FALLOCATE
            43 => Err(EOPNOTSUPP),
            _ => Err(ENOSYS),
        };
        let (error, answer) = match answer {
            Ok(answer) => (0, answer),
            Err(number) => (-number, Vec::new()),
        };
        let len = u32::try_from(16 + answer.len()).expect("small");
        let mut whole = len.to_le_bytes().to_vec();
        whole.extend(i32::to_le_bytes(error));
        whole.extend(unique.to_le_bytes());
        whole.extend(answer);
        // Nobody waits for an answer that the kernel does not take any more.
        let _unmounted_meanwhile = self.connection.write(&whole);
        opcode != 38
    }

    fn init() -> Vec<u8> {
        let mut answer = Vec::new();
        // Version 7.31, no readahead, large writes.
        for word in [7, 31, 0, 1 << 5] {
            answer.extend(u32::to_le_bytes(word));
        }
        for half in [12, 9] {
            answer.extend(u16::to_le_bytes(half));
        }
        answer.extend(WRITE_MAX.to_le_bytes());
        answer.extend(1_u32.to_le_bytes());
        answer.resize(64, 0);
        answer
    }

    fn attributes(&self) -> Vec<u8> {
        let len = self.file.metadata().expect("it is open").len();
        let mut answer = 3_600_u64.to_le_bytes().to_vec();
        answer.extend([0; 8]);
        // Inode, size, blocks, three times.
        for long in [1, len, len / 512, 0, 0, 0] {
            answer.extend(u64::to_le_bytes(long));
        }
        // Parts of times, a regular file, one name, nobody's, blocks of 4 KiB.
        for word in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4_096, 0] {
            answer.extend(u32::to_le_bytes(word));
        }
        answer
    }

    fn read(&self, body: &Fields<'_>) -> Vec<u8> {
        let mut answer = vec![0; usize::try_from(body.u32(16)).expect("small")];
        let mut filled = 0;
        while filled < answer.len() {
            let at = body.u64(8) + filled as u64;
            match self.file.read_at(&mut answer[filled..], at) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) => panic!("the backing file: {e}"),
            }
        }
        answer.truncate(filled);
        answer
    }

    fn write(&self, body: &[u8]) -> Vec<u8> {
        let fields = Fields(body);
        let (at, size) = (fields.u64(8), fields.u32(16));
        let bytes = &body[HEADER_LEN..HEADER_LEN + usize::try_from(size).expect("small")];
        self.file.write_all_at(bytes, at).expect("the backing file");
        hold(&self.log).push(Event::Write {
            at,
            bytes: bytes.to_vec(),
        });
        u64::from(size).to_le_bytes().to_vec()
    }
}

/// A file of zeros.
pub(super) fn make_file(path: &Path, len: u64) {
    let file = File::create(path).expect("made");
    file.set_len(len).expect("a file may have holes");
}
