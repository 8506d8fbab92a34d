//! Repair of a store on a device that cannot give back all of its sectors.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{content_of, open, write};
use crate::crash::SimDisk;
use crate::crash::machine::options;
use crate::disk::sim::Dice;
use crate::merge::Merge;
use crate::repair::{open_damaged, salvage};

#[test]
fn an_unreadable_sector_costs_what_it_holds_and_everything_else_is_saved() {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opened");
    let mut dice = Dice::new(5);
    write(&store, &mut dice, 10);
    store.merge(Merge::Full).expect("merged");
    write(&store, &mut dice, 10);
    let expected = content_of(&store);
    store.close().expect("closed");
    let (mut tried, mut lost_at_all) = (0, 0);
    // The name of a cache may not be on the medium.
    for (name, len) in disk.crash_losing_all().files() {
        for sector in 0..len.div_ceil(512) {
            let what = format!("{name} sector {sector}");
            let disk = disk.crash_losing_all();
            disk.set_unreadable(&name, sector).expect("there");
            let before = disk.operations();
            let options = options().clock(disk.clock());
            let damaged = open_damaged(Arc::new(disk.clone()), Path::new("sim"), &options)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let fresh = open(&SimDisk::new(2)).expect("opened");
            let report = salvage(&damaged, &fresh, &mut |_| {}).expect("salvaged");
            let saved = content_of(&fresh);
            for (place, value) in &saved {
                assert_eq!(expected.get(place), Some(value), "{what}: {place:?}");
            }
            let lost = expected.len() - saved.len();
            assert!(lost < expected.len(), "{what}: not everything lies there");
            if lost > 0 {
                assert!(!report.is_complete(), "{what}: a loss is told");
            }
            assert_eq!(disk.operations(), before, "{what}: something was written");
            tried += 1;
            lost_at_all += lost;
        }
    }
    assert!(tried > 20 && lost_at_all > 0, "{tried} {lost_at_all}");
}
