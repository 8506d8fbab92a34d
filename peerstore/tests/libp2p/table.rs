//! The table in the crate's documentation names only tests that exist, and every item that is required.

use crate::checklist::check;

const FILES: [(&str, &str); 20] = [
    ("address_rules", include_str!("address_rules.rs")),
    ("alone", include_str!("alone.rs")),
    ("books", include_str!("books.rs")),
    // Of the command.
    (
        "cli",
        include_str!("../../../cli/src/commands/peers/tests.rs"),
    ),
    ("certified", include_str!("certified.rs")),
    ("datastores", include_str!("datastores.rs")),
    ("durability", include_str!("durability.rs")),
    ("events", include_str!("events.rs")),
    ("gc", include_str!("gc.rs")),
    ("go_suite", include_str!("go_suite.rs")),
    ("growth", include_str!("growth.rs")),
    ("image", include_str!("image.rs")),
    ("keys", include_str!("keys.rs")),
    ("leveldb", include_str!("leveldb.rs")),
    ("linear", include_str!("linear.rs")),
    ("moving", include_str!("moving.rs")),
    ("slices", include_str!("slices.rs")),
    ("threads", include_str!("threads.rs")),
    ("told", include_str!("told.rs")),
    ("versions", include_str!("versions.rs")),
];

#[test]
fn the_checklist_names_only_tests_that_exist_and_every_item() {
    let table = include_str!("../../src/libp2p/mod.rs");
    let named = check(table, &FILES, "", (1..=157).chain(164..=166));
    assert!(named > 120, "{named} tests are named");
}
