//! The rules on the form of files: pure functions on (path, text) that return what breaks them.
//! Each stands above a test that shows it failing, since a rule that cannot fail guards nothing.
//! Which rooms may touch what is in `doors.rs`, who may import whom in `imports.rs`.

use std::fmt;

use super::source;

/// A file may be this long, test modules not counted.
pub(super) const FILE_LINES_MAX: usize = 600;
/// A function may be this long, from its `fn` line to its closing brace.
pub(super) const FUNCTION_LINES_MAX: usize = 70;

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "  {}:{}: {}", self.path, self.line, self.what)
    }
}

pub(super) fn fault(path: &str, line: usize, what: impl Into<String>) -> Fault {
    Fault {
        path: path.to_owned(),
        line,
        what: what.into(),
    }
}

/// An exception of length: what it is for, how far it goes, and why.
pub(super) struct Grant {
    /// The file's path, or `path::name` of a function.
    pub(super) what: &'static str,
    pub(super) lines: usize,
    pub(super) reason: &'static str,
}

fn ceiling(what: &str, grants: &[Grant], otherwise: usize) -> usize {
    grants
        .iter()
        .find(|grant| grant.what == what)
        .map_or(otherwise, |grant| grant.lines)
}

/// Whether a path is text that we write, and so is read by these rules.
pub(super) fn is_text(path: &str) -> bool {
    const ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".sh", ".py"];
    ENDINGS.iter().any(|ending| path.ends_with(ending))
        || path.starts_with("scripts/")
        || path.starts_with(".ci/")
}

pub(super) fn opens_with_purpose(path: &str, text: &str) -> Vec<Fault> {
    let opens = text
        .lines()
        .next()
        .is_some_and(|line| line.starts_with("//! "));
    if opens {
        Vec::new()
    } else {
        vec![fault(
            path,
            1,
            "must open with `//!` lines that say what it is for",
        )]
    }
}

#[test]
fn a_file_without_a_purpose_is_found() {
    assert!(opens_with_purpose("a.rs", "//! For this.\n").is_empty());
    assert_eq!(
        opens_with_purpose("a.rs", "use std::fmt;\n//! Late.\n").len(),
        1
    );
    assert_eq!(opens_with_purpose("a.rs", "").len(), 1);
}

fn lines_outside_tests(text: &str) -> usize {
    let in_tests =
        |range: std::ops::Range<usize>| text.get(range).map_or(0, |part| part.lines().count());
    let tests: usize = source::test_ranges(text).into_iter().map(in_tests).sum();
    text.lines().count().saturating_sub(tests)
}

pub(super) fn file_length(path: &str, text: &str, grants: &[Grant]) -> Vec<Fault> {
    let (lines, max) = (
        lines_outside_tests(text),
        ceiling(path, grants, FILE_LINES_MAX),
    );
    if lines <= max {
        return Vec::new();
    }
    vec![fault(
        path,
        max,
        format!(
            "has {lines} lines outside its tests, {max} is the ceiling: does it hold two things?"
        ),
    )]
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count() {
    let long = "let a = 1;\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(file_length("a.rs", &long, &[]).len(), 1);
    let grant = Grant {
        what: "a.rs",
        lines: FILE_LINES_MAX + 1,
        reason: "proves that a grant works",
    };
    assert!(file_length("a.rs", &long, &[grant]).is_empty());
    let tested = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert!(file_length("a.rs", &tested, &[]).is_empty());
}

/// Name, first line and length of each function outside test modules.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let code = source::views(&source::without_tests(text)).code;
    let words = source::words(&code);
    let mut found = Vec::new();
    for pair in words.windows(2) {
        let [(start, "fn"), (name_start, name)] = pair else {
            continue;
        };
        let named = code
            .get(*start + 2..*name_start)
            .is_some_and(|gap| gap.trim().is_empty());
        if let Some((open, b'{')) = source::body_or_end(&code, *start).filter(|_| named) {
            let (first, last) = (
                source::line_of(&code, *start),
                source::line_of(&code, source::closing_brace(&code, open)),
            );
            found.push(((*name).to_owned(), first, last - first + 1));
        }
    }
    found
}

