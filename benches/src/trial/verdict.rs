//! What an answer is worth: a store must hold what was acknowledged, and no value that nobody wrote.

use std::collections::BTreeMap;

use super::reader::{Answer, Read};
use super::writes::{Change, Content, change, content};

/// The worst that is to be said of one state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// Right.
    Held,
    /// Damage was told, by the open or by the reads of the keys concerned; everything else is right.
    Told,
    /// It does not open, and nothing was acknowledged yet.
    RefusedUnused,
    /// It does not open, and says so.
    Refused,
    /// The second open finds another content than the first.
    Unsteady,
    /// An acknowledged write is gone, silently.
    Lost,
    /// It ended in a panic, or never.
    Panicked,
    /// A value that nobody wrote under that key.
    Wrong,
}

impl Verdict {
    /// All, the mildest first.
    pub const ALL: [Verdict; 8] = [
        Verdict::Held,
        Verdict::Told,
        Verdict::RefusedUnused,
        Verdict::Refused,
        Verdict::Unsteady,
        Verdict::Lost,
        Verdict::Panicked,
        Verdict::Wrong,
    ];

    /// Its name in a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Held => "right",
            Verdict::Told => "told, the rest right",
            Verdict::RefusedUnused => "unopenable before the first acknowledgement",
            Verdict::Refused => "unopenable",
            Verdict::Unsteady => "second open differs",
            Verdict::Lost => "acknowledged lost",
            Verdict::Panicked => "panicked or hung",
            Verdict::Wrong => "wrong value",
        }
    }
}

/// How often each verdict was given.
pub type Tally = BTreeMap<Verdict, u64>;

/// What was promised when the power was cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Promise {
    /// So many writes had begun.
    pub begun: usize,
    /// And so many of these were acknowledged.
    pub acknowledged: usize,
}

/// Judges what was read after a power cut, when no damage excuses anything.
#[must_use]
pub fn after_a_cut(answer: &Answer, promise: Promise) -> Verdict {
    let allowed = |found: &Content| {
        (promise.acknowledged..=promise.begun).any(|count| content(count) == *found)
    };
    let (first, second) = match answer {
        Answer::Refused(_) if promise.acknowledged == 0 => return Verdict::RefusedUnused,
        Answer::Refused(_) => return Verdict::Refused,
        Answer::Panicked(_) | Answer::Hung => return Verdict::Panicked,
        Answer::Read { first, second } => (first, second),
    };
    let (found, errors) = (&first.found, first.errors.len());
    if is_forged(found, promise.begun) {
        return Verdict::Wrong;
    }
    if errors > 0 {
        return Verdict::Refused;
    }
    match second {
        _ if !allowed(found) => Verdict::Lost,
        Ok(second) if second.found == *found && second.errors.is_empty() => Verdict::Held,
        _ => Verdict::Unsteady,
    }
}

/// Judges what was read of a store of `count` writes, all of them acknowledged, after a bit was flipped.
#[must_use]
pub fn after_a_flip(answer: &Answer, count: usize) -> Verdict {
    let first = match answer {
        Answer::Refused(_) => return Verdict::Refused,
        Answer::Panicked(_) | Answer::Hung => return Verdict::Panicked,
        Answer::Read { first, .. } => first,
    };
    let Read {
        found,
        errors,
        told,
    } = first;
    if is_forged(found, count) {
        return Verdict::Wrong;
    }
    let right = content(count);
    let is_right = |key: &u8| found.get(key) == right.get(key);
    let keys = right.keys().chain(found.keys());
    let differ = keys.filter(|key| !is_right(key) && !errors.contains_key(*key));
    match (differ.count(), errors.is_empty() && *told == 0) {
        (0, true) => Verdict::Held,
        (0, false) => Verdict::Told,
        // A store that says at its open that it is damaged loses nothing silently.
        (_, false) if *told > 0 => Verdict::Told,
        _ => Verdict::Lost,
    }
}

/// Whether a value was never written under its key by the first `begun` writes.
fn is_forged(found: &Content, begun: usize) -> bool {
    let was_written = |key: u8, value: &[u8]| {
        (0..begun).any(|number| match change(number) {
            Change::Put(of, written) => of == key && written == value,
            Change::Delete(_) => false,
        })
    };
    found.iter().any(|(key, value)| !was_written(*key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(found: Content) -> Answer {
        let first = Read {
            found,
            ..Read::default()
        };
        let second = Ok(first.clone());
        Answer::Read { first, second }
    }

    const PROMISE: Promise = Promise {
        begun: 4,
        acknowledged: 3,
    };

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_had_begun_may_be() {
        for (count, verdict) in [
            (3, Verdict::Held),
            (4, Verdict::Held),
            (2, Verdict::Lost),
            (0, Verdict::Lost),
            (6, Verdict::Wrong),
        ] {
            assert_eq!(
                after_a_cut(&read(content(count)), PROMISE),
                verdict,
                "{count}"
            );
        }
        let mut forged = content(3);
        forged.insert(0, b"never written".to_vec());
        assert_eq!(after_a_cut(&read(forged), PROMISE), Verdict::Wrong);
        let refused = Answer::Refused(String::new());
        assert_eq!(after_a_cut(&refused, PROMISE), Verdict::Refused);
        let unused = Promise {
            begun: 1,
            acknowledged: 0,
        };
        assert_eq!(after_a_cut(&refused, unused), Verdict::RefusedUnused);
        assert_eq!(after_a_cut(&Answer::Hung, PROMISE), Verdict::Panicked);
        let first = Read {
            found: content(3),
            ..Read::default()
        };
        let unsteady = Answer::Read {
            first,
            second: Err("gone".to_owned()),
        };
        assert_eq!(after_a_cut(&unsteady, PROMISE), Verdict::Unsteady);
    }

    #[test]
    fn a_flip_may_cost_what_it_hit_if_that_is_told() {
        assert_eq!(after_a_flip(&read(content(20)), 20), Verdict::Held);
        let mut less = content(20);
        less.remove(&2);
        assert_eq!(after_a_flip(&read(less.clone()), 20), Verdict::Lost);
        let told = |told, error: Option<u8>| {
            let first = Read {
                found: less.clone(),
                errors: error.map(|key| (key, String::new())).into_iter().collect(),
                told,
            };
            let second = Ok(first.clone());
            Answer::Read { first, second }
        };
        assert_eq!(after_a_flip(&told(0, Some(2)), 20), Verdict::Told);
        assert_eq!(after_a_flip(&told(1, None), 20), Verdict::Told);
        assert_eq!(after_a_flip(&told(0, Some(3)), 20), Verdict::Lost);
        let mut wrong = content(20);
        wrong.insert(2, b"flipped".to_vec());
        assert_eq!(after_a_flip(&read(wrong), 20), Verdict::Wrong);
    }
}
