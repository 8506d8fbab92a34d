//! What the tables of all rooms have in common: a table in the documentation maps items to tests by name, and
//! names only those that exist. Each test binary includes this file and holds its own table to it.

use std::collections::BTreeSet;

/// The tests that a text names as `module::test`, each of which must stand in the file of its module.
///
/// # Panics
/// If there is no such module or no such test.
fn named<'a>(text: &'a str, files: &[(&str, &str)]) -> Vec<&'a str> {
    let mut named = Vec::new();
    let is_name = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
    };
    for name in text.split('`').skip(1).step_by(2).filter(is_name) {
        let Some((module, test)) = name.split_once("::") else {
            continue;
        };
        let Some((_, file)) = files.iter().find(|(file, _)| *file == module) else {
            // A type's methods and another crate's names are written in the same way; a test is a sentence.
            let may_be = module.starts_with(char::is_uppercase) || test.matches('_').count() < 2;
            assert!(may_be, "there is no module {module}");
            continue;
        };
        assert!(file.contains(&format!("fn {test}(")), "there is no {name}");
        named.push(name);
    }
    named
}

/// The numbers at the beginning of a row: "26, 27", "1-25", "4, 41 of which the rest is words", "P3".
fn items(cell: &str, letter: &str) -> Vec<u32> {
    let number = |text: &str| text.strip_prefix(letter)?.parse::<u32>().ok();
    let mut found = Vec::new();
    for word in cell
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
    {
        let range = word.split_once('-');
        match (
            number(word),
            range.map(|(from, to)| (number(from), number(to))),
        ) {
            (Some(item), _) => found.push(item),
            (None, Some((Some(from), Some(to)))) => found.extend(from..=to),
            _ => break,
        }
    }
    found
}

/// Holds a table to its promise: it names only tests that exist, and every item that is required has a row with a
/// test, or one that says "no test" and why. How many tests it names.
///
/// # Panics
/// If it does not.
pub(crate) fn check(
    table: &str,
    files: &[(&str, &str)],
    letter: &str,
    required: impl IntoIterator<Item = u32>,
) -> usize {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for row in table.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let tests = named(row, files);
        if !tests.is_empty() || row.contains("no test") {
            shown.extend(items(row.split('|').next().unwrap_or_default(), letter));
        }
        all.extend(tests);
    }
    let missing: Vec<u32> = required
        .into_iter()
        .filter(|item| !shown.contains(item))
        .collect();
    assert!(missing.is_empty(), "the table says nothing of {missing:?}");
    all.len()
}
