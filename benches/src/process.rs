//! What the system says of this process and of a directory: bytes sent to storage, resident memory,
//! bytes of files. On systems without /proc these are not known, and said to be so.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The number behind `name` in a file of /proc.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Bytes that this process caused to be sent to storage.
#[must_use]
pub fn write_bytes() -> Option<u64> {
    field("/proc/self/io", "write_bytes:")
}

/// Resident memory in bytes, mapped files included.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    Some(field("/proc/self/status", "VmRSS:")? << 10)
}

/// Resident memory in bytes that is no file's.
#[must_use]
pub fn rss_anon_bytes() -> Option<u64> {
    Some(field("/proc/self/status", "RssAnon:")? << 10)
}

/// How many wanted to run, over the last minute.
#[must_use]
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Time that the calling thread has had a processor: what a busy machine does not stretch. From the thread's own
/// clock, which is exact; what /proc tells of it moves once a tick.
#[cfg(target_os = "linux")]
#[must_use]
pub fn thread_cpu() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Time that the calling thread has had a processor; not known here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn thread_cpu() -> Option<Duration> {
    None
}

/// Bytes that the file system has reserved for all files below `dir`. What goes away meanwhile
/// does not count.
#[must_use]
pub fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, data)| match data.is_dir() {
            true => disk_bytes(&path),
            false => reserved(&data),
        })
        .sum()
}

#[cfg(unix)]
fn reserved(data: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    data.blocks() * 512
}

#[cfg(not(unix))]
fn reserved(data: &fs::Metadata) -> u64 {
    data.len()
}

/// Whether `dir` lies in memory, where a sync costs nothing and proves nothing.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_in_memory(dir: &Path) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58F6;
    rustix::fs::statfs(dir).is_ok_and(|fs| [TMPFS, RAMFS].contains(&i128::from(fs.f_type)))
}

/// Whether `dir` lies in memory; not known here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn is_in_memory(_: &Path) -> bool {
    false
}

/// Counters of this process at one moment, to tell what came after.
#[derive(Clone, Copy)]
pub struct Usage {
    write_bytes: Option<u64>,
    rss: Option<u64>,
    rss_anon: Option<u64>,
}

impl Usage {
    /// As it is now.
    #[must_use]
    pub fn now() -> Usage {
        Usage {
            write_bytes: write_bytes(),
            rss: rss_bytes(),
            rss_anon: rss_anon_bytes(),
        }
    }

    /// Bytes sent to storage since.
    #[must_use]
    pub fn written(&self) -> Option<u64> {
        Some(write_bytes()?.saturating_sub(self.write_bytes?))
    }

    /// Resident memory that came since, a key: all of it, and what is no file's.
    #[must_use]
    pub fn resident_per_key(&self, keys: u64) -> (Option<f64>, Option<f64>) {
        let per_key = |now: Option<u64>, before: Option<u64>| {
            Some(now?.saturating_sub(before?) as f64 / keys.max(1) as f64)
        };
        (
            per_key(rss_bytes(), self.rss),
            per_key(rss_anon_bytes(), self.rss_anon),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_directory_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let below = dir.path().join("a");
        fs::create_dir(&below).expect("made");
        let before = disk_bytes(dir.path());
        fs::write(below.join("b"), vec![1; 100_000]).expect("written");
        fs::File::open(below.join("b"))
            .and_then(|file| file.sync_all())
            .expect("synced");
        assert!(disk_bytes(dir.path()) >= before + 100_000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_of_this_process() {
        assert!(rss_bytes() > Some(1 << 20));
        assert!(rss_anon_bytes() <= rss_bytes());
        assert!(load_average().is_some());
        let first = thread_cpu().expect("a thread has a clock");
        assert!(first > Duration::ZERO);
        assert!(thread_cpu() > Some(first), "work in between moves it");
        assert!(Usage::now().written().is_some());
    }
}
