//! The table in the crate's documentation names only tests that exist, and every item that is required.

use crate::checklist::check;

#[test]
fn the_checklist_names_only_tests_that_exist_and_every_item() {
    let table = include_str!("../../src/gnunet/mod.rs");
    let files = [
        // Of the command.
        ("cli", include_str!("../../../tests/it/cli/peerstore.rs")),
        ("crash", include_str!("crash.rs")),
        ("disk", include_str!("disk.rs")),
        ("expiry", include_str!("expiry.rs")),
        ("handles", include_str!("handles.rs")),
        ("iterate", include_str!("iterate.rs")),
        ("lab", include_str!("lab.rs")),
        ("monitors", include_str!("monitors.rs")),
        ("quota", include_str!("quota.rs")),
        ("random", include_str!("random.rs")),
        ("records", include_str!("records.rs")),
        ("service", include_str!("service.rs")),
        ("sqlite", include_str!("sqlite.rs")),
        ("watch", include_str!("watch.rs")),
    ];
    let required = (1..=29).chain(41..=44).chain(46..=47);
    let named = check(table, &files, "", required);
    assert!(named > 60, "{named} tests are named");
}
