//! The tables of docs/durability.md. Of crash checks: every number has a row, and every test that a row
//! names is a function somewhere in the sources. Of mutants: every one is tried and has a row.

use super::rules::{Fault, fault};

pub(super) const PAGE: &str = "docs/durability.md";
pub(super) const MUTANTS: &str = "engine/src/mutant.rs";
const MUTANTS_HEAD: &str = "| mutant | states |";
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

/// Mutants that are defined and not tried, or not in the table with a number of states; rows of none.
pub(super) fn mutants(page: &str, source: &str) -> Vec<Fault> {
    let body = |from: &str, to: &str| {
        let after = source.split_once(from).map_or("", |(_, after)| after);
        after.split_once(to).map_or("", |(body, _)| body).to_owned()
    };
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with("//"));
        let names = lines.filter_map(|line| line.strip_suffix(','));
        names
            .map(|name| name.trim_start_matches("Mutant::").to_owned())
            .collect()
    };
    let defined = names(&body("enum Mutant {", "\n}"));
    let tried = names(&body("ALL: [Mutant;", "];"));
    let table = page.split_once(MUTANTS_HEAD).map_or("", |(_, table)| table);
    let rows = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| "));
    let mut told: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for row in rows {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap_or_default();
        let states = cells.next().and_then(|cell| cell.strip_suffix(" |"));
        if states
            .and_then(|states| states.parse::<u64>().ok())
            .is_none()
        {
            faults.push(fault(PAGE, 0, format!("{name} has no number of states")));
        }
        if !defined.iter().any(|known| known == name) || told.contains(&name) {
            faults.push(fault(
                PAGE,
                0,
                format!("{name} is no mutant, or has two rows"),
            ));
        }
        told.push(name);
    }
    for name in &defined {
        if !tried.contains(name) {
            faults.push(fault(MUTANTS, 0, format!("{name} is never switched on")));
        }
        if !told.contains(&name.as_str()) {
            faults.push(fault(PAGE, 0, format!("the mutant {name} has no row")));
        }
    }
    if defined.is_empty() {
        faults.push(fault(MUTANTS, 0, "defines no mutant"));
    }
    faults
}

#[test]
fn a_mutant_that_is_not_tried_or_not_told_is_found() {
    let source = "enum Mutant {\n    /// First.\n    One,\n    /// Second.\n    Two,\n}\n\
                  const ALL: [Mutant; 2] = [\n    Mutant::One,\n    Mutant::Two,\n];\n";
    let page = format!("{MUTANTS_HEAD}\n|---|---|\n| One | 3 |\n| Two | 40 |\n\ntext\n");
    assert!(mutants(&page, source).is_empty());
    assert_eq!(
        mutants(&page.replace("| Two | 40 |\n", ""), source).len(),
        1
    );
    assert_eq!(
        mutants(&page.replace("| 40 |", "| many |"), source).len(),
        1
    );
    assert_eq!(
        mutants(&page.replace("| One |", "| Three |"), source).len(),
        2
    );
    assert_eq!(
        mutants(&page, &source.replace("    Mutant::Two,\n", "")).len(),
        1
    );
    assert_eq!(mutants("", "").len(), 1);
}
