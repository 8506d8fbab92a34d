//! The simulated disk beside the kernel: random programs of file calls give the same answers on
//! both, and leave the same files.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::disk::os::OsDisk;
use crate::disk::sim::{Dice, SimDisk};
use crate::disk::{Disk, DiskFile, How, read_full_at, write_all_at};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A program under way on both.
struct Both {
    os: [Arc<dyn Disk>; 2],
    sim: [Arc<dyn Disk>; 2],
    open: Vec<(Arc<dyn DiskFile>, Arc<dyn DiskFile>)>,
    told: String,
}

/// What an error is, whatever its words.
fn plain<T>(answer: io::Result<T>) -> Result<T, (io::ErrorKind, Option<i32>)> {
    answer.map_err(|e| {
        let raw = e
            .raw_os_error()
            .filter(|_| e.kind() == io::Error::other("").kind());
        (e.kind(), raw)
    })
}

impl Both {
    fn compare<T: PartialEq + Debug>(&mut self, call: &str, os: io::Result<T>, sim: io::Result<T>) {
        self.told.push_str(&format!("{call}\n"));
        assert_eq!(
            plain(os),
            plain(sim),
            "kernel, then simulator\n{}",
            self.told
        );
    }

    fn step(&mut self, dice: &mut Dice) {
        let (dir, other) = (dice.below(2), dice.below(2));
        let (name, to) = (NAMES[dice.below(4)], NAMES[dice.below(4)]);
        let (os, sim) = (self.os[dir].clone(), self.sim[dir].clone());
        match dice.below(9) {
            0..=2 => {
                let how = [How::Read, How::Write, How::CreateNew, How::Replace][dice.below(4)];
                let (one, two) = (os.open(name, how), sim.open(name, how));
                let done = (one.as_ref().map(drop), two.as_ref().map(drop));
                assert_eq!(
                    done.0.is_ok(),
                    done.1.is_ok(),
                    "open {name} {how:?}\n{}",
                    self.told
                );
                if let (Ok(one), Ok(two)) = (one, two) {
                    self.open.push((one, two));
                    self.told.push_str(&format!("open {dir} {name} {how:?}\n"));
                }
            }
            3 => {
                let call = format!("rename {dir} {name} to {to}");
                self.compare(&call, os.rename(name, to), sim.rename(name, to));
            }
            4 => self.compare(
                &format!("remove {dir} {name}"),
                os.remove(name),
                sim.remove(name),
            ),
            5 => {
                let linked = os.link_to(name, &*self.os[other].clone(), to);
                let simulated = sim.link_to(name, &*self.sim[other].clone(), to);
                self.compare(
                    &format!("link {dir} {name} as {other} {to}"),
                    linked,
                    simulated,
                );
            }
            6 => self.compare("sync", os.sync_dir(), sim.sync_dir()),
            _ => {
                for _ in 0..4 {
                    self.file_step(dice);
                }
            }
        }
        self.compare(&format!("list {dir}"), os.list(), sim.list());
    }

    fn file_step(&mut self, dice: &mut Dice) {
        if self.open.is_empty() {
            return;
        }
        let index = dice.below(self.open.len());
        let (os, sim) = self.open[index].clone();
        let (at, len) = (dice.below(9_000) as u64, 1 + dice.below(3_000));
        match dice.below(7) {
            0 | 1 => {
                let bytes = vec![u8::try_from(dice.below(256)).expect("a byte"); len];
                let call = format!("file {index}: write {len} at {at}");
                self.compare(
                    &call,
                    write_all_at(&*os, &bytes, at),
                    write_all_at(&*sim, &bytes, at),
                );
            }
            2 => {
                let call = format!("file {index}: set length {at}");
                self.compare(&call, os.set_len(at), sim.set_len(at));
            }
            3 => {
                let reserved = os.reserve(at + 1);
                let can = !matches!(&reserved, Err(e) if e.kind() == io::ErrorKind::Unsupported);
                if can {
                    self.compare(
                        &format!("file {index}: reserve {}", at + 1),
                        reserved,
                        sim.reserve(at + 1),
                    );
                }
            }
            4 => self.compare("sync", os.sync_data(), sim.sync_data()),
            5 => {
                let links = (os.links(), sim.links());
                self.compare(&format!("file {index}: links"), links.0, links.1);
                drop(self.open.swap_remove(index));
            }
            _ => {
                let read = |file: &dyn DiskFile| {
                    let mut bytes = vec![0; len];
                    let n = read_full_at(file, &mut bytes, at)?;
                    bytes.truncate(n);
                    let file_len = file.len()?;
                    let seen = n.min(usize::try_from(file_len.saturating_sub(at)).unwrap_or(0));
                    let map = file.map(at + seen as u64 + 1)?;
                    let mapped = map.filter(|_| seen > 0).and_then(|map| {
                        let start = usize::try_from(at).ok()?;
                        map.written(start, seen).map(<[u8]>::to_vec)
                    });
                    Ok((file_len, bytes, mapped))
                };
                self.compare(
                    &format!("file {index}: read {len} at {at}"),
                    read(&*os),
                    read(&*sim),
                );
            }
        }
    }
}

fn program(seed: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let os: Arc<dyn Disk> = Arc::new(OsDisk::new(dir.path()));
    let below = os.directory(&dir.path().join("below")).expect("made");
    let first = os.directory(&dir.path().join("first")).expect("made");
    let sim = SimDisk::new(seed);
    let mut both = Both {
        os: [first, below],
        sim: [Arc::new(sim.clone()), Arc::new(sim.in_directory("below"))],
        open: Vec::new(),
        told: format!("seed {seed}\n"),
    };
    let mut dice = Dice::new(seed);
    for _ in 0..60 {
        both.step(&mut dice);
    }
}

#[test]
fn random_programs_of_file_calls_give_the_same_on_the_kernel_and_on_the_simulated_disk() {
    for seed in 1..=60 * super::times() {
        program(seed);
    }
}
