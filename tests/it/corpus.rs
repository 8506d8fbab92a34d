//! A committed corpus of crash states, `fixtures/crash/VERSION/NAME/`: `state/` as the crash left it, and
//! `case.json` with what must be found in it. Each is opened, read, examined by the doctor and lived on
//! with, by this release and all later ones. A state is never written again; how to add one stands in
//! `fixtures/crash/README.md`.

mod make;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use peercask::Store;
use peercask::doctor::{self, Verdict};
use serde_json::{Value, json};

use crate::support::{Contents, Place, assert_same, contents, copy_files, hash, image};

/// Set to make the states of `make.rs` that are not there yet, and a draft of `case.json` for a state
/// that was kept by hand.
const GENERATE: &str = "PEERCASK_WRITE_FIXTURES";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/fixtures/crash")
}

/// All cases, as `v1/NAME`.
fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for version in directories(&root()) {
        cases.extend(directories(&version));
    }
    cases.sort();
    cases
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).expect("the corpus is there");
    let entries = entries.map(|entry| entry.expect("the corpus can be listed").path());
    entries.filter(|path| path.is_dir()).collect()
}

/// What `case.json` says.
struct Expected {
    verdict: String,
    cut_bytes: u64,
    damaged: u64,
    contents: Contents,
}

impl Expected {
    fn read(case: &Path) -> Expected {
        let text = fs::read_to_string(case.join("case.json")).expect("every case has a case.json");
        let json: Value = serde_json::from_str(&text).expect("case.json is JSON");
        for field in ["what", "origin"] {
            let said = json[field].as_str().expect("case.json tells its story");
            assert!(said.len() > 20, "{}: {field} says little", case.display());
        }
        let mut contents = Contents::new();
        for (space, keys) in json["contents"].as_object().expect("keyspaces") {
            for (key, value) in keys.as_object().expect("keys") {
                let value = value.as_str().expect("a value is text").as_bytes().to_vec();
                contents.insert((space.clone(), key.clone().into_bytes()), value);
            }
        }
        Expected {
            verdict: json["verdict"].as_str().expect("a verdict").to_owned(),
            cut_bytes: json["cut_bytes"].as_u64().expect("a number"),
            damaged: json["damaged"].as_u64().expect("a number"),
            contents,
        }
    }

    fn write(&self, case: &Path, what: &str, origin: &str) {
        let mut spaces = serde_json::Map::new();
        for ((space, key), value) in &self.contents {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text alone");
            let keys = spaces.entry(space.clone()).or_insert_with(|| json!({}));
            keys[text(key)] = json!(text(value));
        }
        let json = json!({
            "what": what,
            "origin": origin,
            "verdict": self.verdict,
            "cut_bytes": self.cut_bytes,
            "damaged": self.damaged,
            "contents": spaces,
        });
        let text = serde_json::to_string_pretty(&json).expect("JSON");
        fs::write(case.join("case.json"), text + "\n").expect("written");
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "proven",
        Verdict::NotProvable => "not-provable",
        Verdict::Lost => "lost",
    }
}

#[test]
fn every_committed_crash_state_opens_with_what_it_must_hold() {
    let cases = cases();
    assert!(cases.len() >= 20, "the corpus is there: {}", cases.len());
    for case in &cases {
        let name = case
            .strip_prefix(root())
            .expect("below")
            .display()
            .to_string();
        let expected = Expected::read(case);
        let place = Place::copy_of(&case.join("state"));
        let before = place.image();
        let foretold = doctor::examine(place.path(), &mut |_| {})
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(before == place.image(), "{name}: the doctor changed a file");
        assert_eq!(
            word(foretold.verdict),
            expected.verdict,
            "{name}: {:?}",
            foretold.reasons
        );

        let store = place.open();
        let found = store.recovery().clone();
        assert_same(&contents(&store), &expected.contents, &name);
        let cut: u64 = found.cut.iter().map(|cut| cut.bytes).sum();
        assert_eq!(cut, expected.cut_bytes, "{name}: {:?}", found.cut);
        assert_eq!(
            found.damage.len() as u64,
            expected.damaged,
            "{name}: {:?}",
            found.damage
        );
        assert_eq!(foretold.cut, found.cut, "{name}: foretold and done");

        // A second open finds the same and repairs nothing; a second life loses nothing.
        drop(store);
        let store = place.open();
        assert_eq!(store.recovery().cut, [], "{name}: the second open");
        assert_same(
            &contents(&store),
            &expected.contents,
            &format!("{name}, opened again"),
        );
        let space = hash(&store, "second life");
        space.put("key", "value").expect("put");
        store.merge(peercask::Merge::Full).expect("merged");
        store.close().expect("closed");
        let store = place.open();
        let mut with_more = expected.contents.clone();
        let more = ("second life".to_owned(), b"key".to_vec());
        with_more.insert(more, b"value".to_vec());
        assert_same(
            &contents(&store),
            &with_more,
            &format!("{name}, second life"),
        );
        let verified = store.verify(&mut |_| {}).expect("verified");
        let damage_stays = expected.verdict == "lost";
        assert!(
            damage_stays || verified.is_clean(),
            "{name}: {:?}",
            verified.damage
        );
    }
    eprintln!("{} crash states replayed", cases.len());
}

#[test]
fn every_kind_of_crash_state_that_can_be_made_is_committed() {
    let committed: BTreeSet<String> = cases()
        .iter()
        .filter_map(|case| Some(case.file_name()?.to_str()?.to_owned()))
        .collect();
    for recipe in make::recipes() {
        assert!(
            committed.contains(recipe.name),
            "{} is not committed",
            recipe.name
        );
    }
}

/// Not a test of the engine: with `PEERCASK_WRITE_FIXTURES=1` it adds what is not there.
#[test]
fn helper_adds_crash_states_to_the_corpus() {
    if std::env::var_os(GENERATE).is_none() {
        return;
    }
    for recipe in make::recipes() {
        let case = root().join("v1").join(recipe.name);
        if case.exists() {
            continue;
        }
        fs::create_dir_all(case.join("state")).expect("made");
        let made = make::State::new();
        let contents = (recipe.make)(&made);
        copy_files(made.state(), &case.join("state"));
        let _lock_is_made_by_open = fs::remove_file(case.join("state/LOCK"));
        expected(&case, contents).write(&case, recipe.what, "made by tests/it/corpus/make.rs");
    }
    // A state that somebody kept: a draft to be read before it is committed.
    for case in cases() {
        if !case.join("case.json").exists() {
            let place = Place::copy_of(&case.join("state"));
            let found = contents(&place.open());
            let origin = "tell: which crash, which bug, which `peercask crash --replay CASE`";
            expected(&case, found).write(&case, "tell what is special about this state", origin);
        }
    }
}

/// What the doctor and open say now of a state that must hold `contents`.
fn expected(case: &Path, contents: Contents) -> Expected {
    let place = Place::copy_of(&case.join("state"));
    let foretold = doctor::examine(place.path(), &mut |_| {}).expect("examined");
    let _unchanged = image(place.path());
    let store: Store = place.open();
    let found = store.recovery();
    Expected {
        verdict: word(foretold.verdict).to_owned(),
        cut_bytes: found.cut.iter().map(|cut| cut.bytes).sum(),
        damaged: found.damage.len() as u64,
        contents,
    }
}
