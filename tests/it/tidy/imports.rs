//! Who imports whom in the engine: the stairs of ARCHITECTURE.md as a table, and the search for circles.
//! Reads `crate::`, `super::`, `self::` and child-module paths, in `use` lines and in code, outside test modules.
//! Moving a file or adding one changes the table below and the codemap together.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{Fault, fault};
use super::source;

pub(super) const ENGINE: &str = "engine/src/";

/// The stairs, top first: a file may import from its own step and from those below, never from above.
/// A path ending in `/` stands for the whole folder; the longest match decides.
const STAIRS: &[(&str, &[&str])] = &[
    (
        "face",
        &[
            "lib.rs",
            "crash/",
            "fuzz/",
            "micro.rs",
            "schedules.rs",
            "schedules/",
            "models.rs",
            "models/",
        ],
    ),
    (
        "handles",
        &[
            "store.rs",
            "repair.rs",
            "copies.rs",
            "memory.rs",
            "batch.rs",
            "keyspace.rs",
            "iter.rs",
            "ticket.rs",
            "swap.rs",
            "snapshot.rs",
            "watch.rs",
            "event.rs",
            "begin.rs",
            "transaction.rs",
            "prefix.rs",
        ],
    ),
    (
        "shared state",
        &[
            "handle.rs",
            "background.rs",
            "core.rs",
            "room.rs",
            "figures.rs",
            "view.rs",
        ],
    ),
    (
        "verbs",
        &[
            "commit.rs",
            "clear.rs",
            "image.rs",
            "merge/",
            "recovery/",
            "verify.rs",
            "checkpoint.rs",
            "lookup.rs",
            "inspect.rs",
            "history.rs",
            "doctor/",
            "evict.rs",
            "cap.rs",
        ],
    ),
    (
        "nouns",
        &[
            "keydir/",
            "past.rs",
            "feed.rs",
            "turn.rs",
            "segment/log.rs",
            "segment/writer.rs",
            "segment/writer/",
            "segment/hints.rs",
            "segment/base.rs",
        ],
    ),
    (
        "files",
        &[
            "segment/table.rs",
            "segment/data_file.rs",
            "segment/by_position.rs",
            "value.rs",
        ],
    ),
    ("shapes", &["segment/"]),
    ("doorway", &["disk/"]),
    (
        "ground",
        &[
            "error.rs",
            "expected.rs",
            "key_cursor.rs",
            "options.rs",
            "stats.rs",
            "report.rs",
            "clock.rs",
            "worker.rs",
            "parker.rs",
            "parallel.rs",
            "pieces.rs",
            "histogram.rs",
            "metrics.rs",
            "mutant.rs",
            "sync.rs",
            "segment/format.rs",
            "segment/location.rs",
            "segment/names.rs",
        ],
    ),
];

/// Doors that stay shut although they would lead down or along: (from, to, why).
const SHUT: &[(&str, &str, &str)] = &[
    (
        "keydir/",
        "segment/log.rs",
        "the keydir knows places, not files",
    ),
    (
        "keydir/",
        "segment/data_file.rs",
        "the keydir knows places, not files",
    ),
    ("keydir/", "disk/", "the keydir lives in memory"),
    (
        "segment/log.rs",
        "keydir/",
        "the log does not know who points into it",
    ),
    (
        "segment/header.rs",
        "disk/",
        "the shapes on disk are pure functions on bytes",
    ),
    (
        "segment/record.rs",
        "disk/",
        "the shapes on disk are pure functions on bytes",
    ),
    (
        "segment/scan.rs",
        "disk/",
        "the shapes on disk are pure functions on bytes",
    ),
    (
        "segment/hint_file.rs",
        "disk/",
        "the shapes on disk are pure functions on bytes",
    ),
    (
        "segment/manifest.rs",
        "disk/",
        "the shapes on disk are pure functions on bytes",
    ),
    (
        "disk/",
        "segment/",
        "the doorway carries bytes and knows no format",
    ),
    ("disk/", "options.rs", "the doorway is told what it needs"),
    (
        "worker.rs",
        "stats.rs",
        "the worker runs closures and knows no store",
    ),
    (
        "worker.rs",
        "options.rs",
        "the worker runs closures and knows no store",
    ),
    ("error.rs", "options.rs", "errors stand at the bottom"),
    ("error.rs", "stats.rs", "errors stand at the bottom"),
];

/// A file's step, counted from the top, and its name.
fn step_of(file: &str) -> Option<(usize, &'static str)> {
    let mut best: Option<(usize, usize, &'static str)> = None;
    for (step, (name, places)) in STAIRS.iter().enumerate() {
        for place in *places {
            if covers(place, file) && best.is_none_or(|(len, ..)| place.len() > len) {
                best = Some((place.len(), step, name));
            }
        }
    }
    best.map(|(_, step, name)| (step, name))
}

fn covers(place: &str, file: &str) -> bool {
    if place.ends_with('/') {
        file.starts_with(place)
    } else {
        file == place
    }
}

/// Every path in `code` that begins with `anchor`, as its place and the parts after the anchor;
/// a braced tree gives one path for each leaf.
pub(super) fn paths(code: &str, anchor: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    for (index, (at, token)) in tokens.iter().enumerate() {
        let before = index
            .checked_sub(1)
            .and_then(|previous| tokens.get(previous))
            .map(|(_, text)| *text);
        let opens = *token == anchor && text_at(&tokens, index + 1) == Some("::");
        if opens && !matches!(before, Some("::" | "in")) {
            let mut leaves = Vec::new();
            tree(&tokens, index + 2, &[], &mut leaves);
            found.extend(leaves.into_iter().map(|leaf| (*at, leaf)));
        }
    }
    found
}

fn text_at<'a>(tokens: &[(usize, &'a str)], index: usize) -> Option<&'a str> {
    tokens.get(index).map(|(_, text)| *text)
}

