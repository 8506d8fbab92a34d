//! The table in the crate's documentation names only tests that exist, and every item that is required.

use std::collections::BTreeSet;

use crate::checklist::named as named_in;

const FILES: [(&str, &str); 17] = [
    ("address_rules", include_str!("address_rules.rs")),
    ("books", include_str!("books.rs")),
    ("certified", include_str!("certified.rs")),
    ("datastores", include_str!("datastores.rs")),
    ("durability", include_str!("durability.rs")),
    ("events", include_str!("events.rs")),
    ("gc", include_str!("gc.rs")),
    ("go_suite", include_str!("go_suite.rs")),
    ("growth", include_str!("growth.rs")),
    ("keys", include_str!("keys.rs")),
    ("leveldb", include_str!("leveldb.rs")),
    ("linear", include_str!("linear.rs")),
    ("moving", include_str!("moving.rs")),
    ("slices", include_str!("slices.rs")),
    ("threads", include_str!("threads.rs")),
    ("told", include_str!("told.rs")),
    ("versions", include_str!("versions.rs")),
];

/// The numbers that the first cell of a row names: "26, 27" or "1-25".
fn items(cell: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let mut found = Vec::new();
    for part in cell.split(',') {
        match part.split_once('-') {
            Some((from, to)) => {
                if let (Some(from), Some(to)) = (number(from), number(to)) {
                    found.extend(from..=to);
                }
            }
            None => found.extend(number(part)),
        }
    }
    found
}

#[test]
fn the_checklist_names_only_tests_that_exist_and_every_item() {
    let table = include_str!("../../src/libp2p/mod.rs");
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut required = BTreeSet::new();
    for row in table.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let first = row.split('|').next().unwrap_or_default();
        let tests = named_in(row, &FILES);
        named.extend(&tests);
        // A row without a test says why in words.
        if !tests.is_empty() || row.contains("no test") {
            required.extend(items(first));
        }
    }
    let missing: Vec<u32> = (1..=157)
        .chain(164..=166)
        .filter(|item| !required.contains(item))
        .collect();
    assert!(missing.is_empty(), "the table says nothing of {missing:?}");
    assert!(named.len() > 120, "{} tests are named", named.len());
}
