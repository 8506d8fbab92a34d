//! The table in the documentation of the room names only tests that exist.

use crate::checklist::named;

#[test]
fn the_checklist_names_only_tests_that_exist() {
    let table = include_str!("../../src/swarm/mod.rs");
    let files = [
        ("customs", include_str!("customs.rs")),
        ("dials", include_str!("dials.rs")),
        ("limits", include_str!("limits.rs")),
        ("parity", include_str!("parity.rs")),
        ("restart", include_str!("restart.rs")),
    ];
    let named = named(table, &files).len();
    assert!(named > 17, "{named} tests are named");
}
