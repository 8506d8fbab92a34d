//! A directory made with its missing ancestors, so that neither a kill nor a power cut in between leaves one whose
//! name is not on the medium and which nobody syncs any more. Knows no store.

use std::io;
use std::path::Path;

/// The calls that this takes; the tests let them be the last ones.
pub(super) trait Tree {
    fn is_there(&self, dir: &Path) -> bool;
    /// Makes one directory.
    fn make(&self, dir: &Path) -> io::Result<()>;
    /// Brings the names in `dir` to the medium.
    fn sync(&self, dir: &Path) -> io::Result<()>;
}

/// From the top down, each synced into its parent before the next is made: whoever is killed leaves at most one whose
/// name may still be lost, and that is the deepest one there is. So the next to come syncs that one's name first.
///
/// # Errors
/// What the system answers.
pub(super) fn make_durably(tree: &dyn Tree, dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(dir);
    while let Some(path) = at.filter(|path| !path.as_os_str().is_empty()) {
        if tree.is_there(path) {
            sync_name_of_another(tree, path)?;
            break;
        }
        missing.push(path);
        at = path.parent();
    }
    for path in missing.into_iter().rev() {
        match tree.make(path) {
            // Somebody else makes it at the same time.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tree.is_there(path) => {}
            made => made?,
        }
        tree.sync(parent_of(path))?;
    }
    Ok(())
}

/// One that was there may be as old as the machine, in a place that may not be read or does not sync: who was
/// killed after making it could do both.
fn sync_name_of_another(tree: &dyn Tree, dir: &Path) -> io::Result<()> {
    if dir.parent().is_none() {
        return Ok(());
    }
    match tree.sync(parent_of(dir)) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
            ) =>
        {
            tracing::debug!(dir = %dir.display(), error = %e, "its name is taken for safe");
            Ok(())
        }
        synced => synced,
    }
}

fn parent_of(dir: &Path) -> &Path {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    type Names = BTreeSet<PathBuf>;

    /// Directories as every process sees them, and those whose names are on the medium.
    #[derive(Clone, Default)]
    struct SimTree {
        now: RefCell<Names>,
        durable: RefCell<Names>,
        /// Calls until the process is killed.
        left: Cell<usize>,
    }

    impl SimTree {
        fn call(&self) -> io::Result<()> {
            let left = self.left.get().checked_sub(1);
            self.left
                .set(left.ok_or_else(|| io::Error::other("killed"))?);
            Ok(())
        }

        /// Without end.
        fn living(&self) -> SimTree {
            self.killed_after(usize::MAX)
        }

        fn killed_after(&self, calls: usize) -> SimTree {
            let tree = self.clone();
            tree.left.set(calls);
            tree
        }

        /// What a power cut leaves that keeps of the names not synced those whose bit is set.
        fn cut(&self, kept: usize) -> SimTree {
            let (now, durable) = (self.now.borrow(), self.durable.borrow());
            let unsynced = now.difference(&durable).enumerate();
            let lost: Names = unsynced
                .filter(|(at, _)| (kept >> at) & 1 == 0)
                .map(|(_, name)| name.clone())
                .collect();
            let is_left = |name: &&PathBuf| !name.ancestors().any(|above| lost.contains(above));
            let left: Names = now.iter().filter(is_left).cloned().collect();
            SimTree {
                now: RefCell::new(left.clone()),
                durable: RefCell::new(left),
                left: Cell::new(usize::MAX),
            }
        }

        fn unsynced(&self) -> usize {
            let (now, durable) = (self.now.borrow(), self.durable.borrow());
            now.difference(&durable).count()
        }
    }

    impl Tree for SimTree {
        fn is_there(&self, dir: &Path) -> bool {
            dir == Path::new("/") || self.now.borrow().contains(dir)
        }

        fn make(&self, dir: &Path) -> io::Result<()> {
            self.call()?;
            assert!(dir.parent().is_some_and(|parent| self.is_there(parent)));
            match self.now.borrow_mut().insert(dir.to_path_buf()) {
                true => Ok(()),
                false => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            }
        }

        fn sync(&self, dir: &Path) -> io::Result<()> {
            self.call()?;
            let now = self.now.borrow();
            let inside = now.iter().filter(|name| name.parent() == Some(dir));
            self.durable.borrow_mut().extend(inside.cloned());
            Ok(())
        }
    }

    type Make = fn(&dyn Tree, &Path) -> io::Result<()>;

    /// Killed or cut off after any call, and again in the next attempt: how many ways were tried, and in
    /// how many a power cut took the directory away after it had been made for good.
    fn tried(make: Make) -> (u64, u64) {
        let dir = Path::new("/a/b/c/store");
        let made = SimTree::default();
        for there in ["/a", "/a/b"] {
            made.now.borrow_mut().insert(there.into());
            made.durable.borrow_mut().insert(there.into());
        }
        let (mut ways, mut lost) = (0, 0);
        let mut begun = vec![SimTree::default(), made];
        for _attempt in 0..3 {
            let mut next = Vec::new();
            for tree in &begun {
                let done = tree.living();
                make(&done, dir).expect("nobody kills it");
                ways += 1;
                lost += u64::from(!done.cut(0).is_there(dir));
                for calls in 0..12 {
                    let killed = tree.killed_after(calls);
                    if make(&killed, dir).is_err() {
                        next.extend((0..1 << killed.unsynced()).map(|kept| killed.cut(kept)));
                        next.push(killed);
                    }
                }
            }
            begun = next;
        }
        (ways, lost)
    }

    #[test]
    fn a_directory_made_with_its_ancestors_stays_whatever_broke_off_before() {
        let (ways, lost) = tried(make_durably);
        assert_eq!(lost, 0, "of {ways}");
        assert!(ways > 300, "{ways}");
    }

    /// All made, then all synced: after a kill in between the next one found them there and synced nothing.
    #[test]
    fn the_same_search_finds_the_fault_that_there_was() {
        let (ways, lost) = tried(|tree, dir| {
            let missing: Vec<&Path> = dir.ancestors().filter(|d| !tree.is_there(d)).collect();
            for path in missing.iter().rev() {
                tree.make(path)?;
            }
            for path in missing.iter().rev() {
                tree.sync(parent_of(path))?;
            }
            Ok(())
        });
        assert!(lost > 0, "of {ways}");
    }

    #[test]
    fn a_name_alone_is_made_where_the_process_is() {
        let tree = SimTree::default().living();
        tree.now.borrow_mut().insert("there".into());
        make_durably(&tree, Path::new("there")).expect("there");
        assert_eq!(parent_of(Path::new("there")), Path::new("."));
        make_durably(&tree, Path::new("/")).expect("always there");
    }
}
