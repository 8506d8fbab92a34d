//! The suite's crash budget: every exploration leaves a file that says how many states it judged, in the directory
//! that `PEERCASK_STATES_DIR` names, and `scripts/check` prints the sum.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::os::OsDisk;
use crate::disk::{Disk, How, write_all_at};

const DIR: &str = "PEERCASK_STATES_DIR";

/// Explorations of this process so far: no two write to one file.
static NOTED: AtomicU64 = AtomicU64::new(0);

/// An exploration has ended.
pub(crate) fn note(states: u64) {
    if let Some(dir) = std::env::var_os(DIR) {
        add(Path::new(&dir), states);
    }
}

fn add(dir: &Path, states: u64) {
    let number = NOTED.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}", std::process::id());
    let thread = std::thread::current();
    let line = format!("{states} {}\n", thread.name().unwrap_or("a test"));
    let disk: &dyn Disk = &OsDisk::new(dir);
    let file = disk.open(&name, How::Replace);
    let told = file.and_then(|file| write_all_at(&*file, line.as_bytes(), 0));
    told.expect("how many states it judged can be written");
}

#[test]
fn each_exploration_leaves_a_file_with_its_states() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    add(dir.path(), 7);
    add(dir.path(), 35);
    let disk = OsDisk::new(dir.path());
    let names = disk.list().expect("there");
    let mut states: Vec<u64> = names
        .iter()
        .map(|name| {
            let told = super::edges::all_of(&disk, name);
            let told = String::from_utf8(told).expect("text");
            told.split(' ').next().and_then(|word| word.parse().ok())
        })
        .map(|states| states.expect("a number"))
        .collect();
    states.sort_unstable();
    assert_eq!(states, [7, 35]);
}
