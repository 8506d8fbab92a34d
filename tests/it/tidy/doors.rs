//! The doors that stay shut: what only one room of the engine may name. Pure functions on (path, text).
//! Comments and test modules may say anything; each rule stands above a test that shows it failing.

use super::imports::paths;
use super::rules::{Fault, fault};
use super::source;

const MAP_FILE: &str = "engine/src/disk/map.rs";
const DISK_ROOM: &str = "engine/src/disk/";
const CLOCK_FILE: &str = "engine/src/clock.rs";
const NAMES_FILE: &str = "engine/src/segment/names.rs";

fn code_outside_tests(text: &str) -> String {
    source::views(&source::without_tests(text)).code
}

pub(super) fn file_system(path: &str, text: &str) -> Vec<Fault> {
    if path.starts_with(DISK_ROOM) {
        return Vec::new();
    }
    let code = code_outside_tests(text);
    let named = paths(&code, "std");
    let in_fs = named
        .into_iter()
        .filter(|(_, parts)| parts.first().is_some_and(|part| part == "fs"));
    in_fs
        .map(|(at, _)| {
            fault(
                path,
                source::line_of(&code, at),
                "names std::fs; only disk/ may",
            )
        })
        .collect()
}

#[test]
fn the_file_system_named_outside_its_room_is_found() {
    for bad in [
        "use std::fs;",
        "use std::{io, fs::File};",
        "fn f() { std::fs::read(\"a\"); }",
    ] {
        assert_eq!(file_system("engine/src/log.rs", bad).len(), 1, "{bad}");
    }
    assert!(file_system("engine/src/disk/os.rs", "use std::fs;").is_empty());
    assert!(
        file_system(
            "engine/src/log.rs",
            "// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }"
        )
        .is_empty()
    );
}

/// `word` in code, in `path`, unless the file is `home`.
fn word_outside(path: &str, code: &str, word: &str, home: &str) -> Vec<Fault> {
    if path == home {
        return Vec::new();
    }
    let hits = source::words(code)
        .into_iter()
        .filter(|(_, found)| *found == word);
    hits.map(|(at, _)| {
        fault(
            path,
            source::line_of(code, at),
            format!("`{word}` may stand only in {home}"),
        )
    })
    .collect()
}

/// Sources only: a counting allocator in a test or benchmark is no part of what we ship.
pub(super) fn unsafe_code(path: &str, text: &str) -> Vec<Fault> {
    let shipped = path.starts_with("src/") || path.contains("/src/");
    if shipped {
        word_outside(path, &source::views(text).code, "unsafe", MAP_FILE)
    } else {
        Vec::new()
    }
}

#[test]
fn unsafe_outside_its_room_is_found() {
    let bad = "fn f() { unsafe { g() } }";
    assert_eq!(unsafe_code("engine/src/keydir/hash.rs", bad).len(), 1);
    assert_eq!(unsafe_code("cli/src/main.rs", bad).len(), 1);
    assert!(unsafe_code(MAP_FILE, bad).is_empty());
    assert!(unsafe_code("engine/src/lib.rs", "#![deny(unsafe_code)] // unsafe").is_empty());
}

pub(super) fn clocks(path: &str, text: &str) -> Vec<Fault> {
    let code = code_outside_tests(text);
    let kinds = ["SystemTime", "Instant"].into_iter();
    kinds
        .flat_map(|kind| word_outside(path, &code, kind, CLOCK_FILE))
        .collect()
}

#[test]
fn a_clock_read_elsewhere_is_found() {
    assert_eq!(
        clocks(
            "engine/src/store.rs",
            "let now = std::time::Instant::now();"
        )
        .len(),
        1
    );
    assert_eq!(
        clocks(
            "engine/src/store.rs",
            "use std::time::{Duration, SystemTime};"
        )
        .len(),
        1
    );
    assert!(clocks(CLOCK_FILE, "use std::time::Instant;").is_empty());
    assert!(
        clocks(
            "engine/src/store.rs",
            "// Instant, as in the docs\nlet instantly = 1;"
        )
        .is_empty()
    );
}

