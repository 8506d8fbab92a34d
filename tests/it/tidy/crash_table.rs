//! The table of crash checks in docs/durability.md: every number has a row, and every test that a row
//! names is a function somewhere in the sources.

use super::rules::{Fault, fault};

pub(super) const PAGE: &str = "docs/durability.md";
const HEADING: &str = "## What is tried";
const ITEMS: usize = 55;

/// Rows that are missing or twice, and names in code marks that no source defines.
pub(super) fn check(text: &str, defined: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut seen = [0; ITEMS + 1];
    let section = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| *line != HEADING)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "));
    for (at, line) in section {
        let number = line
            .strip_prefix("| ")
            .and_then(|row| row.split(' ').next());
        let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) else {
            continue;
        };
        match seen.get_mut(number) {
            Some(count) => *count += 1,
            None => faults.push(fault(PAGE, at + 1, format!("there is no check {number}"))),
        }
        let names = line.split('`').skip(1).step_by(2);
        let mut tests = 0;
        for name in names.filter(|name| is_function(name)) {
            tests += 1;
            if !defined(name) {
                faults.push(fault(
                    PAGE,
                    at + 1,
                    format!("names the test {name}, which is nowhere"),
                ));
            }
        }
        if tests == 0 && !line.contains("not tried") {
            faults.push(fault(PAGE, at + 1, format!("check {number} names no test")));
        }
    }
    for (number, count) in seen.iter().enumerate().skip(1) {
        if *count != 1 {
            faults.push(fault(
                PAGE,
                1,
                format!("check {number} has {count} rows, not one"),
            ));
        }
    }
    faults
}

fn is_function(name: &str) -> bool {
    name.contains('_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn a_row_that_is_missing_or_names_nothing_is_found() {
    let rows: String = (1..=ITEMS)
        .map(|number| format!("| {number} | what | `some_test` |\n"))
        .collect();
    let page = format!("{HEADING}\n\n{rows}## Next\n");
    assert!(check(&page, |name| name == "some_test").is_empty());
    assert_eq!(check(&page, |_| false).len(), ITEMS);
    let missing = page.replace("| 7 | what | `some_test` |\n", "");
    assert_eq!(check(&missing, |_| true).len(), 1);
    let nameless = page.replace("| 7 | what | `some_test` |", "| 7 | what | nothing |");
    assert_eq!(check(&nameless, |_| true).len(), 1);
    let beyond = page.replace("## Next", "| 56 | what | `some_test` |\n## Next");
    assert_eq!(check(&beyond, |_| true).len(), 1);
}