pub(super) fn function_length(path: &str, text: &str, grants: &[Grant]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, line, lines) in functions(text) {
        let max = ceiling(&format!("{path}::{name}"), grants, FUNCTION_LINES_MAX);
        if lines > max {
            faults.push(fault(
                path,
                line,
                format!("fn {name} has {lines} lines, {max} is the ceiling"),
            ));
        }
    }
    faults
}

#[test]
fn a_long_function_is_found_by_its_braces() {
    let body = "    let a = \"}\"; // }\n".repeat(FUNCTION_LINES_MAX);
    let text = format!(
        "trait T {{ fn short(a: [u8; 2]); }}\nfn long(f: fn(u8) -> u8) {{\n{body}}}\nfn after() {{}}\n"
    );
    let faults = function_length("a.rs", &text, &[]);
    assert_eq!(faults.len(), 1);
    assert!(
        faults
            .iter()
            .all(|found| found.line == 2 && found.what.contains("fn long has 72 lines"))
    );
    let grant = Grant {
        what: "a.rs::long",
        lines: 72,
        reason: "proves that a grant works",
    };
    assert!(function_length("a.rs", &text, &[grant]).is_empty());
}

/// Grants for what has become short enough, has gone, or that give no reason.
pub(super) fn stale_grants(
    files: &[(&str, &str)],
    long_files: &[Grant],
    long_functions: &[Grant],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut check = |grant: &Grant, length: Option<usize>, max: usize| {
        if grant.reason.is_empty() {
            faults.push(fault(
                grant.what,
                0,
                "is granted more length without a reason",
            ));
        }
        if length.is_none_or(|lines| lines <= max || lines < grant.lines) {
            faults.push(fault(
                grant.what,
                0,
                format!(
                    "grant of {} lines is more than it needs: {length:?}",
                    grant.lines
                ),
            ));
        }
    };
    for grant in long_files {
        let length = files
            .iter()
            .find(|(path, _)| *path == grant.what)
            .map(|(_, text)| lines_outside_tests(text));
        check(grant, length, FILE_LINES_MAX);
    }
    for grant in long_functions {
        let (path, name) = grant.what.split_once("::").unwrap_or((grant.what, ""));
        let text = files
            .iter()
            .find(|(other, _)| *other == path)
            .map_or("", |(_, text)| text);
        let lengths = functions(text)
            .into_iter()
            .filter(|(other, ..)| other == name);
        check(
            grant,
            lengths.map(|(_, _, lines)| lines).max(),
            FUNCTION_LINES_MAX,
        );
    }
    faults
}

#[test]
fn a_grant_nobody_needs_is_found() {
    let grant = |what| Grant {
        what,
        lines: 700,
        reason: "a reason",
    };
    let files = [("a.rs", "fn f() {}\n")];
    assert_eq!(
        stale_grants(
            &files,
            &[grant("a.rs"), grant("gone.rs")],
            &[grant("a.rs::f")]
        )
        .len(),
        3
    );
    let silent = Grant {
        what: "b.rs",
        lines: 601,
        reason: "",
    };
    let long = "\n".repeat(601);
    assert_eq!(stale_grants(&[("b.rs", &long)], &[silent], &[]).len(), 1);
}

/// Words that have another name in this house, each with the name to use.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("compaction", "merge"),
    ("compactions", "merge"),
    ("compactor", "merge"),
    ("wal", "log"),
    ("vacuum", "merge"),
    ("journal", "log"),
    ("journals", "log"),
    ("journaling", "log"),
    ("todo", "an issue"),
    ("fixme", "an issue"),
];
const BANNED_PHRASES: &[(&str, &str)] = &[
    ("delete marker", "tombstone"),
    ("deletemarker", "tombstone"),
];