/// Words, `::` and single marks of `code`, each with its place.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let word = rest
            .bytes()
            .take_while(|byte| source::is_word_byte(*byte))
            .count();
        let len = match word {
            0 if rest.starts_with("::") => 2,
            0 => rest.chars().next().map_or(1, char::len_utf8),
            len => len,
        };
        let token = rest.get(..len).unwrap_or(rest);
        if !token.trim().is_empty() {
            found.push((at, token));
        }
        at += len;
    }
    found
}

/// Reads one path or braced tree from token `index` on, pushes its leaves and returns the token after it.
fn tree(
    tokens: &[(usize, &str)],
    index: usize,
    prefix: &[String],
    leaves: &mut Vec<Vec<String>>,
) -> usize {
    match text_at(tokens, index) {
        Some("{") => {
            let mut next = index + 1;
            while let Some(token) = text_at(tokens, next).filter(|token| *token != "}") {
                next = if token == "," {
                    next + 1
                } else {
                    tree(tokens, next, prefix, leaves)
                };
            }
            next + 1
        }
        Some(word) if word.bytes().all(source::is_word_byte) => {
            let mut path = prefix.to_vec();
            if word != "self" {
                path.push(word.to_owned());
            }
            if text_at(tokens, index + 1) == Some("::") {
                return tree(tokens, index + 2, &path, leaves);
            }
            leaves.push(path);
            let renamed = text_at(tokens, index + 1) == Some("as");
            if renamed { index + 3 } else { index + 1 }
        }
        _ => {
            leaves.push(prefix.to_vec());
            index + 1
        }
    }
}

/// Module path of a file below the engine's root: `segment/log.rs` is `segment`, `log`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if stem == "lib" {
        Vec::new()
    } else {
        stem.split('/').map(str::to_owned).collect()
    }
}

/// The file that holds `path`: the longest part of it that is a file; what is left over are names inside.
fn file_of(files: &BTreeSet<&str>, path: &[String]) -> String {
    for len in (1..=path.len()).rev() {
        let stem = path.iter().take(len).cloned().collect::<Vec<_>>().join("/");
        for file in [format!("{stem}.rs"), format!("{stem}/mod.rs")] {
            if files.contains(file.as_str()) {
                return file;
            }
        }
    }
    "lib.rs".to_owned()
}

/// One import: the line it stands on and the file it leads to.
type Edge = (usize, String);

fn edges(files: &BTreeSet<&str>, file: &str, text: &str) -> Vec<Edge> {
    let code = source::views(&source::without_tests(text)).code;
    let module = module_of(file);
    let parent: Vec<String> = module
        .iter()
        .take(module.len().saturating_sub(1))
        .cloned()
        .collect();
    let mut anchors = vec![
        ("crate".to_owned(), Vec::new()),
        ("self".to_owned(), module.clone()),
        ("super".to_owned(), parent),
    ];
    for other in files.iter().map(|other| module_of(other)) {
        if let Some((name, above)) = other
            .split_last()
            .filter(|(_, above)| *above == module.as_slice())
        {
            anchors.push((name.clone(), [above, std::slice::from_ref(name)].concat()));
        }
    }
    let mut found = Vec::new();
    for (anchor, base) in anchors {
        for (at, parts) in paths(&code, &anchor) {
            let mut target = base.clone();
            for part in parts {
                if part == "super" {
                    target.pop();
                } else {
                    target.push(part);
                }
            }
            found.push((source::line_of(&code, at), file_of(files, &target)));
        }
    }
    found.retain(|(_, target)| target != file);
    found
}

/// All imports of the engine by file; paths are relative to the engine's root.
fn graph<'a>(sources: &[(&'a str, &str)]) -> BTreeMap<&'a str, Vec<Edge>> {
    let inside = |path: &'a str| path.strip_prefix(ENGINE);
    let files: BTreeSet<&str> = sources
        .iter()
        .filter_map(|(path, _)| inside(path))
        .collect();
    let named = sources
        .iter()
        .filter_map(|(path, text)| Some((inside(path)?, text)));
    named
        .map(|(file, text)| (file, edges(&files, file, text)))
        .collect()
}

