//! A store in memory, for the tests of those who use one: the engine itself on a simulated disk
//! without faults, not a second implementation that could differ. Feature `sim`.

use std::sync::Arc;

use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::error::Result;
use crate::handle::Handle;
use crate::options::Options;
use crate::segment::names;
use crate::store::Store;

impl Store {
    /// A new store that is gone with its last handle. It has everything that a store on disk has,
    /// threads and the clock of `options` included, and touches no file; no two share anything.
    /// To close it and open it again, or to crash it, use [`Store::open_on`].
    ///
    /// # Errors
    /// `InvalidArgument` if an option is out of range.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// let store = Store::in_memory(Options::default())?;
    /// let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
    /// peers.put("alice", "here")?;
    /// assert!(peers.contains("alice")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_memory(options: Options) -> Result<Store> {
        options.check()?;
        // The system's own dice give each store a store id and a secret of its own.
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(seed()?));
        let lock = disk.lock(names::LOCK);
        let lock = lock.map_err(|e| crate::store::lock_error("memory".as_ref(), e))?;
        Ok(Store::of(Handle::new(Core::open(
            "memory".into(),
            &disk,
            lock,
            options,
        )?)))
    }
}

fn seed() -> Result<u64> {
    let mut bytes = [0; 8];
    let os = crate::disk::os::OsDisk::new(".".as_ref());
    let filled = os.random(&mut bytes);
    filled.map_err(|e| crate::error::Error::io("get random bytes for", names::LOCK, e))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::Dice;
    use crate::keyspace::Keyspace;
    use crate::merge::Merge;
    use crate::options::KeyspaceOptions;

    fn options() -> Options {
        Options::default().segment_bytes(4_096).reserve_bytes(0)
    }

    fn spaces(store: &Store) -> [Keyspace; 2] {
        let make = |name, options| store.keyspace(name, options).expect("made");
        [
            make("flat", KeyspaceOptions::hash()),
            make("sorted", KeyspaceOptions::ordered()),
        ]
    }

    #[test]
    fn the_memory_of_one_buffer_goes_from_segment_to_segment() {
        const BUFFER: usize = 16 << 10;
        let options = options().segment_bytes(64 << 10).buffer_bytes(BUFFER);
        let store = Store::in_memory(options.background(false)).expect("opened");
        let write = crate::Write::new().durability(crate::Durability::Buffered);
        let [space, _] = spaces(&store);
        let fill = |value_len: usize| {
            for i in 0..300_u32 {
                let key = (i % 7).to_le_bytes();
                let put = space.put_with(key, vec![1; value_len], write);
                drop(put.expect("written"));
            }
        };
        let held = || {
            let segments = store.core().log.table.by_id();
            let held = segments.iter().map(|segment| {
                let mut buffer = Vec::new();
                segment.swap_buffer(&mut buffer);
                buffer.capacity()
            });
            (segments.len(), held.sum::<usize>())
        };
        fill(1_000);
        store.sync().expect("synced");
        let (segments, bytes) = held();
        assert!(segments >= 5 && bytes <= 2 * BUFFER, "{segments}: {bytes}");
        // A large batch takes what it needs, and lets it go with the next bytes that are written.
        let mut batch = store.batch();
        batch.put(&space, "large", vec![1; 4 << 20]);
        let weak = crate::Durability::Buffered;
        drop(batch.commit_with(weak).expect("written"));
        fill(1_000);
        store.sync().expect("synced");
        let (_, bytes) = held();
        assert!(bytes <= 2 * BUFFER, "{bytes}");
    }

    #[test]
    fn it_answers_every_call_as_a_store_on_disk_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let on_disk = Store::open(dir.path(), options()).expect("opened");
        let in_memory = Store::in_memory(options()).expect("opened");
        let stores = [&on_disk, &in_memory];
        let spaces = stores.map(spaces);
        let mut dice = Dice::new(7);
        for _ in 0..400 {
            let (space, key) = (
                dice.below(2),
                [u8::try_from(dice.below(20)).expect("small")],
            );
            let (what, value) = (dice.below(12), vec![7; dice.below(600)]);
            let answers = [0, 1].map(|at| {
                let space = &spaces[at][space];
                match what {
                    0..=1 => format!("{:?}", space.delete(key)),
                    2 => format!("{:?}", stores[at].merge(Merge::Full).map(drop)),
                    3..=5 => format!("{:?}", space.get(key)),
                    6 => format!("{:?}", space.walk().count()),
                    _ => format!("{:?}", space.put(key, &value)),
                }
            });
            assert_eq!(answers[0], answers[1], "{what}");
        }
        in_memory.close().expect("closed");
        on_disk.close().expect("closed");
    }

    #[test]
    fn two_share_nothing_and_no_file_is_made() {
        let [one, other] = [0, 1].map(|_| Store::in_memory(options()).expect("opened"));
        spaces(&one)[0].put("key", "value").expect("put");
        assert_eq!(spaces(&other)[0].get("key").expect("read"), None);
        assert_ne!(one.core().log.store_id, other.core().log.store_id);
        assert!(!std::path::Path::new("memory").exists());
    }
}
