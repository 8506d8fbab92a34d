//! Plays traced calls to a simulated disk. A directory is known there by its path; that it was made is an entry in
//! its parent like that of a file, so it is lost in a crash unless the parent was synced.
//!
//! What the model cannot show is an error, never passed over: renamed directories, copies within the kernel,
//! files stored to through a shared map.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use peercask::crash::{Directory as _, SimDisk};

use super::calls::Call;
use crate::{Outcome, narrow, wide};

/// What a child said: a number that the check of a crash gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// A line was printed: the next of [`Played::said`].
    Said,
    /// It says that a write begins.
    Begun,
    /// It says that one is acknowledged.
    Acknowledged,
}

/// How syncs are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// By POSIX alone: names are durable when their directory is synced.
    Posix,
    /// A sync of any file carries all names with it, as ext4, XFS and btrfs do.
    NamesCarried,
}

/// What was played.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Played {
    /// Calls that sync a file or a directory.
    pub syncs: u64,
    /// Files that were mapped to be written to, by their names: stores through a map are in no trace.
    pub mapped: BTreeSet<String>,
    /// Lines that were printed.
    pub said: Vec<String>,
}

/// Helper files that a store makes anew from its data when it opens: that stores through a map are missing in them takes
/// nothing away.
const REMADE: [&str; 2] = ["-shm", "lock.mdb"];

/// The entry that stands for a directory in its parent ends so.
const DIRECTORY_MARK: char = '/';

/// An open file of the child.
#[derive(Clone, Debug)]
enum Open {
    File {
        file: usize,
        at: u64,
        append: bool,
        synced: bool,
    },
    Directory(String),
    Output,
}

struct Replay<'a> {
    disk: &'a SimDisk,
    root: &'a str,
    model: Model,
    note: &'a dyn Fn(Note),
    open: HashMap<i64, Open>,
    /// Where each file is now: directory and name, if it has one.
    places: Vec<Option<(String, String)>>,
    directories: BTreeSet<String>,
    played: Played,
}

/// Plays `calls`, which concern files below `root`, to `disk`.
///
/// # Errors
/// What the model cannot show, or a call that cannot have happened.
pub fn play(
    calls: &[Call],
    root: &Path,
    disk: &SimDisk,
    model: Model,
    note: &dyn Fn(Note),
) -> Outcome<Played> {
    let root = root.to_str().ok_or("a path that is no text")?;
    let mut replay = Replay {
        disk,
        root,
        model,
        note,
        open: HashMap::from([(1, Open::Output)]),
        places: Vec::new(),
        directories: BTreeSet::from([String::new()]),
        played: Played::default(),
    };
    for call in calls {
        let done = replay.call(call);
        done.map_err(|error| format!("{}: {error}", call.name))?;
    }
    Ok(replay.played)
}

/// Writes what a disk holds below `dir`: files whose directory was lost are lost with it.
///
/// # Errors
/// The file system's.
pub fn write_out(disk: &SimDisk, dir: &Path) -> Outcome<()> {
    write_out_below(disk, "", dir)
}

fn write_out_below(disk: &SimDisk, below: &str, dir: &Path) -> Outcome<()> {
    fs::create_dir_all(dir)?;
    let here = disk.in_directory(below);
    for (name, _) in here.files() {
        match name.strip_suffix(DIRECTORY_MARK) {
            Some(directory) => {
                write_out_below(disk, &joined(below, directory), &dir.join(directory))?;
            }
            None => fs::write(dir.join(&name), here.bytes_of(&name)?)?,
        }
    }
    Ok(())
}

fn joined(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory => format!("{directory}/{name}"),
    }
}