/// Imports that lead up the stairs or through a shut door, and files that stand on no step.
pub(super) fn against_the_stairs(sources: &[(&str, &str)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, imports) in graph(sources) {
        let path = format!("{ENGINE}{file}");
        let Some((step, name)) = step_of(file) else {
            faults.push(fault(
                &path,
                1,
                "stands on no step: give it one in STAIRS and in ARCHITECTURE.md",
            ));
            continue;
        };
        for (line, target) in imports {
            let above = step_of(&target).filter(|(other, _)| *other < step);
            if let Some((_, above)) = above {
                faults.push(fault(
                    &path,
                    line,
                    format!("({name}) imports {target} ({above}), which stands above it"),
                ));
            }
            for (_, _, why) in SHUT
                .iter()
                .filter(|(from, to, _)| covers(from, file) && covers(to, &target))
            {
                faults.push(fault(&path, line, format!("imports {target}: {why}")));
            }
        }
    }
    faults
}

/// Rings of files that import one another, each named once, from its first file in order of names.
pub(super) fn circles(sources: &[(&str, &str)]) -> Vec<Fault> {
    let graph = graph(sources);
    let mut faults = Vec::new();
    for start in graph.keys() {
        if let Some(ring) = ring_through(&graph, start)
            .filter(|ring| ring.iter().all(|file| file.as_str() >= *start))
        {
            faults.push(fault(
                &format!("{ENGINE}{start}"),
                1,
                format!("import circle: {}", ring.join(" -> ")),
            ));
        }
    }
    faults
}

/// A shortest ring of imports that leaves `start` and comes back to it.
fn ring_through(graph: &BTreeMap<&str, Vec<Edge>>, start: &str) -> Option<Vec<String>> {
    let mut reached_from: BTreeMap<String, String> = BTreeMap::new();
    let mut waiting = std::collections::VecDeque::from([start.to_owned()]);
    while let Some(file) = waiting.pop_front() {
        for (_, target) in graph.get(file.as_str()).into_iter().flatten() {
            if target == start {
                let mut ring = vec![start.to_owned(), file];
                while let Some(before) =
                    ring.last().and_then(|last| reached_from.get(last)).cloned()
                {
                    ring.push(before);
                }
                ring.reverse();
                return Some(ring);
            }
            if !reached_from.contains_key(target) {
                reached_from.insert(target.clone(), file.clone());
                waiting.push_back(target.clone());
            }
        }
    }
    None
}

#[test]
fn a_braced_import_is_read_leaf_by_leaf() {
    let code = "use crate::a::{self, b::{C, D as E}, f::*}; fn g() { crate::h::i::<u8>(); } pub(in crate::x) fn y() {}";
    let found: Vec<String> = paths(code, "crate")
        .into_iter()
        .map(|(_, parts)| parts.join("/"))
        .collect();
    assert_eq!(found, ["a", "a/b/C", "a/b/D", "a/f", "h/i"]);
}

#[test]
fn an_import_up_the_stairs_is_found() {
    let lib = ("engine/src/lib.rs", "pub use store::Store;");
    let store = (
        "engine/src/store.rs",
        "use crate::segment::log::Log; use crate::error;",
    );
    let error = ("engine/src/error.rs", "");
    let log = ("engine/src/segment/log.rs", "use super::record;");
    let record = ("engine/src/segment/record.rs", "");
    assert!(against_the_stairs(&[lib, store, error, log, record]).is_empty());

    let up = (
        "engine/src/segment/log.rs",
        "fn f() { crate::store::open(); }",
    );
    assert_eq!(
        against_the_stairs(&[lib, store, error, up, record]).len(),
        1
    );
    let root = ("engine/src/segment/log.rs", "use crate::Store;");
    assert_eq!(
        against_the_stairs(&[lib, store, error, root, record]).len(),
        1
    );
    let stray = ("engine/src/stray.rs", "");
    assert_eq!(
        against_the_stairs(&[lib, store, error, log, record, stray]).len(),
        1
    );
}

#[test]
fn an_import_through_a_shut_door_is_found() {
    let disk = ("engine/src/disk/mod.rs", "");
    let shape = ("engine/src/segment/record.rs", "use crate::disk::File;");
    assert_eq!(against_the_stairs(&[disk, shape]).len(), 1);
    let tested = (
        "engine/src/segment/record.rs",
        "#[cfg(test)]\nmod tests { use crate::disk::File; }",
    );
    assert!(against_the_stairs(&[disk, tested]).is_empty());
}

#[test]
fn a_circle_is_found_once() {
    let a = ("engine/src/a.rs", "use crate::b::B;");
    let b = ("engine/src/b.rs", "use crate::c::{C, D};");
    let c = ("engine/src/c.rs", "fn f() { super::a::g() }");
    let faults = circles(&[a, b, c]);
    assert_eq!(faults.len(), 1);
    assert!(
        faults
            .iter()
            .all(|found| found.what.ends_with("a.rs -> b.rs -> c.rs -> a.rs")),
        "{faults:?}"
    );
    assert!(circles(&[a, b, ("engine/src/c.rs", "")]).is_empty());

    let table = (
        "engine/src/keydir/mod.rs",
        "mod hash;\npub(crate) use hash::Hash;",
    );
    let child = ("engine/src/keydir/hash.rs", "use super::Shared;");
    assert_eq!(circles(&[table, child]).len(), 1);
}
