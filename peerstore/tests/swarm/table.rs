//! The table in the documentation of the room names only tests that exist, and every item that is required.

use crate::checklist::check;

#[test]
fn the_checklist_names_only_tests_that_exist_and_every_item() {
    let table = include_str!("../../src/swarm/mod.rs");
    let files = [
        ("customs", include_str!("customs.rs")),
        ("dials", include_str!("dials.rs")),
        ("lasting", include_str!("lasting.rs")),
        ("limits", include_str!("limits.rs")),
        ("parity", include_str!("parity.rs")),
        ("restart", include_str!("restart.rs")),
        ("upstream", include_str!("upstream.rs")),
    ];
    let named = check(table, &files, "P", 1..=14);
    assert!(named > 17, "{named} tests are named");
}
