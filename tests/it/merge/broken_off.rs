//! Merges that broke off. The steps of a merge are known: outputs written, named, manifest written,
//! inputs removed. From the files before and after it every state that a crash can leave between
//! is put together, with every subset of the inputs, and opened: nothing lost, nothing revived.

use peercask::{Merge, Store};

use super::{fill, reopens_the_same};
use crate::support::{
    Contents, Image, Place, assert_same, contents, files, hash, ordered, segments, write_image,
};

/// The files before a merge and after it, which changed no content.
struct Merged {
    before: Image,
    after: Image,
    expected: Contents,
}

impl Merged {
    fn only_in<'a>(one: &'a Image, other: &Image, prefix: &str) -> Vec<&'a String> {
        one.keys()
            .filter(|name| name.starts_with(prefix) && !other.contains_key(*name))
            .collect()
    }

    fn outputs(&self) -> Vec<&String> {
        Merged::only_in(&self.after, &self.before, "seg-")
    }

    fn inputs(&self) -> Vec<&String> {
        Merged::only_in(&self.before, &self.after, "seg-")
    }
}

/// A partial merge of a store with an older version outside, and tombstones and expired records
/// within; the files are taken while the store is open.
fn merged() -> Merged {
    let place = Place::new();
    for round in 0..4_u32 {
        let store = place.open();
        let (flat, sorted) = (hash(&store, "flat"), ordered(&store, "sorted"));
        for space in [&flat, &sorted] {
            fill(space, 0..6, &format!("round {round}"));
            fill(
                space,
                round * 10..round * 10 + 10,
                &format!("stays {round}"),
            );
            space.put(format!("put {round}"), "value").expect("put");
            if round > 0 {
                space.delete(format!("put {}", round - 1)).expect("deleted");
            }
        }
        drop((flat, sorted));
        store.close().expect("closed");
    }
    let store = place.open_with(place.options().merge_dead_share(0.2));
    let expected = contents(&store);
    let before = place.image();
    let report = store.merge(Merge::Needed).expect("merged");
    assert!(
        report.segments_in >= 2 && report.segments_out >= 1,
        "{report:?}"
    );
    let after = place.image();
    assert_same(&contents(&store), &expected, "after the merge");
    Merged {
        before,
        after,
        expected,
    }
}

#[track_caller]
fn opens_the_same(merged: &Merged, image: &Image, what: &str) {
    let place = Place::new();
    write_image(place.path(), image);
    let store = place.open();
    let report = store.recovery().clone();
    assert_same(
        &contents(&store),
        &merged.expected,
        &format!("{what}: {report:?}"),
    );
    assert_eq!(report.damage, [], "{what}");
    assert!(
        files(place.path())
            .iter()
            .all(|name| !name.ends_with(".tmp")),
        "{what}"
    );
    let store = reopens_the_same(&place, store, &merged.expected);
    // What stays hidden stays hidden through the next merges, too.
    store.merge(Merge::Full).expect("merged");
    reopens_the_same(&place, store, &merged.expected);
}

/// Before, and the outputs as far as they are written under their temporary names.
#[test]
fn while_the_outputs_are_written() {
    let merged = merged();
    for share in [0, 1, 3, 4] {
        let mut image = merged.before.clone();
        for output in merged.outputs() {
            let bytes = &merged.after[output];
            let len = bytes.len() * share / 4;
            image.insert(format!("{output}.tmp"), bytes[..len].to_vec());
        }
        opens_the_same(&merged, &image, &format!("{share} quarters of the outputs"));
    }
}

#[test]
fn after_some_outputs_were_named() {
    let merged = merged();
    let outputs = merged.outputs();
    for named in 0..=outputs.len() {
        for hinted in [false, true] {
            let mut image = merged.before.clone();
            for (at, output) in outputs.iter().enumerate() {
                let name = if at < named {
                    (*output).clone()
                } else {
                    format!("{output}.tmp")
                };
                image.insert(name, merged.after[*output].clone());
                let hint = output.replace("seg-", "hint-");
                if hinted && at < named {
                    image.insert(hint.clone(), merged.after[&hint].clone());
                } else if hinted {
                    image.insert(format!("{hint}.tmp"), b"half of it".to_vec());
                }
            }
            opens_the_same(&merged, &image, &format!("{named} named, hints {hinted}"));
        }
    }
}

