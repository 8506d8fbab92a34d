//! The one sentence that counts, and the facts under it. See docs/durability.md, "How recovery
//! tells a torn tail from damage": up to the synced mark everything was on the device, so what is
//! bad there is a loss; above it nothing is known, so what is cut there proves nothing.

use super::examination::{Examination, LostKey, Verdict};
use crate::report::{Cost, Damage};

/// The verdict, and its reasons. `unknown` are places of which nothing tells what stood there.
pub(super) fn of(found: &Examination, unknown: &[usize]) -> (Verdict, Vec<String>) {
    let mut lost = Vec::new();
    let mut doubtful = Vec::new();
    if found.lost_keys_total > 0 {
        lost.push(keys_sentence(found));
    }
    for place in unknown.iter().filter_map(|index| found.damage.get(*index)) {
        match place.cost {
            Cost::Records => lost.push(place_sentence(place)),
            Cost::Unknown => doubtful.push(place_sentence(place)),
            Cost::Nothing => {}
        }
    }
    for cut in &found.cut {
        doubtful.push(format!(
            "{} bytes at offset {} of {} would be cut, {} whole records among them: they lie above \
             the last proven sync, so either they were never acknowledged as `Device`, or the \
             device harmed what it had synced; the files cannot tell which",
            cut.bytes, cut.offset, cut.file, cut.records
        ));
    }
    if !lost.is_empty() {
        lost.extend(doubtful);
        return (Verdict::Lost, lost);
    }
    let mut reasons = vec![what_stands(found)];
    if let Some(dead) = dead_only(found, unknown) {
        reasons.push(dead);
    }
    if doubtful.is_empty() {
        return (Verdict::Proven, reasons);
    }
    reasons.extend(doubtful);
    (Verdict::NotProvable, reasons)
}

/// What is known to be there.
fn what_stands(found: &Examination) -> String {
    if found.segments.is_empty() {
        return "there is no segment: nothing was written that could have been acknowledged"
            .to_owned();
    }
    if found.clean {
        let segments = match found.segments.len() {
            1 => "its segment is".to_owned(),
            number => format!("all its {number} segments are"),
        };
        return format!(
            "the store was closed: {segments} sealed and on the device, and every record up to \
             seq {} is accounted for",
            found.last_seq
        );
    }
    format!(
        "every record up to seq {} is proven to have been on the device and is accounted for; the \
         log goes on without a hole to seq {}",
        found.synced_seq, found.last_seq
    )
}

/// Damage that hit nothing a reader could ask for.
fn dead_only(found: &Examination, unknown: &[usize]) -> Option<String> {
    let costly =
        |(index, place): (usize, &Damage)| place.cost == Cost::Records && !unknown.contains(&index);
    let places = found
        .damage
        .iter()
        .enumerate()
        .filter(|d| costly(*d))
        .count();
    (places > 0).then(|| {
        format!(
            "{places} damaged places hold no newest version of any key: what stood there was \
             replaced or dropped since, or was a delete"
        )
    })
}

fn keys_sentence(found: &Examination) -> String {
    let one = |lost: &LostKey| match &lost.key {
        Some(key) => format!("\"{}\" of '{}'", key.escape_ascii(), lost.keyspace),
        None => format!("a key of '{}' that cannot be read", lost.keyspace),
    };
    let first = found.lost_keys.first().map(one).unwrap_or_default();
    match found.lost_keys_total {
        1 => format!("the newest record of one key cannot be read: {first}"),
        total => format!("the newest records of {total} keys cannot be read, the first {first}"),
    }
}

fn place_sentence(place: &Damage) -> String {
    format!("{} at offset {}: {}", place.file, place.offset, place.what)
}
