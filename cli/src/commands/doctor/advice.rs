//! What to do next, from what was found: the mildest thing that helps, in the order in which to do it.

use std::path::Path;

use peercask::Cost;
use peercask::doctor::{Examination, ManifestWorth, Standing, Verdict};

/// Sentences that each begin with what to do.
pub(super) fn for_what_was(found: &Examination, dir: &Path) -> Vec<String> {
    let dir = dir.display();
    let mut advice = Vec::new();
    let costs_records = found
        .damage
        .iter()
        .any(|damage| damage.cost != Cost::Nothing);
    if costs_records {
        advice.push(format!(
            "copy the directory {dir} before anything else opens it: what is there now is all the \
             evidence"
        ));
    }
    if found.refused.is_some() {
        let files: Vec<&str> = found
            .segments
            .iter()
            .filter(|segment| segment.standing == Standing::Missing)
            .map(|segment| segment.file.as_str())
            .collect();
        advice.push(format!(
            "bring {} back from a backup or checkpoint and run doctor again; or go on without what \
             it held by opening with --accept-missing-segments",
            match files.is_empty() {
                true => "the file named above".to_owned(),
                false => files.join(", "),
            }
        ));
    }
    if found.lost_keys_total > 0 {
        advice.push(
            "write the lost keys again from their source; until then reading them is an error, \
             never an old value"
                .to_owned(),
        );
    }
    if costs_records && found.refused.is_none() {
        advice.push(format!(
            "`peercask export {dir} -o FILE` saves every record that can be read; `peercask dump {dir} \
             SEGMENT` shows what lies around a damaged place; have the device checked"
        ));
    }
    advice.extend(for_harmless(found).filter(|_| !costs_records));
    if found.verdict == Verdict::NotProvable && !costs_records {
        advice.push(
            "open the store as always: it cuts the unfinished tail by itself; a device that keeps \
             what it reports as synced leaves such a tail of unacknowledged writes alone"
                .to_owned(),
        );
    }
    if advice.is_empty() {
        advice.push(match found.in_use {
            true => "nothing; the process that has the store open is writing on".to_owned(),
            false => "nothing has to be done; open the store as always".to_owned(),
        });
    }
    advice
}

/// Damage that costs no record.
fn for_harmless(found: &Examination) -> Option<String> {
    let harmless = |damage: &peercask::Damage| damage.cost == Cost::Nothing;
    if !found.damage.iter().any(harmless) {
        return None;
    }
    let damaged = |worth: &ManifestWorth| matches!(worth, ManifestWorth::Damaged(_));
    let what = match found.manifests.iter().any(|copy| damaged(&copy.state)) {
        true => "open writes the damaged copy of the manifest anew",
        false => "open goes by what is repeated elsewhere",
    };
    Some(format!(
        "nothing has to be done for the data: {what}; have the device checked, for bytes came back \
         other than they were written"
    ))
}