/// Both there: the inputs, and the outputs that the manifest may or may not name yet.
fn union(merged: &Merged) -> Image {
    let mut image = merged.after.clone();
    for (name, bytes) in &merged.before {
        image.entry(name.clone()).or_insert_with(|| bytes.clone());
    }
    image
}

#[test]
fn while_the_manifest_is_written() {
    let merged = merged();
    let (a, b) = ("manifest-a", "manifest-b");
    for step in 0..6 {
        let mut image = union(&merged);
        let old = |image: &mut Image, name: &str| {
            image.insert(name.to_owned(), merged.before[name].clone());
        };
        let half = merged.after[a][..merged.after[a].len() / 2].to_vec();
        if step < 3 {
            old(&mut image, a);
        }
        if step < 5 {
            old(&mut image, b);
        }
        match step {
            1 => drop(image.insert(format!("{a}.tmp"), half)),
            2 => drop(image.insert(format!("{a}.tmp"), merged.after[a].clone())),
            4 => drop(image.insert(format!("{b}.tmp"), half)),
            _ => {}
        }
        opens_the_same(&merged, &image, &format!("manifest step {step}"));
    }
}

#[test]
fn while_the_inputs_are_removed_in_any_order() {
    let merged = merged();
    let inputs = merged.inputs();
    assert!((2..=6).contains(&inputs.len()), "{inputs:?}");
    for left in 0..1_u32 << inputs.len() {
        for hints in [false, true] {
            let mut image = merged.after.clone();
            for (at, input) in inputs.iter().enumerate() {
                let hint = input.replace("seg-", "hint-");
                if left >> at & 1 == 1 {
                    image.insert((*input).clone(), merged.before[*input].clone());
                }
                if (left >> at & 1 == 1) == hints {
                    image.insert(hint.clone(), merged.before[&hint].clone());
                }
            }
            let what = format!("inputs {left:b} left, hints {hints}");
            opens_the_same(&merged, &image, &what);
            // The rebuild of a lost manifest comes to the same.
            image.retain(|name, _| !name.starts_with("manifest-"));
            let place = Place::new();
            write_image(place.path(), &image);
            let store = place.open();
            assert!(store.recovery().manifest_rebuilt);
            assert_same(
                &contents(&store),
                &merged.expected,
                &format!("{what}, no manifest"),
            );
            reopens_the_same(&place, store, &merged.expected);
        }
    }
}

/// A writer went on after the merge: removed inputs that come back bring nothing back.
#[test]
fn inputs_that_come_back_after_later_writes_revive_nothing() {
    let merged = merged();
    let place = Place::new();
    write_image(place.path(), &merged.after);
    let store = place.open();
    let space = hash(&store, "flat");
    space.delete("key 3").expect("deleted");
    space.put("key 4", "newest").expect("put");
    let expected = contents(&store);
    let mut image = place.image();
    for input in merged.inputs() {
        image.insert(input.clone(), merged.before[input].clone());
    }
    let copy = Place::new();
    write_image(copy.path(), &image);
    let store = copy.open();
    assert_same(&contents(&store), &expected, "with the inputs back");
    drop(reopens_the_same(&copy, store, &expected));
}

/// Between the parts of a full merge, from within.
#[test]
fn a_full_merge_may_end_after_any_of_its_parts() {
    let place = Place::new();
    let store: Store = place.open();
    let space = hash(&store, "flat");
    for round in 0..6 {
        fill(
            &space,
            0..200,
            &format!("round {round} {}", "long ".repeat(15)),
        );
        for key in 0..20 {
            space
                .delete(format!("key {}", key * 10 + round))
                .expect("deleted");
        }
    }
    let expected = contents(&store);
    let mut copies = Vec::new();
    let mut take = |_| copies.push(Place::copy_of(place.path()));
    store.merge_with(Merge::Full, &mut take).expect("merged");
    assert!(copies.len() >= 4, "{}", copies.len());
    for (at, copy) in copies.iter().enumerate() {
        let store = copy.open();
        assert_same(&contents(&store), &expected, &format!("after part {at}"));
        assert_eq!(store.recovery().damage, [], "after part {at}");
        let store = reopens_the_same(copy, store, &expected);
        store.merge(Merge::Full).expect("merged");
        assert_same(
            &contents(&store),
            &expected,
            &format!("part {at}, merged on"),
        );
        assert!(segments(copy.path()).len() < 20);
    }
}