impl Replay<'_> {
    fn call(&mut self, call: &Call) -> Outcome<()> {
        match call.name.as_str() {
            "open" | "creat" => self.open_at(call, None, 0),
            "openat" => self.open_at(call, Some(0), 1),
            "close" => {
                self.open.remove(&number(call, 0)?);
                Ok(())
            }
            "dup" | "dup2" | "dup3" => self.duplicate(call),
            "fcntl" if call.text(1).starts_with("F_DUPFD") => self.duplicate(call),
            "fcntl" => Ok(()),
            "read" | "readv" => self.moved(call, |at| at + positive(call.answer)),
            "lseek" => self.moved(call, |_| positive(call.answer)),
            "write" => self.write(call, call.bytes(1), None),
            "writev" => self.write(call, call.vector(1), None),
            "pwrite64" => self.write(call, call.bytes(1), Some(3)),
            "pwritev" | "pwritev2" => self.write(call, call.vector(1), Some(3)),
            "ftruncate" | "fallocate" => self.resize(call),
            "fsync" | "fdatasync" => self.sync(number(call, 0)?),
            "sync" | "syncfs" => self.sync_all(),
            "rename" => self.rename(call, (None, 0), (None, 1)),
            "renameat" | "renameat2" => self.rename(call, (Some(0), 1), (Some(2), 3)),
            "unlink" | "rmdir" => self.remove(call, None, 0),
            "unlinkat" => self.remove(call, Some(0), 1),
            "mkdir" => self.make_directory(call, None, 0),
            "mkdirat" => self.make_directory(call, Some(0), 1),
            "mmap" => self.map(call),
            // No promise of durability, whatever it writes out.
            "sync_file_range" | "msync" => Ok(()),
            "io_uring_setup" => Err("calls through a ring are in no trace".into()),
            _ => self.unknown(call),
        }
    }

    /// The place of a path below the root: its directory and its name there.
    fn place(
        &self,
        call: &Call,
        (at, path): (Option<usize>, usize),
    ) -> Outcome<Option<(String, String)>> {
        let path = String::from_utf8(call.bytes(path)?)?;
        let below = match path.strip_prefix(self.root) {
            Some(below) => below.trim_matches('/').to_owned(),
            None if path.starts_with('/') => return Ok(None),
            None => {
                let directory = at.and_then(|at| call.number(at));
                match directory.and_then(|directory| self.open.get(&directory)) {
                    Some(Open::Directory(directory)) => joined(directory, &path),
                    _ => return Ok(None),
                }
            }
        };
        Ok(Some(match below.rsplit_once('/') {
            Some((directory, name)) => (directory.to_owned(), name.to_owned()),
            None => (String::new(), below),
        }))
    }

    fn file_at(&self, place: &(String, String)) -> Option<usize> {
        let here = |known: &Option<(String, String)>| known.as_ref() == Some(place);
        self.places.iter().position(here)
    }

    fn open_at(&mut self, call: &Call, at: Option<usize>, path: usize) -> Outcome<()> {
        let number = call.answer;
        let Some(place) = self.place(call, (at, path))? else {
            self.open.remove(&number);
            return Ok(());
        };
        let whole = joined(&place.0, &place.1);
        if self.directories.contains(&whole) {
            self.open.insert(number, Open::Directory(whole));
            return Ok(());
        }
        let flags = match call.name.as_str() {
            "creat" => "O_CREAT|O_TRUNC",
            _ => call.text(path + 1),
        };
        let has = |flag: &str| flags.split('|').any(|one| one == flag);
        if has("O_TMPFILE") {
            return Err("a file without a name".into());
        }
        let directory = self.disk.directory(&place.0);
        let known = self.file_at(&place);
        if known.is_none() || has("O_TRUNC") {
            // Made, or made empty; both are one call.
            directory.write(&place.1, b"")?;
        }
        let file = known.unwrap_or(self.places.len());
        if known.is_none() {
            self.places.push(Some(place));
        }
        let open = Open::File {
            file,
            at: 0,
            append: has("O_APPEND"),
            synced: has("O_DSYNC") || has("O_SYNC"),
        };
        self.open.insert(number, open);
        Ok(())
    }

    /// What is behind a number shares its place with the first, which no store seen so far needs.
    fn duplicate(&mut self, call: &Call) -> Outcome<()> {
        if let Some(open) = self.open.get(&number(call, 0)?).cloned() {
            self.open.insert(call.answer, open);
        }
        Ok(())
    }

    fn moved(&mut self, call: &Call, to: impl Fn(u64) -> u64) -> Outcome<()> {
        if let Some(Open::File { at, .. }) = self.open.get_mut(&number(call, 0)?) {
            *at = to(*at);
        }
        Ok(())
    }

    fn len(&self, (directory, name): &(String, String)) -> u64 {
        let files = self.disk.in_directory(directory).files();
        let found = files.iter().find(|(known, _)| known == name);
        found.map_or(0, |(_, len)| wide(*len))
    }

    fn write(&mut self, call: &Call, bytes: Outcome<Vec<u8>>, at: Option<usize>) -> Outcome<()> {
        let fd = number(call, 0)?;
        let (file, place, append, synced) = match self.open.get(&fd) {
            Some(Open::Output) => return self.said(&bytes?),
            Some(Open::File {
                file,
                at: place,
                append,
                synced,
            }) => (*file, *place, *append, *synced),
            _ => return Ok(()),
        };
        let Some(name) = self.places.get(file).cloned().flatten() else {
            return Ok(());
        };
        let mut bytes = bytes?;
        bytes.truncate(narrow(positive(call.answer)));
        let place = match at {
            Some(at) => positive(number(call, at)?),
            None if append => self.len(&name),
            None => place,
        };
        self.disk
            .directory(&name.0)
            .write_at(&name.1, &bytes, place)?;
        if at.is_none() {
            self.moved(call, |_| place + wide(bytes.len()))?;
        }
        match synced {
            true => self.sync(fd),
            false => Ok(()),
        }
    }

    fn said(&mut self, bytes: &[u8]) -> Outcome<()> {
        for line in std::str::from_utf8(bytes)?.lines() {
            self.played.said.push(line.to_owned());
            (self.note)(Note::Said);
            match line.split_once(' ') {
                Some(("begin", _)) => (self.note)(Note::Begun),
                Some(("ack", _)) => (self.note)(Note::Acknowledged),
                _ => {}
            }
        }
        Ok(())
    }

    fn resize(&mut self, call: &Call) -> Outcome<()> {
        let Some(Open::File { file, .. }) = self.open.get(&number(call, 0)?) else {
            return Ok(());
        };
        let Some(name) = self.places.get(*file).cloned().flatten() else {
            return Ok(());
        };
        let directory = self.disk.directory(&name.0);
        if call.name == "ftruncate" {
            return Ok(directory.set_len(&name.1, positive(number(call, 1)?))?);
        }
        match call.text(1) {
            "FALLOC_FL_KEEP_SIZE" => Ok(()),
            "0" => {
                let end = positive(number(call, 2)?) + positive(number(call, 3)?);
                match end > self.len(&name) {
                    true => Ok(directory.set_len(&name.1, end)?),
                    false => Ok(()),
                }
            }
            mode => Err(format!("mode {mode}").into()),
        }
    }

    fn sync(&mut self, fd: i64) -> Outcome<()> {
        match self.open.get(&fd) {
            Some(Open::Directory(directory)) => {
                self.played.syncs += 1;
                Ok(self.disk.directory(directory).sync()?)
            }
            Some(Open::File { file, .. }) => {
                self.played.syncs += 1;
                if let Some((directory, name)) = self.places.get(*file).cloned().flatten() {
                    self.disk.directory(&directory).sync_file(&name)?;
                }
                match self.model {
                    Model::Posix => Ok(()),
                    Model::NamesCarried => self.sync_names(),
                }
            }
            _ => Ok(()),
        }
    }

    fn sync_names(&self) -> Outcome<()> {
        for directory in &self.directories {
            self.disk.directory(directory).sync()?;
        }
        Ok(())
    }

    fn sync_all(&mut self) -> Outcome<()> {
        self.played.syncs += 1;
        for (directory, name) in self.places.iter().flatten() {
            self.disk.directory(directory).sync_file(name)?;
        }
        self.sync_names()
    }

    fn rename(
        &mut self,
        call: &Call,
        from: (Option<usize>, usize),
        to: (Option<usize>, usize),
    ) -> Outcome<()> {
        let (from, to) = (self.place(call, from)?, self.place(call, to)?);
        let (from, to) = match (from, to) {
            (Some(from), Some(to)) => (from, to),
            (None, None) => return Ok(()),
            _ => return Err("from outside of the store, or out of it".into()),
        };
        let moved = self.file_at(&from);
        let moved = moved.ok_or("of a directory, which the model does not know")?;
        if from.0 != to.0 {
            return Err("from one directory to another, which the model does not know".into());
        }
        self.disk.directory(&from.0).rename(&from.1, &to.1)?;
        if let Some(replaced) = self.file_at(&to) {
            self.places[replaced] = None;
        }
        self.places[moved] = Some(to);
        Ok(())
    }

    fn remove(&mut self, call: &Call, at: Option<usize>, path: usize) -> Outcome<()> {
        let Some(place) = self.place(call, (at, path))? else {
            return Ok(());
        };
        let directory = self.disk.directory(&place.0);
        let whole = joined(&place.0, &place.1);
        if self.directories.remove(&whole) {
            return Ok(directory.remove(&format!("{}{DIRECTORY_MARK}", place.1))?);
        }
        let file = self
            .file_at(&place)
            .ok_or("of a file that was never made")?;
        self.places[file] = None;
        Ok(directory.remove(&place.1)?)
    }

    fn make_directory(&mut self, call: &Call, at: Option<usize>, path: usize) -> Outcome<()> {
        let Some(place) = self.place(call, (at, path))? else {
            return Ok(());
        };
        self.directories.insert(joined(&place.0, &place.1));
        let parent = self.disk.directory(&place.0);
        Ok(parent.write(&format!("{}{DIRECTORY_MARK}", place.1), b"")?)
    }

    fn map(&mut self, call: &Call) -> Outcome<()> {
        let writes = call.text(2).contains("PROT_WRITE") && call.text(3).contains("MAP_SHARED");
        let Some(Open::File { file, .. }) = self.open.get(&number(call, 4)?) else {
            return Ok(());
        };
        let name = self.places.get(*file).cloned().flatten();
        if let Some((_, name)) = name.filter(|_| writes)
            && !REMADE.iter().any(|end| name.ends_with(end))
        {
            self.played.mapped.insert(name);
        }
        Ok(())
    }

    /// A call that the model does not know matters only if it is about a file of the store.
    fn unknown(&self, call: &Call) -> Outcome<()> {
        let is_ours = |at: usize| {
            let open = call.number(at).and_then(|fd| self.open.get(&fd));
            let by_number = matches!(open, Some(Open::File { .. } | Open::Directory(_)));
            let root = |path: Vec<u8>| path.starts_with(self.root.as_bytes());
            by_number || call.bytes(at).is_ok_and(root)
        };
        match (0..call.arguments.len()).any(is_ours) {
            true => Err("the model does not know this call".into()),
            false => Ok(()),
        }
    }
}

