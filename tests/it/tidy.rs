//! The house rules as tests: each rule reads the source tree and names file and line of what breaks it.
//! The rules themselves are pure functions on (path, text) in `tidy/`, each with a test that it can fail.
//! Knows nothing of the engine's types. Why the rules exist: ARCHITECTURE.md and CONTRIBUTING.md.

mod crash_table;
mod doors;
mod imports;
mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{Fault, Grant};

/// Files that may be longer than the ceiling, up to `lines`. Entries only ever shrink or go.
const LONG_FILES: &[Grant] = &[];

/// Functions that may be longer than the ceiling: `what` is `path::name`. Entries only ever shrink or go.
const LONG_FUNCTIONS: &[Grant] = &[];

/// Directories that hold no text of ours: build output, stored bytes, other tools' own state.
const SKIPPED_DIRS: &[&str] = &["target", "fixtures", "node_modules"];

struct TextFile {
    /// Relative to the workspace, with `/` between parts.
    path: String,
    text: String,
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All text files of the workspace, sorted by path.
fn tree() -> Vec<TextFile> {
    let root = workspace_root();
    let mut files = Vec::new();
    collect(&root, "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        files.iter().any(|file| file.path == "engine/src/lib.rs"),
        "the walk must reach the engine, else every rule would hold for want of files"
    );
    files
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<TextFile>) {
    let entries = fs::read_dir(dir).expect("a directory of the checkout can be listed");
    for entry in entries {
        let entry = entry.expect("a directory of the checkout can be listed");
        let kind = entry
            .file_type()
            .expect("the kind of a listed entry is known");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci";
            if !hidden && !SKIPPED_DIRS.contains(&name.as_str()) {
                collect(&entry.path(), &path, files);
            }
        } else if kind.is_file() && rules::is_text(&path) {
            let bytes = fs::read(entry.path()).expect("a source file can be read");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            files.push(TextFile { path, text });
        }
    }
}

fn rust_files() -> Vec<TextFile> {
    tree()
        .into_iter()
        .filter(|file| file.path.ends_with(".rs"))
        .collect()
}

fn engine_files() -> Vec<TextFile> {
    let mut files = rust_files();
    files.retain(|file| file.path.starts_with(imports::ENGINE));
    files
}

/// Applies one rule to every file and fails with all faults at once.
fn hold(files: &[TextFile], rule: impl Fn(&str, &str) -> Vec<Fault>) {
    let faults: Vec<Fault> = files
        .iter()
        .flat_map(|file| rule(&file.path, &file.text))
        .collect();
    assert_none(&faults);
}

fn assert_none(faults: &[Fault]) {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert!(
        faults.is_empty(),
        "{} broken:\n{}",
        faults.len(),
        lines.join("\n")
    );
}

fn pairs(files: &[TextFile]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect()
}

#[test]
fn every_rust_file_opens_by_saying_what_it_is_for() {
    hold(&rust_files(), rules::opens_with_purpose);
}

#[test]
fn no_file_outgrows_one_sitting() {
    hold(&rust_files(), |path, text| {
        rules::file_length(path, text, LONG_FILES)
    });
}

#[test]
fn no_function_outgrows_a_screen() {
    hold(&rust_files(), |path, text| {
        rules::function_length(path, text, LONG_FUNCTIONS)
    });
}

#[test]
fn no_grant_of_length_outlives_its_need() {
    assert_none(&rules::stale_grants(
        &pairs(&rust_files()),
        LONG_FILES,
        LONG_FUNCTIONS,
    ));
}

#[test]
fn the_engine_uses_one_word_for_one_thing() {
    hold(&engine_files(), rules::vocabulary);
}

#[test]
fn only_the_disk_room_names_the_file_system() {
    hold(&engine_files(), doors::file_system);
}

#[test]
fn unsafe_stands_in_one_room_only() {
    hold(&rust_files(), doors::unsafe_code);
}

#[test]
fn only_one_file_reads_a_clock() {
    hold(&engine_files(), doors::clocks);
}

#[test]
fn only_the_doorway_tells_systems_apart() {
    hold(&engine_files(), doors::systems);
}

#[test]
fn only_one_file_formats_file_names() {
    let files = engine_files();
    let rooms = doors::test_rooms(&pairs(&files));
    hold(&files, |path, text| {
        doors::name_literals(path, text, &rooms)
    });
}

#[test]
fn all_sources_are_ascii() {
    hold(&rust_files(), rules::ascii);
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    hold(&tree(), rules::machine_paths);
}

#[test]
fn the_durability_page_names_only_tests_that_exist() {
    let files = tree();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    hold(&files, |path, text| rules::named_tests(path, text, &paths));
}

#[test]
fn every_crash_check_names_tests_that_exist() {
    let files = tree();
    let sources: Vec<&str> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| file.text.as_str())
        .collect();
    let page = files.iter().find(|file| file.path == crash_table::PAGE);
    let page = page.expect("the page is there");
    assert_none(&crash_table::check(&page.text, |name| {
        let function = format!("fn {name}()");
        sources.iter().any(|text| text.contains(&function))
    }));
}

#[test]
fn every_mutant_has_its_row() {
    let files = tree();
    let text = |path| {
        let file = files.iter().find(|file| file.path == path);
        file.expect("it is there").text.as_str()
    };
    let source = text(crash_table::MUTANTS);
    assert_none(&crash_table::mutants(text(crash_table::PAGE), source));
}

#[test]
fn imports_point_down_the_stairs() {
    assert_none(&imports::against_the_stairs(&pairs(&engine_files())));
}

#[test]
fn no_two_files_of_the_engine_need_each_other() {
    assert_none(&imports::circles(&pairs(&engine_files())));
}
