//! The table in the crate's documentation names only tests that exist, and every item that is required.

use std::collections::BTreeSet;

const FILES: [(&str, &str); 9] = [
    ("address_rules", include_str!("address_rules.rs")),
    ("books", include_str!("books.rs")),
    ("certified", include_str!("certified.rs")),
    ("datastores", include_str!("datastores.rs")),
    ("durability", include_str!("durability.rs")),
    ("events", include_str!("events.rs")),
    ("gc", include_str!("gc.rs")),
    ("go_suite", include_str!("go_suite.rs")),
    ("keys", include_str!("keys.rs")),
];
const MORE: [(&str, &str); 2] = [
    ("moving", include_str!("moving.rs")),
    ("threads", include_str!("threads.rs")),
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
    let files: Vec<_> = FILES.iter().chain(&MORE).collect();
    let mut named = BTreeSet::new();
    let mut required = BTreeSet::new();
    for row in table.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let first = row.split('|').next().unwrap_or_default();
        let mut tests = 0;
        for name in row.split('`').skip(1).step_by(2) {
            let Some((module, test)) = name.split_once("::") else {
                continue;
            };
            let Some((_, text)) = files.iter().find(|(file, _)| *file == module) else {
                assert!(!test.contains('_'), "there is no module {module}");
                continue;
            };
            assert!(text.contains(&format!("fn {test}(")), "there is no {name}");
            named.insert(name);
            tests += 1;
        }
        // A row without a test says why in words.
        if tests > 0 || row.contains("no test") {
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
