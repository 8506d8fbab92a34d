//! Which records expire when: soonest first within each subsystem, so that a quota finds what has expired of one
//! subsystem and a sweep what has expired of all, either at the cost of what it finds.
//!
//! It knows numbers of subsystems, times and seqs; what lives is for who inserts and removes.

use std::collections::{BTreeSet, HashMap};

/// Time and seq.
type Expiring = BTreeSet<(u64, u64)>;

#[derive(Default)]
pub(crate) struct Expiries {
    of: HashMap<u32, Expiring>,
    /// Of each subsystem the soonest time.
    soonest: BTreeSet<(u64, u32)>,
}

impl Expiries {
    pub(crate) fn insert(&mut self, subsystem: u32, expiry_us: u64, seq: u64) {
        self.change(subsystem, |expiring| {
            expiring.insert((expiry_us, seq));
        });
    }

    pub(crate) fn remove(&mut self, subsystem: u32, expiry_us: u64, seq: u64) {
        self.change(subsystem, |expiring| {
            expiring.remove(&(expiry_us, seq));
        });
    }

    /// What expires before `now_us`, subsystem by subsystem, soonest first in each.
    pub(crate) fn before(&self, now_us: u64) -> impl Iterator<Item = u64> {
        let due = self.soonest.range(..(now_us, 0));
        due.flat_map(move |(_, subsystem)| self.of_before(*subsystem, now_us))
    }

    /// What of a subsystem expires before `now_us`, soonest first.
    pub(crate) fn of_before(&self, subsystem: u32, now_us: u64) -> impl Iterator<Item = u64> {
        let expiring = self.of.get(&subsystem);
        let due = expiring.map(|expiring| expiring.range(..(now_us, 0)));
        due.into_iter().flatten().map(|(_, seq)| *seq)
    }

    fn change(&mut self, subsystem: u32, change: impl FnOnce(&mut Expiring)) {
        let expiring = self.of.entry(subsystem).or_default();
        let first = |expiring: &Expiring| expiring.first().map(|(expiry_us, _)| *expiry_us);
        let before = first(expiring);
        change(expiring);
        let after = first(expiring);
        if expiring.is_empty() {
            self.of.remove(&subsystem);
        }
        if before == after {
            return;
        }
        if let Some(expiry_us) = before {
            self.soonest.remove(&(expiry_us, subsystem));
        }
        if let Some(expiry_us) = after {
            self.soonest.insert((expiry_us, subsystem));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_as_a_plain_list_does() {
        for seed in 0..40 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut expiries = Expiries::default();
            let mut list: Vec<(u32, u64, u64)> = Vec::new();
            for seq in 1..120 {
                if rng.u8(..3) == 0 && !list.is_empty() {
                    let (subsystem, expiry_us, seq) = list.swap_remove(rng.usize(..list.len()));
                    expiries.remove(subsystem, expiry_us, seq);
                } else {
                    let entry = (rng.u32(..4), rng.u64(..20), seq);
                    list.push(entry);
                    expiries.insert(entry.0, entry.1, entry.2);
                }
                let now_us = rng.u64(..22);
                let due = |wanted: Option<u32>| {
                    let mut due: Vec<_> = list
                        .iter()
                        .filter(|(subsystem, expiry_us, _)| {
                            *expiry_us < now_us && wanted.is_none_or(|wanted| wanted == *subsystem)
                        })
                        .map(|(_, expiry_us, seq)| (*expiry_us, *seq))
                        .collect();
                    due.sort_unstable();
                    due.into_iter().map(|(_, seq)| seq).collect::<Vec<_>>()
                };
                for subsystem in 0..5 {
                    let found: Vec<u64> = expiries.of_before(subsystem, now_us).collect();
                    assert_eq!(found, due(Some(subsystem)), "seed {seed}");
                }
                let mut found: Vec<u64> = expiries.before(now_us).collect();
                let mut all = due(None);
                found.sort_unstable();
                all.sort_unstable();
                assert_eq!(found, all, "seed {seed}");
            }
            for (subsystem, expiry_us, seq) in list {
                expiries.remove(subsystem, expiry_us, seq);
            }
            assert!(expiries.of.is_empty() && expiries.soonest.is_empty());
        }
    }
}
