//! What media do to bytes that were safe once: rot, misdirected and repeated sectors, sectors that
//! cannot be read, files cut short, exchanged or gone. All of it is on the medium and seen by every reader at once.

use std::io;
use std::sync::Arc;

use super::content::Content;
use super::inode::Inode;
use super::state::{State, not_found};
use super::{SimDisk, hold};

impl SimDisk {
    /// The files of this directory with their lengths, by name.
    #[must_use]
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = hold(&self.shared.state);
        let mine = state.names.iter().filter_map(|(full, inode)| {
            let (dir, name) = super::split(full);
            let file = state.inodes.get(*inode)?;
            (dir == self.dir).then(|| (name.to_owned(), file.now.len()))
        });
        mine.collect()
    }

    /// All bytes of a file.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn bytes_of(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = hold(&self.shared.state);
        let inode = state.names.get(&self.full(name)).ok_or_else(not_found)?;
        Ok(state.inode(*inode)?.now.to_vec())
    }

    /// A file with these bytes, in place of any other of that name, on the medium at once.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let full = self.full(name);
        let mut state = hold(&self.shared.state);
        let inode = state.add_inode(Inode::durable(Content::of(bytes)));
        for names in [0, 1] {
            let table = match names {
                0 => &mut state.names,
                _ => &mut state.durable_names,
            };
            Arc::make_mut(table).insert(full.clone(), inode);
        }
    }

    /// Turns over the bits of `mask` in the byte at `at`.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEof` if the file is shorter.
    pub fn rot(&self, name: &str, at: usize, mask: u8) -> io::Result<()> {
        self.damage(name, |bytes| {
            let byte = bytes.get_mut(at).ok_or_else(too_short)?;
            *byte ^= mask;
            Ok(())
        })
    }

    /// Zeros the sector of 512 bytes at `sector * 512`.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEof` if the file has no such sector.
    pub fn zero_sector(&self, name: &str, sector: usize) -> io::Result<()> {
        self.damage(name, |bytes| {
            sector_of(bytes, sector)?.fill(0);
            Ok(())
        })
    }

    /// A write that went to the wrong place: sector `to` of `name` gets what sector `from` of the
    /// file `from_name` holds.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEof` if one of the files has no such sector.
    pub fn misdirect(&self, from_name: &str, from: usize, name: &str, to: usize) -> io::Result<()> {
        let mut source = self.bytes_of(from_name)?;
        let source = sector_of(&mut source, from)?.to_vec();
        self.damage(name, |bytes| {
            let place = sector_of(bytes, to)?;
            for (to, from) in place.iter_mut().zip(source) {
                *to = from;
            }
            Ok(())
        })
    }

    /// Cuts the file, or fills it up with zeros.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn cut_file(&self, name: &str, len: usize) -> io::Result<()> {
        self.damage(name, |bytes| {
            bytes.resize(len, 0);
            Ok(())
        })
    }

    /// The file is gone, as if the file system had lost it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn vanish(&self, name: &str) -> io::Result<()> {
        let full = self.full(name);
        let mut state = hold(&self.shared.state);
        let was = Arc::make_mut(&mut state.names).remove(&full);
        Arc::make_mut(&mut state.durable_names).remove(&full);
        was.map(drop).ok_or_else(not_found)
    }

    /// Two files have each other's names.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        let (bytes, others) = (self.bytes_of(one)?, self.bytes_of(other)?);
        self.put_file(one, &others);
        self.put_file(other, &bytes);
        Ok(())
    }

    /// Reads that touch the sector fail with EIO, until something is written there.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn set_unreadable(&self, name: &str, sector: usize) -> io::Result<()> {
        let mut state = hold(&self.shared.state);
        let inode = *state.names.get(&self.full(name)).ok_or_else(not_found)?;
        state.inode_mut(inode)?.bad.insert(sector);
        Ok(())
    }

    fn damage(
        &self,
        name: &str,
        harm: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let full = self.full(name);
        let (inode, len) = {
            let mut state = hold(&self.shared.state);
            let inode = *state.names.get(&full).ok_or_else(not_found)?;
            harm_inode(&mut state, inode, harm)?
        };
        self.show(inode, 0, len);
        Ok(())
    }
}

fn harm_inode(
    state: &mut State,
    inode: usize,
    harm: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<(usize, usize)> {
    let file = state.inode_mut(inode)?;
    let mut bytes = file.now.to_vec();
    harm(&mut bytes)?;
    *file = Inode::durable(Content::of(&bytes));
    Ok((inode, bytes.len()))
}

fn sector_of(bytes: &mut [u8], sector: usize) -> io::Result<&mut [u8]> {
    bytes.chunks_mut(512).nth(sector).ok_or_else(too_short)
}

fn too_short() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}