/// What differs from system to system belongs to the doorway and the clock.
pub(super) fn systems(path: &str, text: &str) -> Vec<Fault> {
    if path.starts_with(DISK_ROOM) || path == CLOCK_FILE {
        return Vec::new();
    }
    let code = code_outside_tests(text);
    let words = [
        "target_os",
        "target_family",
        "target_vendor",
        "target_pointer_width",
        "unix",
        "windows",
    ];
    let named = source::words(&code)
        .into_iter()
        .filter(|(at, word)| words.contains(word) && !is_method(&code, *at));
    named
        .map(|(at, word)| {
            let what = format!("`{word}` tells systems apart; only disk/ and the clock may");
            fault(path, source::line_of(&code, at), what)
        })
        .collect()
}

/// `slice.windows(2)` is no system.
fn is_method(code: &str, at: usize) -> bool {
    code.get(..at).is_some_and(|before| before.ends_with('.'))
}

#[test]
fn a_system_told_apart_elsewhere_is_found() {
    for bad in [
        "#[cfg(target_os = \"linux\")] fn f() {}",
        "#[cfg(unix)] use a::b;",
        "fn f() { if cfg!(windows) {} }",
    ] {
        assert_eq!(systems("engine/src/store.rs", bad).len(), 1, "{bad}");
        assert!(systems("engine/src/disk/os.rs", bad).is_empty());
    }
    assert!(
        systems(
            "engine/src/merge/mod.rs",
            "fn f() { a.windows(2); } // unix"
        )
        .is_empty()
    );
}

/// Modules that stand in files of their own and are compiled for tests alone: `a.rs` or `a/mod.rs`
/// that says so makes one of `a/tests.rs` and of all below `a/tests/`.
pub(super) fn test_rooms(files: &[(&str, &str)]) -> Vec<String> {
    let says_so = files
        .iter()
        .filter(|(_, text)| text.contains("#[cfg(test)]\nmod tests;"));
    let room = says_so.map(|(path, _)| {
        let base = path.strip_suffix(".rs").unwrap_or(path);
        format!("{}/tests", base.strip_suffix("/mod").unwrap_or(base))
    });
    room.collect()
}

/// File names as literals. Tests may have them, in modules and in `rooms` of their own: a test that took
/// its names from the file that it tries would follow every mistake in it.
pub(super) fn name_literals(path: &str, text: &str, rooms: &[String]) -> Vec<Fault> {
    let of_room = |room: &String| {
        let rest = path.strip_prefix(room.as_str());
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    if path == NAMES_FILE || rooms.iter().any(of_room) {
        return Vec::new();
    }
    let strings = source::views(&source::without_tests(text)).strings;
    let mut faults = Vec::new();
    for part in [".cask", "hint-", "manifest-"] {
        for (at, _) in strings.match_indices(part) {
            let what = format!("`{part}` belongs to file names, which only {NAMES_FILE} formats");
            faults.push(fault(path, source::line_of(&strings, at), what));
        }
    }
    faults
}

#[test]
fn a_file_name_formatted_elsewhere_is_found() {
    assert_eq!(
        name_literals(
            "engine/src/merge/mod.rs",
            "let a = format!(\"hint-{id}.cask\");",
            &[]
        )
        .len(),
        2
    );
    assert_eq!(
        name_literals("engine/src/merge/mod.rs", "let a = \"manifest-a\";", &[]).len(),
        1
    );
    assert!(name_literals(NAMES_FILE, "\"manifest-a\"", &[]).is_empty());
    let fine = "// manifest-a\n#[cfg(test)]\nmod tests { const A: &str = \"manifest-a\"; }";
    assert!(name_literals("engine/src/merge/mod.rs", fine, &[]).is_empty());
    let rooms = test_rooms(&[
        ("engine/src/crash/mod.rs", "#[cfg(test)]\nmod tests;\n"),
        ("engine/src/disk/sim.rs", "#[cfg(test)]\nmod tests;\n"),
        ("engine/src/merge/mod.rs", "mod tests;\n"),
    ]);
    let found = |path| name_literals(path, "let a = \"manifest-a\";", &rooms).len();
    assert_eq!(found("engine/src/crash/tests/lives.rs"), 0);
    assert_eq!(found("engine/src/disk/sim/tests.rs"), 0);
    assert_eq!(found("engine/src/crash/tests_of_mine.rs"), 1);
    assert_eq!(
        found("engine/src/merge/tests/a.rs"),
        1,
        "not for tests alone"
    );
}