fn number(call: &Call, at: usize) -> Outcome<i64> {
    let number = call.number(at);
    Ok(number.ok_or_else(|| format!("argument {at} is no number: {}", call.text(at)))?)
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::trial::calls::parse;

    /// A trace in which strings are plain.
    fn played(trace: &str, model: Model) -> (SimDisk, Outcome<Played>, Vec<Note>) {
        let mut hex = String::new();
        for (index, part) in trace.split('"').enumerate() {
            match index % 2 {
                0 => hex += part,
                _ => {
                    let bytes = part.bytes().map(|byte| format!("\\x{byte:02x}"));
                    hex += &format!("\"{}\"", bytes.collect::<String>());
                }
            }
        }
        let calls = parse(&hex).expect("a trace");
        let disk = SimDisk::new(1);
        let notes = RefCell::new(Vec::new());
        let note = |note| notes.borrow_mut().push(note);
        let played = play(&calls, Path::new("/r"), &disk, model, &note);
        (disk, played, notes.into_inner())
    }

    const APPEND: &str = concat!(
        "7 mkdir(\"/r/a\", 0777) = 0\n",
        "7 openat(AT_FDCWD, \"/r/a/log\", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3\n",
        "7 write(3, \"one\", 3) = 3\n",
        "7 write(3, \"two\", 3) = 3\n",
        "7 fdatasync(3) = 0\n",
        "7 write(1, \"ack 0,\", 6) = 6\n",
    );

    fn files(disk: &SimDisk) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write_out(disk, dir.path()).expect("written");
        let mut found = Vec::new();
        for name in ["a", "a/log"] {
            if dir.path().join(name).exists() {
                found.push(name.to_owned());
            }
        }
        found
    }

    #[test]
    fn a_name_is_lost_by_posix_unless_its_directory_and_those_above_are_synced() {
        let (disk, done, notes) = played(APPEND, Model::Posix);
        assert_eq!(done.expect("played").syncs, 1);
        assert_eq!(notes, [Note::Said, Note::Acknowledged]);
        let log = disk.in_directory("a");
        assert_eq!(log.bytes_of("log").expect("there"), b"onetwo");
        assert_eq!(files(&disk), ["a", "a/log"]);
        assert_eq!(files(&disk.crash_losing_all()), [""; 0]);
        let (disk, done, _) = played(APPEND, Model::NamesCarried);
        done.expect("played");
        assert_eq!(files(&disk.crash_losing_all()), ["a", "a/log"]);
        let synced =
            format!("{APPEND}7 openat(AT_FDCWD, \"/r/a\", O_RDONLY) = 4\n7 fsync(4) = 0\n");
        let (disk, done, _) = played(&synced, Model::Posix);
        done.expect("played");
        // The log has its name in a directory that has none.
        assert_eq!(files(&disk.crash_losing_all()), [""; 0]);
        let all = format!("{synced}7 openat(AT_FDCWD, \"/r\", O_RDONLY) = 5\n7 fsync(5) = 0\n");
        let (disk, done, _) = played(&all, Model::Posix);
        done.expect("played");
        assert_eq!(files(&disk.crash_losing_all()), ["a", "a/log"]);
    }

    #[test]
    fn a_file_opened_to_be_synced_is_durable_with_each_write() {
        let trace = concat!(
            "7 openat(AT_FDCWD, \"/r/meta\", O_WRONLY|O_CREAT|O_DSYNC, 0666) = 3\n",
            "7 pwrite64(3, \"one\", 3, 4) = 3\n",
        );
        let (disk, done, _) = played(trace, Model::NamesCarried);
        done.expect("played");
        let after = disk.crash_losing_all();
        assert_eq!(after.bytes_of("meta").expect("there"), b"\0\0\0\0one");
    }

    #[test]
    fn what_the_model_cannot_show_is_an_error_or_told() {
        let made = "7 openat(AT_FDCWD, \"/r/f\", O_RDWR|O_CREAT, 0666) = 3\n";
        for wrong in [
            "7 copy_file_range(3, NULL, 4, NULL, 9, 0) = 9\n",
            "7 symlink(\"/r/f\", \"/r/g\") = 0\n",
            "7 rename(\"/r/d\", \"/r/e\") = 0\n",
            "7 fallocate(3, FALLOC_FL_PUNCH_HOLE, 0, 9) = 0\n",
        ] {
            let (_, done, _) = played(&format!("{made}{wrong}"), Model::Posix);
            assert!(done.is_err(), "{wrong}");
        }
        let mapped = "7 mmap(NULL, 9, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f00\n";
        let (_, done, _) = played(&format!("{made}{mapped}"), Model::Posix);
        assert!(done.expect("played").mapped.contains("f"));
        // What happens elsewhere is nobody's concern.
        let (_, done, _) = played("7 rename(\"/x\", \"/y\") = 0\n", Model::Posix);
        done.expect("played");
    }
}