/// Words of an identifier or a sentence: split at case changes, underscores and everything that is no letter.
fn plain_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_lower = false;
    for letter in line.chars() {
        if !letter.is_ascii_alphabetic() || (letter.is_ascii_uppercase() && previous_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_ascii_alphabetic()) {
            word.push(letter.to_ascii_lowercase());
        }
        previous_lower = letter.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Comments, strings and tests included: a second word for a thing misleads wherever it stands.
pub(super) fn vocabulary(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let words = plain_words(line);
        let joined = line.to_ascii_lowercase().replace('_', " ");
        let by_word = BANNED_WORDS
            .iter()
            .filter(|(banned, _)| words.iter().any(|word| word == banned));
        let by_phrase = BANNED_PHRASES
            .iter()
            .filter(|(banned, _)| joined.contains(banned));
        for (banned, instead) in by_word.chain(by_phrase) {
            faults.push(fault(
                path,
                at + 1,
                format!("`{banned}` is not a word of this house; use {instead}"),
            ));
        }
    }
    faults
}

#[test]
fn a_second_word_for_a_thing_is_found() {
    for bad in [
        "// the WAL",
        "struct WalFile;",
        "fn run_compaction()",
        "/// Vacuum",
        "fn delete_marker()",
        "todo!()",
        "// FIXME: x",
    ] {
        assert_eq!(vocabulary("a.rs", bad).len(), 1, "{bad}");
    }
    assert!(vocabulary("a.rs", "fn walk() { compact_width(); } // wallet").is_empty());
}

pub(super) fn ascii(path: &str, text: &str) -> Vec<Fault> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_ascii());
    lines
        .map(|(at, _)| {
            fault(
                path,
                at + 1,
                "holds a character outside ASCII; write it as an escape",
            )
        })
        .collect()
}

#[test]
fn a_character_outside_ascii_is_found() {
    let faults = ascii("a.rs", "fine\nna\u{ef}ve\n");
    assert_eq!(
        faults,
        [fault(
            "a.rs",
            2,
            "holds a character outside ASCII; write it as an escape"
        )]
    );
}

/// Put together here so that this file does not find itself.
const MACHINE_PLACES: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("C:", "\\"),
];

/// A path that exists on one machine only; the same letters inside a longer path or an address are no such path.
pub(super) fn machine_paths(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for place in MACHINE_PLACES {
            let inside =
                |byte: u8| source::is_word_byte(byte) || matches!(byte, b'.' | b'-' | b'/');
            let opens = |start: usize| {
                start == 0 || !line.as_bytes().get(start - 1).copied().is_some_and(inside)
            };
            if line.match_indices(place).any(|(start, _)| opens(start)) {
                faults.push(fault(
                    path,
                    at + 1,
                    format!("names `{place}`, a place on one machine"),
                ));
            }
        }
    }
    faults
}

#[test]
fn a_place_on_one_machine_is_found() {
    for place in MACHINE_PLACES {
        assert_eq!(
            machine_paths("a.md", &format!("see {place}me/notes")).len(),
            1
        );
        assert!(machine_paths("a.md", &format!("see https://host.example{place}me")).is_empty());
    }
}

/// Test files that the durability page names, in code marks, and that are not there.
pub(super) fn named_tests(path: &str, text: &str, all_paths: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let page = if path == "docs/durability.md" {
        text
    } else {
        ""
    };
    for (at, line) in page.lines().enumerate() {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.ends_with(".rs"))
        {
            let file = format!("tests/it/{name}");
            if !all_paths.contains(&file.as_str()) {
                faults.push(fault(
                    path,
                    at + 1,
                    format!("names {file}, which does not exist"),
                ));
            }
        }
    }
    faults
}

#[test]
fn a_promise_without_its_test_is_found() {
    let (page, line) = (
        "docs/durability.md",
        "| F1 | `recovery/` | `here.rs`, `gone.rs` |",
    );
    assert_eq!(named_tests(page, line, &["tests/it/here.rs"]).len(), 1);
    assert!(named_tests(page, line, &["tests/it/here.rs", "tests/it/gone.rs"]).is_empty());
    assert!(named_tests("docs/other.md", line, &[]).is_empty());
}
