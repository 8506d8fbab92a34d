//! Between a simulated disk and a real directory: a crash state is kept for a look at it, a
//! committed one is brought back.

use std::fs;
use std::io;
use std::path::Path;

use super::state::{SEPARATOR, split};
use super::{SimDisk, hold};

impl SimDisk {
    /// Writes all files as every process sees them below `dir`, which is made; directories of the disk
    /// become directories there.
    ///
    /// # Errors
    /// What the real file system answers.
    pub fn save_to(&self, dir: &Path) -> io::Result<()> {
        let state = self.state();
        fs::create_dir_all(dir)?;
        for (full, inode) in state.names.iter() {
            let (below, name) = split(full);
            let below = dir.join(below.trim_start_matches('/'));
            fs::create_dir_all(&below)?;
            fs::write(below.join(name), state.inode(*inode)?.now.to_vec())?;
        }
        Ok(())
    }

    /// A disk with the files of `dir`, and of the directories right in it, all of them on the medium.
    ///
    /// # Errors
    /// What the real file system answers.
    pub fn load_from(dir: &Path, seed: u64) -> io::Result<SimDisk> {
        let disk = SimDisk::new(seed);
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                let below = disk.in_directory(&name);
                for entry in fs::read_dir(entry.path())? {
                    let entry = entry?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    below.put_file(&name, &fs::read(entry.path())?);
                }
            } else {
                disk.put_file(&name, &fs::read(entry.path())?);
            }
        }
        debug_assert!(
            !hold(&disk.shared.state)
                .names
                .keys()
                .any(|name| name.ends_with(SEPARATOR))
        );
        Ok(disk)
    }
}
